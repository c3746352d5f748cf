"""The page of a run: one file that needs no network, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import msgspec
from plotly.offline import get_plotlyjs

from fairlead.bench.measure.formulas import FORMULAS
from fairlead.bench.report import figures, tables
from fairlead.bench.report.figures import Figure
from fairlead.bench.report.scaling_page import scaling_figures, scaling_section
from fairlead.bench.report.server_figures import server_figures
from fairlead.bench.report.server_page import cost_words, engines_of, server_section
from fairlead.bench.report.words import at, number, seconds, share, stage_name
from fairlead.bench.results.grid import Grid
from fairlead.bench.summary import RunSummary

_STYLE = """
:root { color-scheme: light dark; --ground: #f4f6fa; --panel: #fff; --ink: #27303f; --soft: #5a6577; --line: #e1e5ec;
  --bad: #b3261e; --badground: #fdecea; --noteground: #fff7e6; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171d; --panel: #1d2129; --ink: #e4e8ef; --soft: #9aa5b6;
  --line: #323946; --bad: #ff8a80; --badground: #3a1d1c; --noteground: #332b18; } }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 19px; margin: 36px 0 12px; } h3 { font-size: 16px; }
.about { color: var(--soft); margin: 4px 0 20px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 12px; margin-bottom: 14px; }
.card, .panel, .scroll, pre { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 12px 14px; }
.card b { display: block; font-size: 17px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); gap: 14px; }
.panel { padding: 8px; min-width: 0; }
.scroll { overflow-x: auto; margin-bottom: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:last-child { text-align: left; } thead th { color: var(--soft); }
td:last-child { white-space: normal; min-width: 120px; }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
pre { padding: 14px; overflow-x: auto; }
.note, .bad { border: 1px solid var(--line); border-radius: 10px; padding: 8px 14px; margin: 10px 0; }
.note { background: var(--noteground); } .bad { background: var(--badground); color: var(--bad); font-weight: 600; }
"""
_SCRIPT = """
const dark = matchMedia('(prefers-color-scheme: dark)');
function draw() {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue('--ink').trim(), line = style.getPropertyValue('--line').trim();
  figures.forEach((f, n) => {
    const layout = structuredClone(f.layout);
    layout.font = {color: ink, family: 'system-ui, sans-serif'};
    for (const axis of ['xaxis', 'yaxis']) Object.assign(layout[axis], {gridcolor: line, zerolinecolor: line});
    Plotly.react('plot' + n, f.data, layout, {responsive: true, displaylogo: false, displayModeBar: false});
  });
}
draw();
dark.addEventListener('change', draw);
"""


def report_page(run: RunSummary, grids: Mapping[int, Grid]) -> str:
    """`grids`: of the run's records by stage; without them there are no plots over time."""
    plots = _Plots()
    title = run.name or run.id
    sections = [
        f'<h1>{escape(title)}</h1><p class="about">{escape(f"{run.id} · {run.began} · {seconds(run.seconds)}")}</p>',
        *_warnings(run),
        _cards(run),
        f"<h2>Stages</h2>{tables.stages(run)}",
        _search(run),
        plots.section("Scaling", scaling_figures(run, grids)),
        scaling_section(run),
        plots.section("Latency and throughput", figures.curves(run) if len(run.stages) > 1 else []),
        plots.section("Distributions", figures.distributions(run, grids)),
        plots.section("Over time", [*figures.throughput(grids), *figures.over_time(grids), *figures.heatmaps(grids)]),
        plots.section("Servers", server_figures([series for series in run.server if series.unit != "replicas"])),
        server_section(run),
        *_details(run),
        f"<h2>Environment</h2>{tables.facts(run.environment)}",
        f"<h2>Configuration</h2><pre>{escape(msgspec.yaml.encode(run.config).decode())}</pre>",
        f"<h2>Formulas</h2>{tables.facts(FORMULAS)}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>{''.join(sections)}</main>{plots.script()}</body></html>"
    )


class _Plots:
    """Places for figures in the page, and the script that draws them."""

    def __init__(self) -> None:
        self._figures: list[Figure] = []

    def section(self, title: str, of: Sequence[Figure]) -> str:
        if not of:
            return ""
        places = []
        for figure in of:
            places.append(f'<div class="panel"><div id="plot{len(self._figures)}"></div></div>')
            self._figures.append(figure)
        return f'<h2>{escape(title)}</h2><div class="plots">{"".join(places)}</div>'

    def script(self) -> str:
        # "</" would end the script element.
        data = msgspec.json.encode(self._figures).decode().replace("</", "<\\/")
        return f"<script>const figures = {data};{_SCRIPT}</script>"


def _warnings(run: RunSummary) -> list[str]:
    bad = [] if run.ended == "complete" else [f"The run was {run.ended}: {run.why_ended}"]
    bad += [
        f"INVALID, do not use the figures of {stage_name(stage)}: {'; '.join(stage.verdict.reasons)}"
        for stage in run.stages
        if not stage.verdict.valid
    ]
    notes = [*run.notes, *(f"{stage_name(s)}: {note}" for s in run.stages for note in s.verdict.notes)]
    return [f'<p class="bad">{escape(text)}</p>' for text in bad] + [
        f'<p class="note">{escape(text)}</p>' for text in dict.fromkeys(notes)
    ]


def _cards(run: RunSummary) -> str:
    """Of the whole run, and of its best stage."""
    requests = sum(stage.metrics.requests for stage in run.stages)
    whole = sum(stage.metrics.whole for stage in run.stages)
    cards = [("requests whole", f"{number(whole)} of {number(requests)}")]
    valid = [stage for stage in run.stages if stage.verdict.valid]
    if valid:
        best = max(valid, key=lambda stage: stage.metrics.output_tokens_per_s)
        of = best.metrics
        name = stage_name(best)
        cards += [
            (f"output tok/s ({name})", number(of.output_tokens_per_s)),
            (f"TTFT p50 / p99 ({name})", f"{at(of.ttft, 50.0)} / {at(of.ttft, 99.0)}"),
            (f"ITL p50 / p99 ({name})", f"{at(of.itl, 50.0)} / {at(of.itl, 99.0)}"),
            (f"E2E p50 / p99 ({name})", f"{at(of.e2e, 50.0)} / {at(of.e2e, 99.0)}"),
        ]
        if of.goodput is not None:
            cards.append((f"objective kept ({name})", share(of.goodput.attainment)))
    if run.cost_per_million_tokens is not None:
        cards.append(("cost per million output tokens", cost_words(run)))
    if run.joules_per_token is not None:
        cards.append(("joules per output token", number(run.joules_per_token)))
    inner = "".join(f'<div class="card"><b>{escape(v)}</b><span>{escape(n)}</span></div>' for n, v in cards)
    return f'<div class="cards">{inner}</div>'


def _search(run: RunSummary) -> str:
    found = run.search
    if found is None:
        return ""
    said = f"Highest load that kept the objective: {number(found.best)}; lowest that did not: {number(found.failed)}. "
    rows = ((number(step.load), step.decision, step.why) for step in found.steps)
    return f"<h2>Search</h2><p>{escape(said + found.why_ended)}</p>{tables.table((found.of, 'decision', 'why'), rows)}"


def _details(run: RunSummary) -> list[str]:
    return [
        f"<h2>{escape(stage_name(stage))}</h2>{tables.latencies(stage, FORMULAS)}{tables.failures(stage)}"
        + tables.parts("target", stage.by_target)
        + engines_of(run, stage)
        + tables.parts("adapter", stage.by_adapter)
        + tables.parts("turn", {str(turn): metrics for turn, metrics in stage.by_turn.items()})
        for stage in run.stages
    ]
