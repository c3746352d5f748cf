"""What pages have in common: one file that needs no network, light or dark as the reader's system is, with its plots.

Plotly's library, and the figures, are in the page compressed: a quarter of their size. Browsers from 2023 on unpack
them; an older one says so, and shows all tables.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from functools import lru_cache, partial
from html import escape
from importlib.resources import files
from typing import Any

import msgspec

Figure = dict[str, Any]

PIECE_BYTES = 2**18

_STYLE = """
:root { color-scheme: light dark; --ground: #f4f6fa; --panel: #fff; --ink: #27303f; --soft: #5a6577; --line: #e1e5ec;
  --bad: #b3261e; --badground: #fdecea; --noteground: #fff7e6; --good: #18794e; --warn: #9a6700; --head: #eef1f6; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171d; --panel: #1d2129; --ink: #e4e8ef; --soft: #9aa5b6;
  --line: #323946; --bad: #ff8a80; --badground: #3a1d1c; --noteground: #332b18; --good: #5fd39b; --warn: #e8b54a;
  --head: #252a34; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 19px; margin: 36px 0 12px; } h3 { font-size: 16px; }
.about { color: var(--soft); margin: 4px 0 20px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(172px, 1fr)); gap: 12px; margin: 14px 0; }
.card, .panel, .scroll, pre, details { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 12px 14px; }
.card b { display: block; font-size: 17px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); gap: 14px; }
.panel { padding: 8px; min-width: 0; overflow: hidden; }
.scroll { overflow-x: auto; margin-bottom: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 9px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td.words, thead th.words { text-align: left; }
td.words { white-space: normal; min-width: 220px; color: var(--soft); }
thead th { color: var(--soft); background: var(--head); } th[title] { text-decoration: underline dotted; cursor: help; }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
tbody tr.bad { background: var(--badground); }
.mark { font-weight: 600; } .mark.bad { padding: 1px 7px; border-radius: 6px; color: #fff; background: #b3261e; }
.mark.good { color: var(--good); } .mark.warn { color: var(--warn); }
pre { padding: 14px; overflow-x: auto; }
details { padding: 8px 14px; margin: 10px 0; } details > summary { cursor: pointer; font-weight: 600; }
details .scroll { margin-top: 12px; }
.note, .bad-banner { border: 1px solid var(--line); border-radius: 10px; padding: 8px 14px; margin: 10px 0; }
.note, details.note { background: var(--noteground); } details.note ul { margin: 6px 0 2px; padding-left: 20px; }
.bad-banner { background: var(--badground); color: var(--bad); border: 2px solid var(--bad); }
.bad-banner strong { display: block; font-size: 17px; } .bad-banner ul { margin: 6px 0 2px; padding-left: 20px; }
.legend { color: var(--soft); font-size: 13px; margin: 6px 2px; }
@media print { details > * { display: block; } .plots { grid-template-columns: 1fr 1fr; } }
"""

_SCRIPT = """
const dark = matchMedia('(prefers-color-scheme: dark)');
async function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).text();
}
function draw(figures) {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  figures.forEach((f, n) => {
    const layout = structuredClone(f.layout);
    layout.font = {color: of('--ink'), family: 'system-ui, sans-serif', size: 12};
    layout.hoverlabel = {bgcolor: of('--panel'), bordercolor: of('--line'), font: {color: of('--ink')}};
    for (const axis of Object.keys(layout).filter((k) => /^[xy]axis/.test(k)))
      Object.assign(layout[axis], {gridcolor: of('--line'), zerolinecolor: of('--line'), linecolor: of('--line')});
    // A hollow marker is filled with the panel's own colour.
    const data = structuredClone(f.data);
    for (const trace of data)
      if (trace.marker && Array.isArray(trace.marker.color))
        trace.marker.color = trace.marker.color.map((c) => c === 'hollow' ? of('--panel') : c);
    Plotly.react('plot' + n, data, layout, {responsive: true, displaylogo: false, displayModeBar: false});
  });
}
(async () => {
  if (!document.getElementById('figures')) return;
  if (!('DecompressionStream' in window)) {
    for (const place of document.querySelectorAll('.panel'))
      place.textContent = 'Plots need a browser of 2023 or later; the tables have the figures.';
    return;
  }
  const [library, figures] = await Promise.all([unpacked('library'), unpacked('figures')]);
  const script = document.createElement('script');
  script.textContent = library;
  document.head.append(script);
  const parsed = JSON.parse(figures);
  draw(parsed);
  dark.addEventListener('change', () => draw(parsed));
})();
"""


class Plots:
    """Places for figures in a page."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def section(self, title: str, of: Sequence[Figure], legend: str = "") -> str:
        """Nothing, where there are none. `legend`: a sentence below the title."""
        if not of:
            return ""
        places = []
        for figure in of:
            places.append(f'<div class="panel"><div id="plot{len(self.figures)}"></div></div>')
            self.figures.append(figure)
        said = f'<p class="legend">{escape(legend)}</p>' if legend else ""
        return f'<h2>{escape(title)}</h2>{said}<div class="plots">{"".join(places)}</div>'


def page(title: str, sections: Sequence[str], plots: Plots) -> str:
    """The whole of it."""
    drawn = ""
    if plots.figures:
        drawn = _packed("library", _library()) + _packed("figures", _deflated(msgspec.json.encode(plots.figures)))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main>{drawn}<script>{_SCRIPT}</script></body></html>"
    )


def _packed(name: str, text: str) -> str:
    return f'<script type="text/plain" id="{name}">{text}</script>'


@lru_cache(maxsize=1)
def _library() -> str:
    # Piece by piece: whole, and as text, it would be most of what a page takes in memory.
    packer = zlib.compressobj(6)
    with (files("plotly") / "package_data" / "plotly.min.js").open("rb") as file:
        packed = b"".join([packer.compress(piece) for piece in iter(partial(file.read, PIECE_BYTES), b"")])
    return base64.b64encode(packed + packer.flush()).decode()


def _deflated(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode()
