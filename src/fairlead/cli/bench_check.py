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
            verdict = "valid" if trial.valid else f"invalid: {trial.why}"
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


COLUMNS = ("requests/s", "lag ms", "at server ms", "gap CV", "TTFT bias ms", "worker", "CPU ms/request")
WIDTHS = (10, 13, 13, 6, 13, 6, 14)


def _print(limits: Limits) -> None:
    print(_row(COLUMNS))
    for trial in limits.trials:
        row = (
            f"{trial.rate_per_s:g}", _pair(trial.lag_p50_s, trial.lag_p99_s),
            _pair(trial.deviation_p50_s, trial.deviation_p99_s), f"{trial.gap_cv:.2f}",
            _pair(trial.ttft_bias_p50_s, trial.ttft_bias_p99_s), f"{trial.worker_cpu_share:.0%}",
            f"{(trial.worker_cpu_s + trial.coordinator_cpu_s) * 1e3:.2f}",
        )  # fmt: skip
        print(_row(row) + ("" if trial.valid else "  invalid"))
    print("Pairs are p50/p99; CPU is the worker's and the coordinator's together.")
    highest = "none that was tried" if limits.valid_per_s is None else f"{limits.valid_per_s:g} requests/s"
    print(f"highest valid rate of one worker: {highest}")
    print(f"bound by: {limits.bound_by}")
    print(
        f"timer late by p50 {limits.timer_p50_s * 1e6:.0f} µs, p99 {limits.timer_p99_s * 1e6:.0f} µs; first request "
        f"{limits.start_s:.2f} s after the start; {limits.cores} cores, load before {limits.load_before:.1f}"
    )
    if limits.load_before > limits.cores:
        print("This machine was busy before the check: what else runs has its part in these figures.")


def _row(cells: tuple[str, ...]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def _pair(median_s: float, p99_s: float) -> str:
    return f"{median_s * 1e3:.2f}/{p99_s * 1e3:.2f}"
