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

    from fairlead.bench.results.compare import Worse
    from fairlead.bench.results.store import Broken, Kept

REGRESSED, INCOMPARABLE = 5, 4

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
    app.command("rm")(remove)


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

    from fairlead.bench.results.store import Kept, entries, matching, store_of

    store = store_of(results)
    wanted = pairs(label or [], "--label")
    every = not (model or wanted or name)
    # What cannot be read has no name, model or label to look for.
    fitting = (e for e in entries(store) if (matching(e, model, wanted, name) if isinstance(e, Kept) else every))
    # Rows and not runs are kept: a thousand summaries take hundreds of megabytes.
    found = [_row(entry) for entry in itertools.islice(fitting, limit)]
    if output == "json":
        _print_json(found)
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
    for row in found:
        colour = {"complete": "", "unfinished": "yellow"}.get(str(row["state"]), "red")
        table.add_row(
            Text(str(row["id"])), Text(str(row["name"])), Text(", ".join(_strings(row["models"]))),
            _count(row["stages"]), _count(row["requests"]), str(row["ttft_p50"]), Text(str(row["state"]), style=colour),
            Text(", ".join(_strings(row["labels"]))),
        )  # fmt: skip
    _console().print(table)
    for row in found:
        if row["state"] == "damaged":
            typer.echo(f"{row['path']} cannot be read: {row['why']}", err=True)


def show(
    run: Which = "last",
    formulas: Annotated[bool, typer.Option("--formulas", help="Say what each figure is, below them all.")] = False,
    results: Results = None,
    output: Output = "text",
) -> None:
    """All figures of a run."""
    kept = _find([run], results)[0]
    if output == "json":
        _print_json(kept.run)
        return
    from fairlead.bench.report.terminal import show as show_run

    show_run(kept.run, _console(), formulas)
    typer.echo(f"kept in {kept.path}")


COMPARE_EXAMPLES = """Examples:

\b
  fairlead bench compare last 20261128
  fairlead bench compare main.yaml branch/ --worse 5% --worse ttft=10% --fail-on regression
  fairlead bench compare 20261127 20261128 last --html against.html

Exit status: 0 no regression, 4 not comparable, 5 a regression.
"""


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN…", help="The first is what others are compared with.")],
    worse: Annotated[
        list[str] | None,
        typer.Option(metavar="5%|FIGURE=10%", help="A regression is worse by more than this. Repeated. [5%]"),
    ] = None,
    fail_on: Annotated[
        Literal["regression", "nothing"], typer.Option(help="What ends it with another status than 0.")
    ] = "regression",
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare what should not be, and say so.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page of it, too.")] = None,
    results: Results = None,
    output: Output = "text",
) -> None:
    """What changed between runs, and whether by more than chance."""
    if len(runs) < 2:
        raise Failed(f"one run, {runs[0]}, is compared with nothing: give two or more")
    limits = _limits(worse or [])
    from fairlead.bench.report.files import record_grids
    from fairlead.bench.results.compare import COMPARE_BLOCKS, Side
    from fairlead.bench.results.compare import compare as compared

    try:
        sides = [Side(kept.run, record_grids(kept, COMPARE_BLOCKS)) for kept in _find(runs, results)]
    except (OSError, ValueError) as error:
        raise Failed(f"records cannot be read: {error}") from error
    found = [compared(sides[0], side, limits, anyway) for side in sides[1:]]
    if output == "json":
        _print_json(found)
    else:
        from fairlead.bench.report.comparison import show_comparison

        for comparison in found:
            show_comparison(comparison, _console())
    if html is not None:
        from fairlead.bench.report.comparison_page import comparison_page

        try:
            html.write_text(comparison_page(sides[0], list(zip(sides[1:], found, strict=True))), encoding="utf-8")
        except OSError as error:
            raise Failed(f"{html}: {error.strerror or error}") from error
    if fail_on == "nothing":
        return
    if any(comparison.regressions for comparison in found):
        raise typer.Exit(REGRESSED)
    if any(comparison.refusals for comparison in found):
        raise typer.Exit(INCOMPARABLE)


def report(
    run: Which = "last",
    form: Annotated[
        Literal["html", "v0.2", "v0.2.1", "json"], typer.Option("--form", "-f", help="Of the report.")
    ] = "html",
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


def remove(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Ids, or their beginnings, of kept runs.")],
    records: Annotated[bool, typer.Option("--records", help="Only the records: figures and reports stay.")] = False,
    results: Results = None,
) -> None:
    """Remove kept runs, or their records, which are most of what they take."""
    from fairlead.bench.results.store import NotFound, remove, store_of

    store = store_of(results)
    for run in runs:
        try:
            freed = remove(run, store, records)
        except NotFound as error:
            raise Failed(str(error.args[0])) from error
        except OSError as error:
            raise Failed(f"{error.filename}: {error.strerror or error}") from error
        typer.echo(f"{freed.path}{' (records)' if records else ''}: {freed.bytes / 1e6:.1f} MB")


def _find(runs: Sequence[str], results: Path | None) -> list[Kept]:
    from fairlead.bench.results.store import NotFound, find, store_of

    store = store_of(results)
    try:
        return [find(run, store) for run in runs]
    except (NotFound, ValueError) as error:
        raise Failed(str(error.args[0])) from error
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror or error}") from error


def _row(entry: Kept | Broken) -> dict[str, object]:
    from fairlead.bench.report.honesty import best_stage
    from fairlead.bench.report.words import at
    from fairlead.bench.results.store import Broken, models

    if isinstance(entry, Broken):
        return {
            "id": entry.path.name, "name": "", "models": (), "stages": None, "requests": None, "ttft_p50": "–",
            "state": "damaged", "why": entry.why, "labels": [], "path": str(entry.path),
        }  # fmt: skip
    run = entry.run
    labels = run.config.get("labels")
    state = run.ended if run.ended != "complete" else "complete" if run.valid else "INVALID"
    told = run.ended != "unfinished"
    best = best_stage(run)
    return {
        "id": run.id,
        "name": run.name,
        "models": models(run),
        "stages": len(run.stages) if told else None,
        "requests": sum(stage.metrics.requests for stage in run.stages) if told else None,
        "ttft_p50": at(best[0].metrics.ttft, 50.0) if best is not None else "–",
        "state": state,
        "why": run.why_ended,
        "labels": [f"{key}={value}" for key, value in labels.items()] if isinstance(labels, dict) else [],
        "path": str(entry.path),
    }


def _count(value: object) -> str:
    return "–" if value is None else f"{value:,}"


def _strings(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list | tuple) else []


def _limits(given: Sequence[str]) -> Worse:
    """5%, 0.05, and for figures by the beginning of their names ttft=10%."""
    from fairlead.bench.results.changes import LATENCIES, RATES
    from fairlead.bench.results.compare import Worse

    known = dict.fromkeys([*(metric for metric, _ in LATENCIES), *(name for name, *_ in RATES), "failed", "attainment"])
    overall, of = 0.05, {}
    for text in given:
        figure, equals, value = text.rpartition("=")
        if not equals:
            overall = _threshold(text)
        elif figure.partition(" ")[0] in known or any(name.startswith(figure) for name in known):
            of[figure] = _threshold(value)
        else:
            raise Failed(f"--worse is {text!r}, and there is no figure {figure!r}: {', '.join(known)}")
    return Worse(overall, of)


def _threshold(text: str) -> float:
    """5% or 0.05."""
    try:
        value = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise Failed(f"--worse is {text!r}: give per cent, 5%, or a share, 0.05") from None
    if not 0 <= value < 10:
        raise Failed(f"--worse is {text!r}, which is {value:g} as a share: give 5% or 0.05")
    return value


def _console() -> Console:
    """A pipe or a log has no width: as wide as the tables are."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
