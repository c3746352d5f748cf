"""A picture and a link matrix as lines of text for a terminal, styles as rich markup where wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.devices.topology.links import LinkMatrix
from fairlead.devices.topology.picture import Part

_MARKS = {"free": "○", "held": "●", "tainted": "✕", "away": "!", "": ""}
_STYLES = {"free": "green", "held": "blue", "tainted": "red", "away": "yellow", "": ""}
_BOLD = {"region", "zone", "switch", "domain"}


def tree_lines(part: Part, *, markup: bool = False) -> list[str]:
    """One line a part, joined by the usual branches."""
    return [_line(part, markup), *_below(part, "", markup)]


def legend() -> str:
    return "○ free  ● held  ✕ tainted or cordoned  ! not ready"


def _below(part: Part, indent: str, markup: bool) -> Iterator[str]:
    for index, child in enumerate(part.parts):
        last = index == len(part.parts) - 1
        yield indent + ("└─ " if last else "├─ ") + _line(child, markup)
        yield from _below(child, indent + ("   " if last else "│  "), markup)


def _line(part: Part, markup: bool) -> str:
    words = [f"{_MARKS[part.state]} {part.title}".lstrip() if part.kind != "device" or part.state else part.title]
    notes = [part.note] if part.note else []
    if part.count > 1 and part.kind != "node":
        notes.append(f"{part.count} nodes")
    if part.total and part.kind != "device":
        notes.append(f"{part.free} of {part.total} devices free")
    if not markup:
        return "  ".join([*words, *([f"({'; '.join(notes)})"] if notes else [])])
    style = "bold" if part.kind in _BOLD else _STYLES[part.state]
    title = _escape(words[0])
    styled = f"[{style}]{title}[/]" if style else title
    return styled + (f"  [dim]({_escape('; '.join(notes))})[/]" if notes else "")


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def matrix_lines(matrix: LinkMatrix, *, scores: bool = False) -> list[str]:
    """The matrix as `nvidia-smi topo -m` shows it, or Furiosa's scores."""
    cells = [
        ["", *matrix.names],
        *(
            [name, *(map(str, matrix.scores[row]) if scores else matrix.kinds[row])]
            for row, name in enumerate(matrix.names)
        ),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
