"""The page itself: style, cards with the figures that matter first, plots, tables, configuration, definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import msgspec
from plotly.offline import get_plotlyjs

from fairlead.simulator.fleet.config import Scenario
from fairlead.simulator.fleet.summary import Summary
from fairlead.simulator.report.figures import Figure, label, latency_figures, replica_figure, series_figures
from fairlead.simulator.report.tables import (
    COMPARED,
    compared,
    event_table,
    latency_table,
    number,
    objective_table,
    percent,
    pool_table,
    replica_table,
    seconds,
    table,
)

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f6fa; color: #27303f; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 19px; margin: 36px 0 12px; }
.about { color: #5a6577; margin: 4px 0 20px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 12px; }
.card, .panel { background: white; border: 1px solid #e1e5ec; border-radius: 10px; }
.card { padding: 12px 14px; }
.card b { display: block; font-size: 17px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.card span { color: #5a6577; font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr)); gap: 14px; }
.panel { padding: 8px; min-width: 0; }
.scroll { overflow-x: auto; background: white; border: 1px solid #e1e5ec; border-radius: 10px; margin-bottom: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid #edf0f5; white-space: nowrap; }
th:first-child { text-align: left; font-weight: 600; } thead th { color: #5a6577; font-weight: 600; }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
pre { background: white; border: 1px solid #e1e5ec; border-radius: 10px; padding: 14px; overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; font-size: 13.5px; }
dt { font-weight: 600; } dd { margin: 0; color: #5a6577; }
.note { background: #fff7e6; border: 1px solid #f0dcae; border-radius: 10px; padding: 8px 14px; margin: 12px 0; }
"""


def report_page(summaries: Sequence[Summary], scenario: Scenario) -> str:
    """One page for one study, or for several that differ in their policy. Contains everything it needs."""
    first = summaries[0]
    plots = _Plots()
    body = [
        f"<h1>{escape(first.name)}</h1>",
        f'<p class="about">{escape(_about(summaries))}</p>',
        *(f'<p class="note">{escape(note)}</p>' for note in dict.fromkeys(n for s in summaries for n in s.notes)),
    ]
    if len(summaries) > 1:
        body.append("<h2>Comparison</h2>")
        # One column per study: there are few studies and many figures.
        rows = list(zip(COMPARED, *(compared(s) for s in summaries), strict=True))
        body.append(table(("", *(label(s) for s in summaries)), rows))
    else:
        body.append(_cards(first))
    body.append("<h2>Latency</h2>")
    body.append(plots.grid(latency_figures(summaries)))
    for summary in summaries:
        heading = label(summary) if len(summaries) > 1 else "Details"
        body.append(f"<h2>{escape(heading)}</h2>{latency_table(summary)}{objective_table(summary)}")
        body.append(plots.grid([*series_figures(summary), replica_figure(summary)]))
        body.append(f"<h2>Pools and replicas</h2>{pool_table(summary)}{replica_table(summary)}")
        if events := event_table(summary):
            body.append(f"<h2>Events</h2>{events}")
    body.append(f"<h2>Scenario</h2><pre>{escape(_yaml(scenario))}</pre>")
    body.append(f"<h2>Definitions</h2>{_definitions(first.definitions)}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(first.name)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>{''.join(body)}</main>{plots.script()}</body></html>"
    )


class _Plots:
    """Places for figures in the page, and the script that draws them."""

    def __init__(self) -> None:
        self._figures: list[Figure] = []

    def grid(self, figures: Sequence[Figure]) -> str:
        places = []
        for figure in figures:
            places.append(f'<div class="panel"><div id="plot{len(self._figures)}"></div></div>')
            self._figures.append(figure)
        return f'<div class="plots">{"".join(places)}</div>'

    def script(self) -> str:
        # "</" would end the script element.
        figures = msgspec.json.encode(self._figures).decode().replace("</", "<\\/")
        return (
            f"<script>const figures = {figures};"
            "figures.forEach((f, n) => Plotly.newPlot('plot' + n, f.data, f.layout, "
            "{responsive: true, displaylogo: false, displayModeBar: false}));</script>"
        )


def _about(summaries: Sequence[Summary]) -> str:
    first = summaries[0]
    policies = ", ".join(label(s) for s in summaries)
    arrived = f"{number(first.arrived)} requests in {seconds(first.duration_s)}"
    return f"{first.workload} · {arrived} · {policies} · seed {first.seed}"


def _cards(summary: Summary) -> str:
    cards = [
        ("finished", f"{number(summary.finished)} of {number(summary.arrived)}"),
        ("SLO kept", percent(summary.attainment)),
        ("goodput", f"{number(summary.goodput_requests_per_s)} req/s"),
        ("output", f"{number(summary.output_tokens_per_s)} tok/s"),
        ("TTFT p50 / p99", f"{seconds(summary.ttft_s.p50)} / {seconds(summary.ttft_s.p99)}"),
        ("ITL p50 / p99", f"{seconds(summary.itl_s.p50)} / {seconds(summary.itl_s.p99)}"),
        ("E2E p50 / p99", f"{seconds(summary.e2e_s.p50)} / {seconds(summary.e2e_s.p99)}"),
        ("prefix hits", percent(summary.prefix_hit_rate)),
        ("preemptions", number(summary.preemptions)),
        ("failed / abandoned", f"{number(summary.failed)} / {number(summary.abandoned)}"),
        ("GPU hours", number(summary.paid_gpu_h)),
        ("cost", "–" if summary.cost_usd is None else f"${number(summary.cost_usd)}"),
    ]
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in cards)
        + "</div>"
    )


def _definitions(definitions: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in definitions.items()) + "</dl>"


def _yaml(scenario: Scenario) -> str:
    return msgspec.yaml.encode(scenario).decode()
