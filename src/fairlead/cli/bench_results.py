"""`fairlead bench list, show, compare, report`: the runs that are kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fairlead.cli.bench_options import pairs
from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from rich.console import Console

    from fairlead.bench.results.compare import Comparison
    from fairlead.bench.results.store import Kept

REGRESSED, INCOMPARABLE = 5, 4
COMPARE_BLOCKS = 20

Results = Annotated[
    Path | None, typer.Option(help="Where runs are kept. [$XDG_DATA_HOME or ~/.local/share, fairlead/bench]")
]
Which = Annotated[str, typer.Argument(metavar="RUN", help="An id or its beginning, a name, `last`, a folder, a file.")]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the output.")]


def register(app: typer.Typer) -> None:
    app.command("list")(list_runs)
    app.command()(show)
    app.command(epilog=COMPARE_EXAMPLES)(compare)
    app.command()(report)


def list_runs(
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only of this model.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="Only with KEY=VALUE, repeated.")] = None,
    name: Annotated[str | None, typer.Option(help="Only with this in the name, or this beginning of the id.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, newest first.")] = 20,
    results: Results = None,
    output: Output = "text",
) -> None:
    """The runs that are kept, newest first."""
    import itertools

    from fairlead.bench.results.store import default_store, kept_runs, matching

    store = (results or default_store()).expanduser()
    wanted = pairs(label or [], "--label")
    found = list(itertools.islice((k for k in kept_runs(store) if matching(k, model, wanted, name)), limit))
    if output == "json":
        _print_json([_row(kept) for kept in found])
        return
    if not found:
        typer.echo(f"no such runs in {store}", err=True)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "name", "model", "stages", "requests", "TTFT p50", "state", "labels"):
        table.add_column(
            title,
            no_wrap=title not in ("name", "model", "labels"),
            justify="right" if title in ("stages", "requests") else "left",
        )
    for kept in found:
        row = _row(kept)
        colour = "" if row["state"] == "complete" else "red"
        table.add_row(
            Text(kept.run.id), Text(kept.run.name), Text(", ".join(_strings(row["models"]))), str(row["stages"]),
            str(row["requests"]), str(row["ttft_p50"]), Text(str(row["state"]), style=colour),
            Text(", ".join(_strings(row["labels"]))),
        )  # fmt: skip
    _console().print(table)


def show(run: Which = "last", results: Results = None, output: Output = "text") -> None:
    """All figures of a run."""
    kept = _find([run], results)[0]
    if output == "json":
        _print_json(kept.run)
        return
    from fairlead.bench.report.terminal import show as show_run

    show_run(kept.run, _console())
    typer.echo(f"kept in {kept.path}")


COMPARE_EXAMPLES = """Examples:

\b
  fairlead bench compare last 20261128
  fairlead bench compare main.yaml branch/ --fail-on 5%

Exit status: 0 no regression, 4 not comparable, 5 a regression.
"""


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN…", help="The first is what others are compared with.")],
    fail_on: Annotated[str, typer.Option(help="What is worse by more than this, and not by chance, fails.")] = "5%",
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare what should not be, and say so.")] = False,
    results: Results = None,
    output: Output = "text",
) -> None:
    """What changed between runs, and whether by more than chance."""
    if len(runs) < 2:
        raise Failed(f"one run, {runs[0]}, is compared with nothing: give two or more")
    threshold = _threshold(fail_on)
    from fairlead.bench.report.files import record_grids
    from fairlead.bench.results.compare import Side
    from fairlead.bench.results.compare import compare as compared

    try:
        sides = [Side(kept.run, record_grids(kept, COMPARE_BLOCKS)) for kept in _find(runs, results)]
    except (OSError, ValueError) as error:
        raise Failed(f"records cannot be read: {error}") from error
    found = [compared(sides[0], side, threshold, anyway) for side in sides[1:]]
    if output == "json":
        _print_json(found)
    else:
        for comparison in found:
            _print_comparison(comparison, threshold)
    if any(comparison.regressions for comparison in found):
        raise typer.Exit(REGRESSED)
    if any(comparison.refusals for comparison in found):
        raise typer.Exit(INCOMPARABLE)


def report(
    run: Which = "last",
    form: Annotated[Literal["html", "v0.2", "json"], typer.Option("--form", "-f", help="Of the report.")] = "html",
    to: Annotated[str | None, typer.Option(help="Folder, or s3://… and the like. [the run's own]")] = None,
    results: Results = None,
) -> None:
    """Write a report of a run: a page of HTML, llm-d's Benchmark Report v0.2, or JSON."""
    import tempfile

    from fairlead.bench.report.files import write_report
    from fairlead.bench.results.upload import CannotUpload, upload

    kept = _find([run], results)[0]
    own = kept.path if kept.path.is_dir() else kept.path.parent
    try:
        if to is not None and "://" in to:
            with tempfile.TemporaryDirectory() as made:
                written = [str(url) for url in upload(write_report(kept, form, Path(made)), to)]
        else:
            written = [str(path) for path in write_report(kept, form, Path(to) if to is not None else own)]
    except (CannotUpload, ValueError) as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"{error.filename or to or own}: {error.strerror or error}") from error
    for path in written:
        typer.echo(path)


def _find(runs: Sequence[str], results: Path | None) -> list[Kept]:
    from fairlead.bench.results.store import NotFound, default_store, find

    store = (results or default_store()).expanduser()
    try:
        return [find(run, store) for run in runs]
    except (NotFound, ValueError) as error:
        raise Failed(str(error.args[0])) from error
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror or error}") from error


def _row(kept: Kept) -> dict[str, object]:
    from fairlead.bench.report.words import at
    from fairlead.bench.results.store import models

    run = kept.run
    labels = run.config.get("labels")
    state = run.ended if run.ended != "complete" else "complete" if run.valid else "INVALID"
    return {
        "id": run.id,
        "name": run.name,
        "models": models(run),
        "stages": len(run.stages),
        "requests": sum(stage.metrics.requests for stage in run.stages),
        "ttft_p50": at(run.stages[-1].metrics.ttft, 50.0) if run.stages else "–",
        "state": state,
        "labels": [f"{key}={value}" for key, value in labels.items()] if isinstance(labels, dict) else [],
        "path": str(kept.path),
    }


def _strings(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list | tuple) else []


def _threshold(text: str) -> float:
    """5% or 0.05."""
    try:
        value = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise Failed(f"--fail-on is {text!r}: give per cent, 5%, or a share, 0.05") from None
    if not 0 <= value < 10:
        raise Failed(f"--fail-on is {text!r}, which is {value:g} as a share: give 5% or 0.05")
    return value


def _print_comparison(found: Comparison, threshold: float) -> None:
    from fairlead.bench.report.comparison import show_comparison

    show_comparison(found, threshold, _console())


def _console() -> Console:
    """A pipe or a log has no width: as wide as the tables are."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
