"""`fairlead simulate calibrate`: an engine profile from a benchmark's report or a live server, and how good it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fairlead.cli.data import OutputOption, QuietOption
from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fairlead.simulator.calibration import Comparison, Fit, Observation, ProbePlan, Report
    from fairlead.simulator.engine import EngineSettings

console = Console(highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    app.command()(calibrate)


def calibrate(
    report: Annotated[
        Path | None,
        typer.Argument(help="JSON lines of observations, or a file of `vllm bench serve --save-detailed`."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask this live server instead, e.g. http://127.0.0.1:8000.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model there.")] = None,
    runtime: Annotated[str, typer.Option(help="What kind of server it is.")] = "vllm",
    duration_s: Annotated[float, typer.Option("--duration", help="Seconds to ask for.")] = 60.0,
    max_prompt: Annotated[int, typer.Option(help="Longest prompt to ask with, in tokens.")] = 1024,
    concurrency: Annotated[int, typer.Option(help="Most requests at a time in the closed loop.")] = 16,
    engine: Annotated[
        list[str] | None, typer.Option(help="A setting of the engine, NAME=VALUE, e.g. max_num_seqs=128; repeatable.")
    ] = None,
    holdout: Annotated[float, typer.Option(help="Share of the run to be judged on.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="File for the profile.")] = None,
    save_report: Annotated[Path | None, typer.Option(help="File for what the live server did.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    output: OutputOption = "text",
    quiet: QuietOption = False,
) -> None:
    """Fit the engine model to a real engine; judge it on requests that the fit has not seen."""
    if (report is None) == (url is None):
        raise Failed("give either a report or --url of a live server")
    if not 0 <= holdout < 1:
        raise Failed(f"--holdout is {holdout}: it is a share from 0 to below 1")
    from fairlead.simulator.calibration import ProbePlan, fit, read_report
    from fairlead.simulator.profile import save_profile

    settings = _settings(engine or [])
    find_async = not any(text.startswith("async_scheduling=") for text in engine or [])
    shown = not quiet and output == "text"
    with _failures():
        if report is not None:
            found = read_report(report)
        else:
            if model is None:
                raise Failed("--url needs --model: the name that requests give")
            plan = ProbePlan(duration_s=duration_s, max_prompt=max_prompt, max_concurrency=concurrency, seed=seed)
            settings, found = _ask(str(url), model, runtime, plan, settings, shown)
            if save_report is not None:
                from fairlead.simulator.calibration import write_report

                write_report(found.observations, save_report)
        fitted_on, held_out = found.split(1 - holdout)
        with _progress("fitting", shown) as progress:
            made = fit(
                fitted_on.observations,
                settings,
                seed=seed,
                find_async=find_async,
                on_trial=lambda done, of: progress(done / of),
            )
        judged = _judge(made, held_out.observations, seed)
        if out is not None:
            save_profile(made.profile, out)
    _print(made, judged, found, out, output, quiet)


def _settings(given: Sequence[str]) -> EngineSettings:
    import msgspec

    from fairlead.simulator.engine import EngineSettings

    known = {f.name for f in fields(EngineSettings)}
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if name not in known or not equals:
            raise Failed(f"--engine {text}: give NAME=VALUE with one of {', '.join(sorted(known))}")
        values[name] = value
    try:
        return msgspec.convert(values, EngineSettings, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise Failed(f"--engine: {error}") from error


def _ask(
    url: str, model: str, runtime: str, plan: ProbePlan, settings: EngineSettings, shown: bool
) -> tuple[EngineSettings, Report]:
    from fairlead.simulator.calibration import Probe, Report, settings_of_server

    async def work(progress: Callable[[float], None]) -> tuple[EngineSettings, Report]:
        known = await settings_of_server(url, runtime, settings)
        observations, unusable = await Probe(url, model, plan, on_progress=progress).run()
        return known, Report(tuple(observations), unusable)

    with _progress(f"asking {url}", shown) as progress:
        return asyncio.run(work(progress))


def _judge(made: Fit, held_out: Sequence[Observation], seed: int) -> list[Comparison]:
    from fairlead.simulator.calibration import compare, predict

    return compare(held_out, predict(made.profile, held_out, seed=seed + 1)) if held_out else []


def _print(made: Fit, judged: Sequence[Comparison], found: Report, out: Path | None, output: str, quiet: bool) -> None:
    if output == "json":
        import msgspec

        content = {
            "profile": asdict(made.profile),
            "requests": len(found.observations),
            "unusable": found.unusable,
            "fitted": [_row(c) for c in made.comparisons],
            "held_out": [_row(c) for c in judged],
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())
        return
    if quiet:
        return
    console.print(
        f"{len(found.observations)} requests ({found.unusable} unusable); fitted on {made.gaps} gaps between tokens "
        f"and {made.idle_requests} first tokens on an idle engine",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "observed", "predicted", "error"):
        table.add_column(heading, justify="right" if heading else "left")
    for title, rows in (("fitted", made.comparisons), ("held out", judged)):
        for c in rows:
            table.add_row(
                f"{title}: {c.metric.upper()} p{c.quantile * 100:.0f}",
                f"{c.observed_s * 1e3:.1f} ms",
                f"{c.predicted_s * 1e3:.1f} ms",
                f"{c.error:+.1%}",
            )
    console.print(table)
    if out is not None:
        console.print(f"profile written to {out}: fairlead simulate run --profile {out} …", markup=False)


def _row(c: Comparison) -> dict[str, Any]:
    return {**asdict(c), "error": c.error}


@contextmanager
def _failures() -> Iterator[None]:
    """Errors of the calibration as errors of a command."""
    from fairlead.simulator.calibration import ProbeError, ReportError
    from fairlead.simulator.engine import RequestTooLong

    try:
        yield
    except RequestTooLong as error:
        raise Failed(f"{error}; give the engine's real limits with --engine") from error
    except (ProbeError, ReportError) as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"{error.filename or 'the output'}: {error.strerror or error}") from error


@contextmanager
def _progress(title: str, shown: bool) -> Iterator[Callable[[float], None]]:
    stderr = Console(stderr=True)
    with Progress(console=stderr, transient=True, disable=not shown or not stderr.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
