"""How fast the fleet simulates, with everything a study has: arrivals, routing, engines, summary and Parquet records.

- Requests per minute of one core: 16 replicas of Llama 3.1 8B on an H100 (roofline), prompts and answers of the Azure
  conversation trace's mean lengths (1,155 and 211 tokens), about 445 of them one of 64 system prompts drawn by Zipf, at
  a rate that keeps the replicas busy; least-loaded routing. And the same with conversations, whose prompts grow.
- The Azure conversation trace (an hour) on 8 replicas.
- Growth of the process's memory between 100,000 and 300,000 requests.

Times are of the CPU, rates medians of several runs, as the machine is shared.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fairlead.simulator.fleet import ParquetRecords, PoolSpec, Scenario, Summary, TraceSpec, run_study
from fairlead.simulator.fleet.records import Record
from fairlead.workload import (
    Arrivals,
    Conversations,
    LogNormal,
    Prefixes,
    Synthetic,
    Uniform,
    generate,
)
from harness.report import Figure, arguments, report

_REPLICAS = 16
_PREFIX = Prefixes(count=64, tokens=Uniform(256, 768), zipf=1.0)
_OUTPUT = LogNormal(211.0, 0.8, high=2000)


def _shared_prefixes(requests: int) -> Synthetic:
    """Single prompts."""
    return Synthetic(
        Arrivals(process="gamma", cv=1.5, rate_per_s=300.0),
        requests=requests,
        prompt_tokens=LogNormal(710.0, 1.0, high=8000),
        output_tokens=_OUTPUT,
        prefixes=(_PREFIX,),
    )


def _conversations(requests: int) -> Synthetic:
    """Up to four turns, each with all that was said before; 80 first turns/s become 200 requests/s."""
    return Synthetic(
        Arrivals(process="gamma", cv=1.5, rate_per_s=80.0),
        requests=requests,
        prompt_tokens=LogNormal(300.0, 1.0, high=8000),
        output_tokens=_OUTPUT,
        prefixes=(_PREFIX,),
        conversations=Conversations(Uniform(1, 4), pause_s=10.0),
    )


def _on_replicas(synthetic: Synthetic) -> Scenario:
    return Scenario(synthetic=synthetic, pools=(PoolSpec(replicas=_REPLICAS),))


@dataclass(frozen=True, slots=True)
class _Run:
    summary: Summary
    cpu_s: float


def _timed(scenario: Scenario) -> _Run:
    with tempfile.TemporaryDirectory() as folder:
        sink = ParquetRecords(Path(folder) / "requests.parquet")
        began_s = time.process_time()
        summary = run_study(scenario, records=sink)
        return _Run(summary, time.process_time() - began_s)


def _rate(synthetic: Synthetic, runs: int) -> tuple[float, Summary]:
    """(median requests per minute of CPU time, what was simulated)."""
    done = [_timed(_on_replicas(synthetic)) for _ in range(runs)]
    return statistics.median(60 * run.summary.arrived / run.cpu_s for run in done), done[0].summary


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _MemoryProbe(ParquetRecords):
    """Writes records and notes the resident memory at two counts of them."""

    def __init__(self, path: Path, first: int, second: int) -> None:
        super().__init__(path)
        self._marks = {first, second}
        self._count = 0
        self.resident: list[int] = []

    def write(self, record: Record) -> None:
        super().write(record)
        self._count += 1
        if self._count in self._marks:
            self.resident.append(_resident_bytes())


def _growth_mb(first: int, second: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        probe = _MemoryProbe(Path(folder) / "requests.parquet", first, second)
        run_study(_on_replicas(_shared_prefixes(second + 1000)), records=probe)
        return (probe.resident[1] - probe.resident[0]) / 1e6


def _described(summary: Summary) -> str:
    work = summary.pools[0].work
    return (
        f"prompt {summary.prompt_tokens / summary.finished:.0f}, output {summary.output_tokens / summary.finished:.0f} "
        f"tokens, prefix hits {100 * (work.prefix_hit_rate or 0):.0f} %, mean batch {work.mean_batch or 0:.0f}, busy "
        f"{100 * (work.utilisation or 0):.0f} %, preemptions {work.preemptions}"
    )


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--requests", type=int, default=20_000, help="of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory-requests", type=int, default=300_000)
    parser.add_argument("--trace", type=Path, help="the Azure conversation trace [default: in $FAIRLEAD_TRACES]")
    options = parser.parse_args()
    single, single_summary = _rate(_shared_prefixes(options.requests), options.runs)
    turns, turns_summary = _rate(_conversations(options.requests), options.runs)
    begun_s = time.process_time()
    made = sum(1 for _ in generate(_shared_prefixes(options.requests), random.Random(0)))
    figures = [
        Figure("shared prefixes, 16 replicas", single, "req/min", goal=300_000, better="higher"),
        Figure("  making a request with a shared prefix", 1e6 * (time.process_time() - begun_s) / made, "µs"),
        Figure("conversations, 16 replicas", turns, "req/min", goal=300_000, better="higher"),
    ]
    traces = Path(os.environ.get("FAIRLEAD_TRACES", Path(__file__).resolve().parents[2] / "shared" / "traces"))
    trace = options.trace or traces / "azure_llm_2023_conv.csv"
    notes = [f"shared prefixes: {_described(single_summary)}", f"conversations: {_described(turns_summary)}"]
    if trace.exists():
        hour = _timed(Scenario(trace=TraceSpec(path=str(trace)), pools=(PoolSpec(replicas=8),)))
        figures.append(Figure("an hour of Azure conversations, 8 replicas", hour.cpu_s, "s", goal=10.0))
        notes.append(f"Azure: {hour.summary.arrived} requests, {_described(hour.summary)}")
    else:
        notes.append(f"no trace at {trace}: its figure is left out")
    third = options.memory_requests // 3
    figures.append(
        Figure(f"memory from {third:,} to {3 * third:,} requests", _growth_mb(third, 3 * third), "MB", goal=5.0)
    )
    report(figures, options.json, "\n".join(notes))


if __name__ == "__main__":
    main()
