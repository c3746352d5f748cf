"""Which endpoint gets a request: Fairlead's default profile against other routing, by replay in the simulated fleet.

Every scenario (`harness/routing.py`) is served with the same requests under random, round robin, least requests,
llm-d's default as rebuilt in `fairlead.simulator.fleet.llm_d`, and the live gateway's own picker with its default
profile, which is told what the live gateway learns and nothing else. Seeds are paired: each gives another workload
(another part of a recorded trace), which all policies get. Figures are medians over seeds.

- TTFT at the client, seconds; TPOT is the mean gap between the tokens of a request.
- Goodput: requests that kept the scenario's objectives per second of arrivals.
- A policy is better where its 90th percentile of TTFT is lower and its goodput higher. Goodput within 0.5 % counts as
  equal where both keep the objectives of 99 % of the requests: there is nothing left to win.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairlead.simulator.fleet import NoRecords, Summary, run_study
from fairlead.simulator.fleet.records import NAMES, Record
from harness.report import Figure, arguments, report
from harness.routing import STUDIES, TRACES, Study

OURS = "fairlead"
OTHERS = ("random", "round-robin", "least-loaded", "llm-d")
_STATUS, _ARRIVED, _FIRST = (NAMES.index(name) for name in ("status", "arrived_s", "first_token_s"))
_SATED, _EQUAL = 0.99, 0.005


@dataclass(frozen=True, slots=True)
class Result:
    """One policy in one scenario at one load: medians over seeds, and what each gave where seeds are compared."""

    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    tpot_p90_s: float
    goodput: float
    attainment: float
    hit_rate: float | None
    makespan_s: float
    failed: float
    by_seed: tuple[float, ...]
    """90th percentile of TTFT."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A scenario at a load."""

    study: Study
    load: float
    results: dict[str, Result]

    @property
    def ttft_ratio(self) -> float:
        """90th percentile of TTFT over that of the best of the others."""
        return self.results[OURS].ttft_p90_s / min(self.results[o].ttft_p90_s for o in OTHERS)

    @property
    def goodput_ratio(self) -> float:
        """Goodput over that of the best of the others."""
        best = max(self.results[o].goodput for o in OTHERS)
        return self.results[OURS].goodput / best if best else 1.0

    @property
    def is_better(self) -> bool:
        return self.ttft_ratio < 1.0 and self._goodput_is_better

    @property
    def _goodput_is_better(self) -> bool:
        ours = self.results[OURS]
        if ours.attainment >= _SATED:
            return self.goodput_ratio >= 1.0 - _EQUAL
        return self.goodput_ratio > 1.0

    @property
    def seeds_won(self) -> int:
        """Seeds in which the 90th percentile of TTFT is the lowest of all."""
        ours = self.results[OURS].by_seed
        return sum(ttft < min(self.results[other].by_seed[n] for other in OTHERS) for n, ttft in enumerate(ours))


class _Ttfts(NoRecords):
    """Times to first token, exactly: the summary's percentiles have an error of 1 %, and some policies differ by
    less."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def write(self, record: Record) -> None:
        if record[_STATUS] == "finished":
            self._values.append(float(str(record[_FIRST])) - float(str(record[_ARRIVED])))

    def percentiles(self) -> tuple[float, float, float]:
        """50th, 90th and 99th."""
        p50, p90, p99 = np.percentile(self._values or [0.0], (50, 90, 99))
        return float(p50), float(p90), float(p99)


def measure(study: Study, load: float, policy: str, seeds: int, requests: int | None) -> Result:
    """Serve a scenario with a policy, once for each seed."""
    found, ttfts = [], []
    for seed in range(seeds):
        sink = _Ttfts()
        found.append(run_study(study.at(load, policy, seed, requests), records=sink))
        ttfts.append(sink.percentiles())
    rate = load * study.capacity

    def median(values: Sequence[float | None]) -> float:
        return statistics.median([v for v in values if v is not None] or [0.0])

    attainments = [summary.attainment or 0.0 for summary in found]
    rates = [_hit_rate(summary) for summary in found]
    return Result(
        ttft_p50_s=median([t[0] for t in ttfts]),
        ttft_p90_s=median([t[1] for t in ttfts]),
        ttft_p99_s=median([t[2] for t in ttfts]),
        tpot_p90_s=median([s.tpot_s.p90 for s in found]),
        goodput=rate * median(attainments),
        attainment=median(attainments),
        hit_rate=None if None in rates else median(rates),
        makespan_s=median([s.duration_s for s in found]),
        failed=median([float(s.failed) for s in found]),
        by_seed=tuple(t[1] for t in ttfts),
    )


def _hit_rate(summary: Summary) -> float | None:
    return summary.prefix_hit_rate


def table(cell: Cell) -> str:
    """One cell for people."""
    lines = [
        f"{cell.study.name} at {100 * cell.load:.0f} % ({cell.study.what})",
        "                 TTFT p50     p90     p99  TPOT p90   goodput   kept  prefix hits  makespan  failed",
    ]
    for policy, r in cell.results.items():
        hits = "      -" if r.hit_rate is None else f"{100 * r.hit_rate:5.1f} %"
        lines.append(
            f"  {policy:<14}{r.ttft_p50_s:8.3f}{r.ttft_p90_s:8.3f}{r.ttft_p99_s:8.3f}{r.tpot_p90_s:10.4f}"
            f"{r.goodput:8.2f}/s{100 * r.attainment:6.1f}%{hits:>13}{r.makespan_s:9.0f} s{r.failed:8.0f}"
        )
    won = f"lowest p90 in {cell.seeds_won} of {len(cell.results[OURS].by_seed)} seeds"
    return "\n".join(
        [*lines, f"  {OURS} better than all: {'yes' if cell.is_better else 'NO'} "
         f"(p90 TTFT x {cell.ttft_ratio:.2f}, goodput x {cell.goodput_ratio:.3f} of the best other; {won})"]
    )  # fmt: skip


def plot(cells: Sequence[Cell], path: Path) -> None:
    """p90 of TTFT and goodput of every policy in every cell, as a page that needs no network."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = [f"{cell.study.name} {100 * cell.load:.0f} %" for cell in cells]
    figure = make_subplots(rows=2, cols=1, subplot_titles=("90th percentile of TTFT, s", "Objectives kept, share"))
    colours = ("#9aa5b8", "#6b7a93", "#3d6fb4", "#d98324", "#1b9e5a")
    for policy, colour in zip((*OTHERS, OURS), colours, strict=True):
        for row, field in ((1, "ttft_p90_s"), (2, "attainment")):
            values = [getattr(cell.results[policy], field) for cell in cells]
            figure.add_trace(
                go.Bar(x=names, y=values, name=policy, marker_color=colour, legendgroup=policy, showlegend=row == 1),
                row=row, col=1,
            )  # fmt: skip
    figure.update_yaxes(type="log", row=1, col=1)
    figure.update_layout(barmode="group", height=900, title="Routing by replay", template="plotly_white")
    figure.write_html(path, include_plotlyjs=True)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("scenarios", nargs="*", help="names [default: all]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed, one load, a third of the requests")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the results as a page of plots")
    options = parser.parse_args()
    unknown = sorted(set(options.scenarios) - {study.name for study in STUDIES})
    if unknown:
        parser.error(f"unknown scenario {unknown[0]!r}; known are {', '.join(study.name for study in STUDIES)}")
    cells, notes = [], []
    for study in STUDIES:
        if options.scenarios and study.name not in options.scenarios:
            continue
        if study.trace and not (TRACES / study.trace).exists():
            notes.append(f"no trace at {TRACES / study.trace}: {study.name} is left out")
            continue
        requests = study.requests // 3 if options.quick else None
        seeds = 1 if options.quick else options.seeds
        for load in (study.loads[-2:-1] or study.loads) if options.quick else study.loads:
            results = {p: measure(study, load, p, seeds, requests) for p in (*OTHERS, OURS)}
            cells.append(Cell(study, load, results))
            if not options.json:
                print(table(cells[-1]), flush=True)
    if options.plot is not None:
        plot(cells, options.plot)
    names = list(dict.fromkeys(cell.study.name for cell in cells))
    for name in names:
        own = [cell for cell in cells if cell.study.name == name]
        verdict = "yes" if all(cell.is_better for cell in own) else "NO"
        kind = "held out" if own[0].study.held_out else "chosen with"
        notes.append(f"{name:<12} ({kind}): {OURS} better than all: {verdict}")
    figures = []
    for cell in cells:
        label = f"{cell.study.name} {100 * cell.load:.0f} %"
        figures.append(Figure(f"{label}: p90 TTFT over the best other", cell.ttft_ratio, "x", goal=0.9999))
        figures.append(
            Figure(f"{label}: goodput over the best other", cell.goodput_ratio, "x", goal=1.0 - _EQUAL, better="higher")
        )
    report(figures, options.json, "\n".join(notes))


if __name__ == "__main__":
    main()
