"""What a run of many requests takes in memory, phase by phase, and what its records cost.

A whole `fairlead bench` against the null server is watched from outside, all of its processes together, each 50 ms from
its start to its end: as PSS (a page that several share counts once) and as RSS (once for each). Phases are told apart
by which processes there are. Start: from the start of the program to its first request at the server.

Then records are put through what a coordinator does with each (measured by a `StageMeter`, appended to the spool) as
fast as it goes, and made into Parquet as a run does: the memory of ten times as many shows whether it grows with them.
With `--adapters`, they are spread over so many.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.clients import null_server
from harness.memory import Look, looks
from harness.report import Figure, arguments, report

if TYPE_CHECKING:
    from fairlead.bench.record import Record

PHASES = ("prepare", "run", "Parquet", "reports", "in between")
PREFIX = "records of "


def phase_of(look: Look, was_running: bool) -> str:
    """By the processes that there are."""
    commands = " ".join(look.commands.values())
    named = {"records.conversion": "Parquet", "report.aside": "reports", "bench.worker": "run"}
    found = next((phase for module, phase in named.items() if module in commands), None)
    return found or ("in between" if was_running else "prepare")


def whole_run(requests: int, rate_per_s: float, workers: int | None) -> tuple[list[Figure], str]:
    """A run from its start to its end."""
    with null_server() as port, tempfile.TemporaryDirectory() as results:
        command = [
            sys.executable, "-m", "fairlead.cli.main", "bench", f"http://127.0.0.1:{port}", "--model", "null",
            "--api", "completions", "--rate", str(rate_per_s), "--requests", str(requests), "--process", "constant",
            "--prompt-tokens", "64", "--output-tokens", "16", "--results", results, "--quiet",
            *(["--workers", str(workers)] if workers is not None else []),
        ]  # fmt: skip
        began_s = time.monotonic()
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
        seen = looks(process.pid, lambda: process.poll() is not None)
        ended_s = time.monotonic()
        said = process.stderr.read() if process.stderr is not None else ""
        first_s = first_arrival_s(port)
    peaks: dict[str, tuple[float, float]] = {}
    running = False
    for look in seen:
        phase = phase_of(look, running)
        running = running or phase == "run"
        pss, rss = peaks.get(phase, (0.0, 0.0))
        peaks[phase] = (max(pss, look.pss_bytes / 1e6), max(rss, look.rss_bytes / 1e6))
    figures = [
        Figure(f"{requests:,} requests, most at any time, RSS", max(rss for _, rss in peaks.values()), "MB", 150.0),
        Figure(f"{requests:,} requests, most at any time, PSS", max(pss for pss, _ in peaks.values()), "MB", 150.0),
    ]
    for phase in (phase for phase in PHASES if phase in peaks):
        pss, rss = peaks[phase]
        figures += [Figure(f"  {phase}, PSS", pss, "MB"), Figure(f"  {phase}, RSS", rss, "MB")]
    figures.append(Figure("start, to the first request at the server", first_s - began_s, "s", 2.0))
    late_s = ended_s - began_s - requests / rate_per_s
    figures.append(Figure("the run, beyond its load", late_s, "s"))
    return figures, f"exit status {process.returncode}: {said.strip()}" if process.returncode else ""


def first_arrival_s(port: int) -> float:
    """Of the load: what the preflight asks comes before it, and stands apart."""
    arrivals = array("d")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/arrivals") as answer:
        arrivals.frombytes(answer.read())
    times = sorted(arrivals)
    return times[1] if len(times) > 1 else times[0]


# Records alone


def pipeline(requests: int, adapters: int, chunks: int) -> dict[str, float]:
    """In this process: seconds of CPU and memory for so many records."""
    import msgspec

    from fairlead.bench.config import Benchmark
    from fairlead.bench.load.stages import stages
    from fairlead.bench.measure.meter import StageMeter
    from fairlead.bench.records import RecordWriter
    from fairlead.bench.run.results import write_summary
    from fairlead.bench.summary import RunSummary

    rate_per_s = 1000.0
    document = {
        "targets": [{"url": "http://h:1", "model": "m"}],
        "load": {"kind": "open", "stages": [{"rate_per_s": rate_per_s, "seconds": requests / rate_per_s}]},
        "objective": {"ttft_ms": 100},
    }
    config = msgspec.convert(document, Benchmark)
    (plan,) = stages(config.load)
    names = [f"adapter-{number}" for number in range(adapters)]
    meter, measuring_s, base = StageMeter(plan, config, names), 0.0, resident_mb()
    with tempfile.TemporaryDirectory() as folder:
        writer = RecordWriter(Path(folder) / "records")
        for some in made(requests, rate_per_s, adapters, chunks):
            begin_s = time.process_time()
            meter.add(some)
            writer.add(some)
            measuring_s += time.process_time() - begin_s
        stage = meter.summary(requests / rate_per_s)
        most_mb = resident_mb()
        writer.end()
        shown: dict[str, object] = msgspec.to_builtins(config)
        seconds = requests / rate_per_s
        run = RunSummary("records", "", "2026-01-01T00:00:00Z", seconds, "complete", "", shown, {}, (stage,))
        write_summary(Path(folder), run)
        parquet = ended("fairlead.bench.records.conversion", f"{folder}/records", "")
        reports = ended("fairlead.bench.report.aside", folder, "v0.2", "html")
        size = sum(file.stat().st_size for file in Path(folder).glob("records/*.parquet"))
    return {
        "grown_mb": most_mb - base,
        "cpu_us": measuring_s / requests * 1e6,
        "parquet_s": parquet.ru_utime + parquet.ru_stime,
        "parquet_mb": parquet.ru_maxrss * 1024 / 1e6,
        "reports_s": reports.ru_utime + reports.ru_stime,
        "reports_mb": reports.ru_maxrss * 1024 / 1e6,
        "bytes": size / requests,
    }


def ended(module: str, *arguments: str) -> resource.struct_rusage:
    """What a process took that does a part of a run's end, as that starts it."""
    from fairlead.bench.records.conversion import ENVIRONMENT

    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL)
    _, status, taken = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{module} ended with {os.waitstatus_to_exitcode(status)}")
    return taken


def made(requests: int, rate_per_s: float, adapters: int, chunks: int) -> Iterator[list[Record]]:
    """Whole answers, some hundred at a time."""
    from fairlead.bench.record import Record

    draw = random.Random(1)
    for begin in range(0, requests, 500):
        some: list[Record] = []
        for number in range(begin, min(requests, begin + 500)):
            due_s = number / rate_per_s
            sent_s = due_s + draw.expovariate(1e4)
            first_s = 0.02 + draw.expovariate(200)
            times = array("f", [first_s + 0.005 * (k + draw.random() / 10) for k in range(chunks)])
            last_s = sent_s + times[-1]
            answer = Record(
                number, 0, 0, 0, number % adapters if adapters else -1, 0, 0, 200, due_s, sent_s, sent_s + 2e-5,
                sent_s + first_s, sent_s + first_s, last_s, last_s + 1e-4, 64, chunks, chunks, 64, chunks, -1, False,
                math.nan, sent_s - due_s, "length", "", times.tobytes(), b"",
            )  # fmt: skip
            some.append(answer)
        yield some


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return math.nan


def records(requests: int, adapters: int, chunks: int) -> dict[str, float]:
    """`pipeline`, in a process that has done nothing else."""
    command = [sys.executable, __file__, "--pipeline", f"{requests},{adapters},{chunks}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def records_figures(requests: int, adapters: int, chunks: int) -> list[Figure]:
    few, many = (records(count, adapters, chunks) for count in (requests // 10, requests))
    return [
        Figure(f"{PREFIX}{requests // 10:,} requests: memory grown", few["grown_mb"], "MB"),
        Figure(f"{PREFIX}{requests:,}: memory grown", many["grown_mb"], "MB"),
        Figure(f"{PREFIX}{requests:,}: measured and spooled, CPU each", many["cpu_us"], "µs"),
        Figure(f"{PREFIX}{requests:,}: Parquet, CPU", many["parquet_s"], "s"),
        Figure(f"{PREFIX}{requests // 10:,}: Parquet, most memory of its process", few["parquet_mb"], "MB"),
        Figure(f"{PREFIX}{requests:,}: Parquet, most memory of its process", many["parquet_mb"], "MB"),
        Figure(f"{PREFIX}{requests:,}: Parquet, each", many["bytes"], "B"),
        Figure(f"{PREFIX}{requests:,}: reports, CPU", many["reports_s"], "s"),
        Figure(f"{PREFIX}{requests // 10:,}: reports, most memory of their process", few["reports_mb"], "MB"),
        Figure(f"{PREFIX}{requests:,}: reports, most memory of their process", many["reports_mb"], "MB"),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--requests", type=int, default=100_000, help="of the whole run; 0: none")
    parser.add_argument("--rate", type=float, default=1000.0, help="of the whole run, per second")
    parser.add_argument("--workers", type=int, help="of the whole run")
    parser.add_argument("--records", type=int, default=1_000_000, help="to measure and keep alone; 0: none")
    parser.add_argument("--adapters", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=16, help="events of each answer")
    parser.add_argument("--pipeline", help="(for itself)")
    given = parser.parse_args()
    if given.pipeline:
        requests, adapters, chunks = map(int, given.pipeline.split(","))
        print(json.dumps(pipeline(requests, adapters, chunks)))
        return
    figures: list[Figure] = []
    notes = ""
    if given.requests:
        figures, notes = whole_run(given.requests, given.rate, given.workers)
    if given.records:
        figures += records_figures(given.records, given.adapters, given.chunks)
    report(figures, given.json, notes)


if __name__ == "__main__":
    main()
