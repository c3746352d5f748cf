"""`fairlead simulate`: what a fleet would do under a load, without the fleet."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fairlead.cli import calibrate
from fairlead.cli.data import OutputOption, QuietOption
from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from fairlead.simulator.fleet import Scenario, Summary

# The simulator brings numpy and pyarrow: it is imported by the commands that need it, not by every start of the CLI.
simulate_app = typer.Typer(help="Simulate a fleet of engines under a load.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)

TraceOption = Annotated[Path | None, typer.Option("--trace", help="Trace file; see `convert` for the formats.")]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="azure, burstgpt, otel, bailian, mooncake or fairlead. [by content]")
]
BlockOption = Annotated[int | None, typer.Option("--block-tokens", help="Tokens per hash id. [default: the format's]")]
SkipOption = Annotated[bool | None, typer.Option("--skip-broken", help="Leave broken lines out and count them.")]
SortOption = Annotated[bool | None, typer.Option("--sort", help="Sort the trace by time (in memory).")]
StartOption = Annotated[float | None, typer.Option("--start", help="Begin so many seconds into the trace.")]
DurationOption = Annotated[float | None, typer.Option("--duration", help="Seconds of the trace to take.")]
SpeedOption = Annotated[float | None, typer.Option("--speed", help="Replay so many times as fast.")]
RateOption = Annotated[float | None, typer.Option("--rate", help="Poisson arrivals at so many requests/s instead.")]
LimitOption = Annotated[int | None, typer.Option("--limit", help="At most so many requests.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]


def register(app: typer.Typer) -> None:
    calibrate.register(simulate_app)
    app.add_typer(simulate_app, name="simulate")


@simulate_app.command()
def run(
    scenario: Annotated[Path | None, typer.Argument(help="Scenario file (YAML); options change it.")] = None,
    trace: TraceOption = None,
    format_name: FormatOption = None,
    block_tokens: BlockOption = None,
    skip_broken: SkipOption = None,
    sort: SortOption = None,
    start_s: StartOption = None,
    duration_s: DurationOption = None,
    speed: SpeedOption = None,
    rate_per_s: RateOption = None,
    limit: LimitOption = None,
    replicas: Annotated[int | None, typer.Option(help="How many engines.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="Their accelerator. [default: H100-SXM]")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "--model-config", help="A known model, or a config.json. [default: llama-3.1-8b]"),
    ] = None,
    tensor_parallel: Annotated[int | None, typer.Option(help="Accelerators per replica.")] = None,
    profile: Annotated[Path | None, typer.Option(help="Engine profile (calibrated) instead of a roofline.")] = None,
    usd_per_h: Annotated[float | None, typer.Option(help="Price of an accelerator hour.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="random, round-robin, least-loaded, llm-d, fairlead (the gateway's own), or the path of an "
            "EndpointPickerConfig. [default: least-loaded]"
        ),
    ] = None,
    slo_ttft_ms: Annotated[float | None, typer.Option(help="Objective: time to first token.")] = None,
    slo_itl_ms: Annotated[float | None, typer.Option(help="Objective: mean gap between tokens of a request.")] = None,
    slo_e2e_ms: Annotated[float | None, typer.Option(help="Objective: time to the last token.")] = None,
    name: Annotated[str | None, typer.Option(help="Title of the study.")] = None,
    seed: SeedOption = None,
    compare: Annotated[
        str | None,
        typer.Option(metavar="OPTION=A,B,…", help="Run once for each value, e.g. policy=random,least-loaded."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for summary, scenario, records and report.")] = None,
    records: Annotated[str, typer.Option(help="Records of requests: parquet, jsonl or none.")] = "parquet",
    html: Annotated[bool, typer.Option("--html", help="Write report.html to the folder too.")] = False,
    output: OutputOption = "text",
    quiet: QuietOption = False,
) -> None:
    """Simulate a scenario, or a trace on some replicas, and say how it went."""
    options = {
        "trace": trace and str(trace), "format": format_name, "block-tokens": block_tokens,
        "skip-broken": skip_broken, "sort": sort, "start": start_s, "duration": duration_s, "speed": speed,
        "rate": rate_per_s, "limit": limit, "replicas": replicas, "accelerator": accelerator, "model": model,
        "tensor-parallel": tensor_parallel, "profile": profile and str(profile), "usd-per-h": usd_per_h,
        "policy": policy, "slo-ttft-ms": slo_ttft_ms, "slo-itl-ms": slo_itl_ms, "slo-e2e-ms": slo_e2e_ms,
        "name": name, "seed": seed,
    }  # fmt: skip
    _check_outputs(out, records, html)
    with _failures():
        variants = _variants(scenario, options, compare)
        shown = not quiet and output == "text"
        summaries = [
            _simulate(variant, given, _folder(out, variant), records, shown) for variant, given in variants.items()
        ]
        if out is not None:
            _write(out, variants, summaries, html)
        _print(summaries, out, html, output, quiet)


@simulate_app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A trace in any format, or a scenario (.yaml) with a workload.")],
    target: Annotated[Path, typer.Argument(help="File to write, one JSON object per line.")],
    format_name: FormatOption = None,
    block_tokens: BlockOption = None,
    skip_broken: SkipOption = None,
    sort: SortOption = None,
    start_s: StartOption = None,
    duration_s: DurationOption = None,
    speed: SpeedOption = None,
    rate_per_s: RateOption = None,
    limit: LimitOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a trace in Fairlead's own format.

    Formats: azure (Azure LLM inference traces, CSV), burstgpt (CSV), mooncake and
    bailian (JSONL), otel (spans, JSON or JSONL), fairlead (JSONL).
    """
    from fairlead.simulator.fleet import read_scenario, scenario_with, workload
    from fairlead.workload import write_trace

    is_scenario = source.suffix in (".yaml", ".yml")
    options = {
        "trace": None if is_scenario else str(source), "format": format_name, "block-tokens": block_tokens,
        "skip-broken": skip_broken, "sort": sort, "start": start_s, "duration": duration_s, "speed": speed,
        "rate": rate_per_s, "limit": limit, "seed": seed,
    }  # fmt: skip
    with _failures():
        if target.exists() and source.exists() and target.samefile(source):
            raise Failed(f"{target} is the source itself; write to another file")
        trace, requests = workload(scenario_with(read_scenario(source) if is_scenario else {}, options, str(source)))
        with _whole_file(target) as path:
            count = write_trace(path, requests)
    if not quiet:
        console.print(f"{count} requests written to {target}", markup=False)
        if trace is not None and trace.counts.unanswered:
            console.print(f"left out: {trace.counts.unanswered} requests that were never answered", markup=False)
        if trace is not None and trace.counts.broken:
            console.print(f"left out: {trace.counts.broken} broken lines, {trace.counts.first_broken}", markup=False)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Errors of the simulator as errors of a command."""
    from fairlead.simulator.fleet import ScenarioError
    from fairlead.workload import TraceError

    try:
        yield
    except OSError as error:
        raise Failed(f"{error.filename or 'the output'}: {error.strerror or error}") from error
    except (ScenarioError, TraceError, ValueError) as error:
        raise Failed(str(error)) from error


def _check_outputs(out: Path | None, records: str, html: bool) -> None:
    if records not in ("parquet", "jsonl", "none"):
        raise Failed(f"--records is {records!r}: take parquet, jsonl or none")
    if html and out is None:
        raise Failed("--html needs a folder to write to: give --out DIR")


def _variants(path: Path | None, options: Mapping[str, Any], compare: str | None) -> dict[str, Scenario]:
    """Name of a variant -> its scenario; one without a name where nothing is compared."""
    from fairlead.simulator.fleet import read_scenario, scenario_with

    content = {} if path is None else read_scenario(path)
    origin = "the options" if path is None else str(path)
    if compare is None:
        return {"": scenario_with(content, options, origin)}
    option, values = _compared(compare)
    return {
        f"{option}={value}": scenario_with(content, {**options, option: value}, f"--compare {option}={value}")
        for value in values
    }


def _compared(compare: str) -> tuple[str, list[Any]]:
    """Option and values of `--compare`."""
    from fairlead.simulator.fleet import OPTIONS

    option, _, listed = compare.partition("=")
    option, values = option.strip().replace("_", "-"), [value.strip() for value in listed.split(",") if value.strip()]
    if option not in OPTIONS or option in ("name", "sort", "skip-broken", "format", "block-tokens"):
        raise Failed(
            f"--compare {compare}: {option!r} cannot be compared; take policy, replicas, accelerator, model, …"
        )
    if len(values) < 2 or len(set(values)) < len(values):
        raise Failed(f"--compare {compare}: give two or more different values, such as {option}=A,B")
    return option, [_number(value) for value in values]


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _folder(out: Path | None, variant: str) -> Path | None:
    """Where the files of a variant go; made if need be."""
    if out is None:
        return None
    folder = out / variant.replace("/", "_") if variant else out
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _simulate(variant: str, scenario: Scenario, folder: Path | None, records: str, shown: bool) -> Summary:
    from fairlead.simulator.fleet import run_study, sink_for

    with contextlib.ExitStack() as stack:
        sink = None
        if folder is not None and records != "none":
            sink = sink_for(stack.enter_context(_whole_file(folder / f"requests.{records}")))
        progress = stack.enter_context(_progress(variant or scenario.name, scenario)) if shown else None
        return run_study(scenario, records=sink, progress=progress, variant=variant)


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A name to write under; the file gets its own name when it is complete, and none if it never is."""
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        if partial.exists():
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(title: str, scenario: Scenario) -> Iterator[Callable[[float, int, int], None]]:
    """A bar on stderr that is gone when the work is done; nothing where stderr is no terminal."""
    total = scenario.synthetic.requests if scenario.synthetic else scenario.trace.limit if scenario.trace else None
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[at]}"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal
    ) as bar:
        task = bar.add_task(title, total=total, at="")

        def advance(now_s: float, arrived: int, ended: int) -> None:
            bar.update(task, completed=ended, at=f"{ended:,} requests, {now_s:,.0f} s simulated")

        yield advance


def _write(out: Path, variants: Mapping[str, Scenario], summaries: Sequence[Summary], html: bool) -> None:
    """Everything but the records, which are there already."""
    import msgspec

    from fairlead.simulator.fleet import with_defaults, write_summary

    for (variant, scenario), summary in zip(variants.items(), summaries, strict=True):
        folder = _folder(out, variant)
        assert folder is not None
        write_summary(summary, folder / "summary.json")
        (folder / "scenario.yaml").write_bytes(msgspec.yaml.encode(with_defaults(scenario)))
    if html:
        from fairlead.simulator.report import report_page

        (out / "report.html").write_text(report_page(summaries, next(iter(variants.values()))), encoding="utf-8")


def _print(summaries: Sequence[Summary], out: Path | None, html: bool, output: str, quiet: bool) -> None:
    import msgspec

    if output == "json":
        content = msgspec.json.encode(summaries[0] if len(summaries) == 1 else summaries)
        typer.echo(msgspec.json.format(content, indent=2).decode())
        return
    if quiet:
        return
    if len(summaries) == 1:
        _print_one(summaries[0])
    else:
        _print_compared(summaries)
    for note in dict.fromkeys(itertools.chain.from_iterable(summary.notes for summary in summaries)):
        console.print(f"note: {note}", markup=False)
    if out is not None:
        console.print(f"written to {out / 'report.html' if html else out}", markup=False)


def _print_one(summary: Summary) -> None:
    from fairlead.simulator.report.tables import number, percent, seconds

    console.print(f"{summary.workload}: {number(summary.arrived)} requests, policy {summary.policy}", markup=False)
    for pool in summary.pools:
        work = pool.work
        counted = "1 replica" if pool.replicas == 1 else f"{pool.replicas} replicas"
        console.print(
            f"  {pool.name}: {counted} of {pool.description}; busy {percent(work.utilisation)}, "
            f"mean batch {number(work.mean_batch)}, prefix hits {percent(work.prefix_hit_rate)}",
            markup=False,
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "mean", "p50", "p90", "p95", "p99", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    for title, of in (
        ("time to first token", summary.ttft_s),
        ("inter-token latency", summary.itl_s),
        ("time per output token", summary.tpot_s),
        ("end to end", summary.e2e_s),
        ("queue", summary.queue_s),
    ):
        table.add_row(title, *(seconds(value) for value in (of.mean, of.p50, of.p90, of.p95, of.p99, of.max)))
    console.print(table)
    lost = "".join(f", {count} {reason}" for reason, count in summary.reasons.items())
    console.print(f"finished {number(summary.finished)}{lost}; preemptions {number(summary.preemptions)}", markup=False)
    kept = ", ".join(
        f"{o.name} {'by request' if o.limit_s is None else seconds(o.limit_s)}: {percent(o.attainment)}"
        for o in summary.objectives
    )
    if kept:
        console.print(f"objectives kept: {percent(summary.attainment)} ({kept})", markup=False)
    console.print(
        f"goodput {number(summary.goodput_requests_per_s)} requests/s, output {number(summary.output_tokens_per_s)} "
        f"tokens/s, {number(summary.paid_gpu_h)} GPU hours"
        + ("" if summary.cost_usd is None else f", ${number(summary.cost_usd)}"),
        markup=False,
    )


def _print_compared(summaries: Sequence[Summary]) -> None:
    from fairlead.simulator.report.tables import COMPARED, compared

    first = summaries[0]
    console.print(f"{first.workload}: {first.arrived:,} requests", markup=False)
    # One column per study: there are few studies and many figures.
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for summary in summaries:
        table.add_column(escape(summary.variant), justify="right")
    for heading, *cells in zip(COMPARED, *(compared(summary) for summary in summaries), strict=True):
        table.add_row(heading, *cells)
    console.print(table)
