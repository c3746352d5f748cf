"""`fairlead bench check`: what the load generator of this machine can do, as a table or JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from fairlead.bench.check.limits import Limits, Trial


def check(
    seconds: Annotated[float, typer.Option("--seconds", "-s", min=5.0, help="How long to take, about.")] = 18.0,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the output.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run the load generator against a server that does nothing but keep time: what can this machine be trusted with?

    Exit status: 0, or 4 where not even the lowest rate was valid.
    """
    import msgspec
    import uvloop

    from fairlead.bench.check.machine import check as measure
    from fairlead.bench.run import RunFailed

    def told(trial: Trial) -> None:
        if not quiet:
            verdict = "valid" if trial.valid else f"invalid: {trial.reasons[0]}"
            print(f"{trial.rate_per_s:g}/s  {verdict}", file=sys.stderr, flush=True)

    try:
        limits = uvloop.run(measure(seconds, told))
    except (RunFailed, OSError) as error:
        raise Failed(str(error)) from error
    if output == "json":
        document = msgspec.to_builtins(limits)
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    else:
        _print(limits)
    if limits.valid_per_s is None:
        raise typer.Exit(4)


COLUMNS = ("requests/s", "late ms", "arrival ms", "CV", "TTFT off ms", "core", "CPU ms", "")
WIDTHS = (10, 11, 11, 5, 11, 5, 7, 7)
LEGEND = """\
Pairs are p50/p99. late: from due until the worker turned to it. arrival: off an even grid, by the server's clock.
CV: of the gaps between arrivals (even 0, random 1). TTFT off: measured less what the server itself gave.
core: the worker's. CPU: of worker and coordinator for each request."""
SAFE_SHARE = 0.8


def _print(limits: Limits) -> None:
    from fairlead.bench.check.machine import OUTPUT_TOKENS, PROMPT_TOKENS
    from fairlead.bench.worker.priority import REAL_TIME

    first, best = limits.trials[0], limits.best
    print(
        f"Streams of {PROMPT_TOKENS} tokens in and {OUTPUT_TOKENS} out, evenly spaced, one worker at {first.priority} "
        f"priority; {limits.cores} cores, load before {limits.load_before:.1f}."
    )
    print(_row(COLUMNS))
    for trial in sorted(limits.trials, key=lambda trial: trial.rate_per_s):
        print(_row(_cells(trial)))
    print(LEGEND + "\n")
    if best is None:
        print("No figure of a run on this machine can be believed at this time: not even the lowest rate was valid.")
    else:
        print(
            f"One worker can be believed up to {best.rate_per_s:g} requests/s, or "
            f"{best.rate_per_s * OUTPUT_TOKENS:,.0f} tokens/s that come one by one. Plan for {SAFE_SHARE:.0%} of that "
            "with each worker."
        )
    print(f"What bound it: {limits.bound_by}.")
    print(f"The first request arrived {first.start_s:.2f} s after the start.")
    if first.priority != REAL_TIME:
        print(
            "Other processes may go before a worker here. As root, with CAP_SYS_NICE or with RLIMIT_RTPRIO "
            "(ulimit -r 1) it is real-time, and late less often."
        )
    if limits.load_before > limits.cores:
        print("This machine was busy before the check: on a quiet one it can do more, but not at this time.")


def _cells(trial: Trial) -> tuple[str, ...]:
    return (
        f"{trial.rate_per_s:g}", _pair(trial.lag_p50_s, trial.lag_p99_s),
        _pair(trial.deviation_p50_s, trial.deviation_p99_s), f"{trial.gap_cv:.2f}",
        _pair(trial.ttft_bias_p50_s, trial.ttft_bias_p99_s), f"{trial.worker_cpu_share:.0%}",
        f"{(trial.worker_cpu_s + trial.coordinator_cpu_s) * 1e3:.2f}", "" if trial.valid else "invalid",
    )  # fmt: skip


def _row(cells: tuple[str, ...]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _pair(median_s: float, p99_s: float) -> str:
    """Milliseconds, with as many digits as tell something."""
    return "/".join(f"{value * 1e3:.2f}" if abs(value) < 0.1 else f"{value * 1e3:.0f}" for value in (median_s, p99_s))
