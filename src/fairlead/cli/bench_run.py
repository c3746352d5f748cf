"""Carrying a benchmark out for a person: progress while it goes on, the figures at the end, and an exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console

from fairlead.bench.config import Benchmark
from fairlead.bench.results.store import store_of
from fairlead.bench.run import RunFailed, Stop, run
from fairlead.bench.run.checking import checked
from fairlead.bench.run.coordinator import new_id
from fairlead.bench.run.ending import reported
from fairlead.bench.summary import RunSummary
from fairlead.cli.bench_progress import Shown
from fairlead.cli.failure import Failed

FAILED, NOT_KEPT, INVALID = 1, 3, 4
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
ENDINGS = {"interrupted": "was ended before its time", "failed": "failed"}


def carry_out(config: Benchmark, results: Path | None, output: str, quiet: bool) -> int:
    """Returns the exit status. Raises Failed for what a person can put right."""
    run_id = new_id()
    folder = store_of(results) / run_id
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    heard: list[int] = []

    async def go() -> RunSummary:
        stop, loop = Stop(), asyncio.get_running_loop()

        def hear(number: signal.Signals) -> None:
            heard.append(number)
            stop.ask(SIGNALS[number])

        for number in SIGNALS:
            loop.add_signal_handler(number, hear, number)
        known = await checked(config, stop)
        with Shown(errors, live=not quiet and output == "text") as shown:
            summary = await run(config, folder, shown.show, stop, known)
        show_summary(summary, output, quiet, errors)
        with Shown(errors, live=not quiet and output == "text") as shown:
            shown.say("writing reports")
            problem = await reported(folder, stop)
        if problem is not None:
            errors.print(f"fairlead: {problem}", markup=False)
        return summary

    try:
        summary = uvloop.run(go())
    except (RunFailed, ValueError) as error:
        if heard:
            return 128 + heard[0]
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"{error.filename or folder}: {error.strerror or error}") from error
    if output == "text" and not quiet:
        Console(highlight=False).print(f"results: {folder}", markup=False, soft_wrap=True)
    status = exit_status(summary)
    if summary.ended != "complete":
        errors.print(f"fairlead: the run {ENDINGS[summary.ended]}: {summary.why_ended}", markup=False)
    return 128 + heard[0] if heard else status


def exit_status(summary: RunSummary) -> int:
    """0 good, 1 failed, 4 invalid, 3 objective not kept: the first of these that holds."""
    if summary.ended != "complete":
        return FAILED
    if not summary.valid:
        return INVALID
    if summary.search is not None:
        return 0 if summary.search.best is not None else NOT_KEPT
    judged = [stage.metrics.goodput for stage in summary.stages if stage.metrics.goodput is not None]
    return NOT_KEPT if any(goodput.kept is False for goodput in judged) else 0


def show_summary(summary: RunSummary, output: str, quiet: bool, errors: Console) -> None:
    """The figures, and what is to be said with them."""
    if output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
        sys.stdout.buffer.flush()
    elif not quiet:
        from fairlead.bench.report.terminal import show

        show(summary, Console(highlight=False))
    for note in summary.notes if quiet or output == "json" else ():
        errors.print(f"fairlead: {note}", markup=False)
