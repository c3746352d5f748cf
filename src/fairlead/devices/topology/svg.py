"""A picture as one self-contained SVG: boxes in boxes, legible in light and dark. Pure.

Small clusters show every device in its PCIe switch and socket; from about 40 nodes on a node is a tile with its
devices as dots; from about 250 on a tile alone, coloured by how much of it is free. Every box carries its full text
as a tooltip. Children are laid on shelves: in rows no wider than their box may be, each as high as its highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, sqrt
from typing import Literal

from fairlead.devices.topology.picture import Part, leaves
from fairlead.devices.topology.text import legend

Detail = Literal["devices", "dots", "tiles"]
_DEVICES_UP_TO, _DOTS_UP_TO = 40, 250
_PAD, _GAP, _HEAD = 10.0, 8.0, 22.0
_NARROWEST = 620.0
_CHAR = 6.4
"""Width of a character of the 11 px title font, on average."""

_STYLE = """
:root{color-scheme:light dark}
svg{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;background:var(--bg)}
svg{--bg:#fbfbfa;--ink:#1d2329;--dim:#68727d;--line:#cfd5db;--zone:#f1f3f4;--switch:#e6edf5;--switchline:#a9bdd3;
--domain:#efe8f7;--domainline:#b79bd8;--node:#ffffff;--inner:#f4f6f7;--free:#1f9d67;--held:#2f6fdb;--tainted:#d64545;
--away:#c98a10;--none:#d9dee3}
@media (prefers-color-scheme:dark){svg{--bg:#14171a;--ink:#e7eaed;--dim:#97a1ab;--line:#3a424a;--zone:#1a1e22;
--switch:#1b2530;--switchline:#3d556f;--domain:#261d31;--domainline:#6d4f91;--node:#20262c;--inner:#292f36;
--free:#3cc48a;--held:#6a9cf5;--tainted:#f07272;--away:#e5ad45;--none:#3a424a}}
text{fill:var(--ink);font-size:11px}.dim{fill:var(--dim);font-size:10px}.head{font-size:15px;font-weight:600}
.b{font-weight:600}.box{stroke:var(--line);fill:var(--zone)}.switch{fill:var(--switch);stroke:var(--switchline)}
.domain{fill:var(--domain);stroke:var(--domainline);stroke-dasharray:4 3}.node{fill:var(--node);stroke:var(--line)}
.inner{fill:var(--inner)}.pcie{fill:none;stroke:var(--line)}.free{fill:var(--free)}.held{fill:var(--held)}.tainted{fill:var(--tainted)}
.away{fill:var(--away)}.none{fill:var(--none)}.nodeaway{stroke:var(--away);stroke-width:1.6}
.nodetainted{stroke:var(--tainted);stroke-width:1.6}
""".strip()


@dataclass(frozen=True, slots=True)
class _Box:
    """A laid-out part: its size, and its SVG with the origin at its corner."""

    width: float
    height: float
    svg: str


def svg(part: Part, title: str = "Topology") -> str:
    """The whole document."""
    detail: Detail = "devices" if part.count <= _DEVICES_UP_TO else "dots" if part.count <= _DOTS_UP_TO else "tiles"
    boxes = [_layout(child, detail) for child in part.parts]
    area = sum((box.width + _GAP) * (box.height + _GAP) for box in boxes)
    body = _shelves(boxes, max(560.0, 2.0 * sqrt(area), *(box.width for box in boxes)) if boxes else 560.0)
    width, height = max(body.width, _NARROWEST) + 2 * _PAD, body.height + 62 + _PAD
    summary = f"{part.count} nodes, {part.free} of {part.total} devices free"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(f"{title}: {summary}")}"><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" style="fill:var(--bg)"/>'
        f'<text x="{_PAD}" y="24" class="head">{escape(title)}</text>'
        f'<text x="{_PAD}" y="42" class="dim">{escape(summary)}</text>{_legend(width)}'
        f'<g transform="translate({_PAD},54)">{body.svg}</g></svg>\n'
    )


def _legend(width: float) -> str:
    entries = [("free", "free"), ("held", "held"), ("tainted", "tainted or cordoned"), ("away", "not ready")]
    x = max(_PAD + 230, width - _PAD - sum(26 + _CHAR * len(text) for _, text in entries))
    parts = []
    for state, text in entries:
        parts.append(f'<circle cx="{x:.0f}" cy="38" r="4.5" class="{state}"/>')
        parts.append(f'<text x="{x + 9:.0f}" y="42" class="dim">{text}</text>')
        x += 26 + _CHAR * len(text)
    return f"<g><title>{escape(legend())}</title>{''.join(parts)}</g>"


def _layout(part: Part, detail: Detail) -> _Box:
    if part.kind == "node":
        if detail == "devices":
            return _node_in_full(part)
        return _node_with_dots(part) if detail == "dots" else _tile(part)
    boxes = [_layout(child, detail) for child in part.parts]
    gap = 3.0 if detail == "tiles" and all(child.kind == "node" for child in part.parts) else _GAP
    inner = _shelves(boxes, _wished_width(boxes, gap), gap)
    note = "; ".join(
        word for word in (part.note, f"{part.free}/{part.total} free" if part.total else f"{part.count} nodes") if word
    )
    kind = part.kind if part.kind in ("switch", "domain") else "box"
    return _framed(part, inner, kind, note)


def _framed(part: Part, inner: _Box, kind: str, note: str) -> _Box:
    width = max(inner.width + 2 * _PAD, min(_CHAR * len(part.title), 220) + 2 * _PAD)
    room = int((width - 2 * _PAD) / _CHAR)
    title = _cut(part.title, room)
    note = note if len(title) + len(note) + 2 <= room else ""
    label = f'<text x="{_PAD}" y="15" class="b">{escape(title)}'
    label += f'<tspan class="dim" dx="6" font-weight="400">{escape(note)}</tspan></text>' if note else "</text>"
    within = f'<g transform="translate({_PAD},{_HEAD})">{inner.svg}</g>'
    return _boxed(part, width, inner.height + _HEAD + _PAD, 7, kind, label + within)


def _boxed(part: Part, width: float, height: float, radius: float, kind: str, content: str) -> _Box:
    """A rectangle of a style class around content, with the part's tooltip."""
    rectangle = f'<rect width="{width:.1f}" height="{height:.1f}" rx="{radius:g}" class="{kind}"/>'
    return _Box(width, height, f"<g><title>{escape(_tooltip(part))}</title>{rectangle}{content}</g>")


def _node_class(part: Part) -> str:
    return f"node node{part.state}" if part.state else "node"


def _node_in_full(part: Part) -> _Box:
    groups = [_group(child) for child in part.parts if child.kind != "device"]
    loose = [child for child in part.parts if child.kind == "device"]
    if loose:
        groups.append(_chips(loose))
    inner = _shelves(groups, 330.0, 6.0) if groups else _Box(60.0, 4.0, "")
    width = max(inner.width + 16, min(_CHAR * len(part.title), 200) + 16)
    title = _cut(part.title, int((width - 16) / _CHAR))
    content = f'<text x="8" y="15" class="b">{escape(title)}</text><g transform="translate(8,22)">{inner.svg}</g>'
    return _boxed(part, width, inner.height + 30, 5, _node_class(part), content)


def _group(part: Part) -> _Box:
    """A socket or PCIe switch: a caption over what is in it."""
    inner_parts = [child for child in part.parts if child.kind != "device"]
    loose = [child for child in part.parts if child.kind == "device"]
    boxes = [_group(child) for child in inner_parts] + ([_chips(loose)] if loose else [])
    inner = _shelves(boxes, 320.0 if part.kind == "socket" else 160.0, 5.0)
    width = max(inner.width + 10, 5.6 * min(len(part.title), 18) + 12)
    caption = escape(_cut(part.title, int((width - 10) / 5.6)))
    content = f'<text x="6" y="11.5" class="dim">{caption}</text><g transform="translate(5,16)">{inner.svg}</g>'
    return _boxed(part, width, inner.height + 20, 4, "inner" if part.kind == "socket" else "pcie", content)


def _chips(devices: Sequence[Part]) -> _Box:
    columns = max(1, ceil(sqrt(len(devices))) if len(devices) > 2 else len(devices))
    longest = min(14, max(len(device.title) for device in devices))
    width = longest * 5.8 + 20
    parts = []
    for index, device in enumerate(devices):
        x, y = (index % columns) * (width + 3), (index // columns) * 17
        parts.append(
            f'<g transform="translate({x:.1f},{y})"><title>{escape(_tooltip(device))}</title>'
            f'<rect width="{width:.1f}" height="14" rx="3" class="{_class(device)}" fill-opacity=".16"/>'
            f'<circle cx="7" cy="7" r="3.4" class="{_class(device)}"/>'
            f'<text x="14" y="10.8" style="font-size:10px">{escape(_cut(device.title, 14))}</text></g>'
        )
    rows = ceil(len(devices) / columns)
    return _Box(columns * (width + 3) - 3, rows * 17 - 3, "".join(parts))


def _node_with_dots(part: Part) -> _Box:
    devices = list(leaves(part))
    columns = max(4, min(12, ceil(len(devices) / 2)))
    shown = devices[: columns * 3]
    width = max(columns * 8.0 + 12, 70.0)
    rows = max(1, ceil(len(shown) / columns))
    title = escape(_cut(part.title, int((width - 10) / 5.7), tail=True))
    dots = "".join(
        f'<circle cx="{10 + number % columns * 8}" cy="{24 + number // columns * 8}" r="3" class="{_class(device)}"/>'
        for number, device in enumerate(shown)
    )
    content = f'<text x="6" y="13" style="font-size:9px">{title}</text>{dots}'
    return _boxed(part, width, 26 + rows * 8.0, 4, _node_class(part), content)


def _tile(part: Part) -> _Box:
    """Filled from the bottom with what is free."""
    size = 14.0
    if part.state:
        return _boxed(part, size, size, 2, part.state, "")
    share = part.free / part.total if part.total else 0.0
    free = f'<rect y="{size * (1 - share):.1f}" width="{size}" height="{size * share:.1f}" rx="2" class="free"/>'
    return _boxed(part, size, size, 2, "held" if part.total else "none", free if share else "")


def _class(device: Part) -> str:
    return device.state or "none"


def _wished_width(boxes: Sequence[_Box], gap: float) -> float:
    """A width at which the rows come out somewhat wider than high."""
    area = sum((box.width + gap) * (box.height + gap) for box in boxes)
    return max(1.9 * sqrt(area), max((box.width for box in boxes), default=0.0)) + 0.01


def _shelves(boxes: Sequence[_Box], most: float, gap: float = _GAP) -> _Box:
    x = y = row = width = 0.0
    parts: list[str] = []
    if boxes and all(box.width == boxes[0].width for box in boxes):
        # Like boxes make even rows: four are two and two, not three and one.
        fitting = max(1, int((most + gap) / (boxes[0].width + gap)))
        in_a_row = ceil(len(boxes) / ceil(len(boxes) / fitting))
        most = in_a_row * (boxes[0].width + gap)
    for box in boxes:
        if x and x + box.width > most:
            x, y, row = 0.0, y + row + gap, 0.0
        parts.append(f'<g transform="translate({x:.1f},{y:.1f})">{box.svg}</g>')
        x += box.width + gap
        width = max(width, x - gap)
        row = max(row, box.height)
    return _Box(width, y + row, "".join(parts))


def _tooltip(part: Part) -> str:
    words = [f"{part.kind} {part.title}" if part.kind != "device" else f"{part.title}: {part.state}", part.note]
    if part.total and part.kind != "device":
        words.append(f"{part.free} of {part.total} devices free")
    return "\n".join(word for word in words if word)


def _cut(text: str, room: int, *, tail: bool = False) -> str:
    """Shortened with an ellipsis; `tail` keeps the end, where names of nodes differ."""
    room = max(2, room)
    if len(text) <= room:
        return text
    return "…" + text[-(room - 1) :] if tail else text[: room - 1] + "…"
