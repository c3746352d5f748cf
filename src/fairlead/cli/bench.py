"""`fairlead bench`: load on a server, measured by a client that says when it cannot keep up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from fairlead.cli import bench_results
from fairlead.cli.bench_check import check
from fairlead.cli.bench_cluster import attach
from fairlead.cli.bench_options import closed_load, lengths, merged, numbers, open_load, pairs, scaling, server_pages
from fairlead.cli.failure import Failed
from fairlead.cli.quick_arguments import quickly

if TYPE_CHECKING:
    from fairlead.bench.config import Benchmark

EXAMPLES = """Examples:

\b
  fairlead bench http://127.0.0.1:8000 --model m --rate 10 --seconds 30
  fairlead bench http://127.0.0.1:8000 --model m --rate 1,2,4,8 --prompt-tokens 512 --output-tokens 32-128
  fairlead bench http://127.0.0.1:8000 --model m --users 16 --preset chat --tokenizer ./model
  fairlead bench search http://127.0.0.1:8000 --model m --ttft-ms 300 --itl-ms 50
  fairlead bench chat.yaml --set load.stages.0.rate_per_s=20
  fairlead bench chat.yaml --dry-run
  fairlead bench chat.yaml --in-cluster --workers 4

Exit status: 0 good, 1 the run failed or was asked for wrongly, 3 the objective was not kept,
4 invalid (the client, not the server, was measured), 130 and 143 interrupted.
"""

bench_app = typer.Typer(
    help="Load on a model server, measured by a client that says when it cannot keep up.\n\n" + EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def register(app: typer.Typer) -> None:
    app.add_typer(bench_app, name="bench")


def arguments_of(argv: list[str]) -> list[str]:
    """`fairlead bench URL …` is `fairlead bench run URL …`."""
    commands = {c.name or getattr(c.callback, "__name__", "") for c in bench_app.registered_commands}
    first = next((a for a in argv if not a.startswith("-")), None)
    if first is None or first in commands or argv[0] in ("-h", "--help"):
        return argv
    return ["run", *argv]


def main(argv: list[str]) -> int:
    """The group alone: what the other commands import is start-up time saved."""
    arguments = arguments_of(argv)
    try:
        if arguments[:1] in (["run"], ["search"]) and (given := quickly(run, arguments[1:])) is not None:
            run(typer.Context(TyperCommand(arguments[0]), info_name=arguments[0]), **given)
            return 0
        bench_app(args=arguments, prog_name="fairlead bench")
    except typer.Exit as ended:
        return ended.exit_code
    except SystemExit as ended:
        return int(ended.code or 0)
    except Failed as error:
        print(f"fairlead: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@bench_app.command(epilog=EXAMPLES)
def run(
    context: typer.Context,
    source: Annotated[str | None, typer.Argument(metavar="URL|FILE", help="A server, or a YAML file.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="As the server names it.")] = None,
    api: Annotated[str | None, typer.Option(help="chat, completions, responses, embeddings, messages … [chat]")] = None,
    rate: Annotated[str | None, typer.Option("--rate", "-r", help="Requests/s; several make stages: 1,2,4.")] = None,
    users: Annotated[str | None, typer.Option("--users", "-u", help="Concurrent users instead; 1,8,64.")] = None,
    search: Annotated[
        Literal["rate", "users"] | None, typer.Option(help="Look for the highest load that keeps the objective.")
    ] = None,
    low: Annotated[float | None, typer.Option(help="Where a search begins. [1]")] = None,
    high: Annotated[float | None, typer.Option(help="Where a search ends at the latest.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", "-s", help="Of each stage. [30]")] = None,
    requests: Annotated[int | None, typer.Option("--requests", "-n", help="Of each stage, instead of seconds.")] = None,
    process: Annotated[str | None, typer.Option(help="constant, poisson or gamma arrivals. [poisson]")] = None,
    prompt_tokens: Annotated[str | None, typer.Option(help="64, 32-128 (evenly) or ~512 (log-normal).")] = None,
    output_tokens: Annotated[str | None, typer.Option(help="The same, of answers.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Replay a trace, at its own times unless there is a rate.")] = None,
    speed: Annotated[float | None, typer.Option(help="Replay so many times as fast.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts of a file: JSONL, CSV, Parquet, ShareGPT.")] = None,
    preset: Annotated[str | None, typer.Option(help="A kind of load to begin with; `fairlead bench presets`.")] = None,
    scale_time: Annotated[float | None, typer.Option(help="Of all stages: 0.05 makes a minute of 20.")] = None,
    scale_rate: Annotated[float | None, typer.Option(help="Of all rates and users: 10 is ten times the load.")] = None,
    watch: Annotated[
        list[str] | None, typer.Option("--watch", help="What is scaled meanwhile: Kind/namespace/name, repeated.")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Folder or tokenizer.json; without: an estimate.")] = None,
    ttft_ms: Annotated[float | None, typer.Option(help="Objective: first token, from when it was due.")] = None,
    itl_ms: Annotated[float | None, typer.Option(help="Objective: gap between tokens.")] = None,
    tpot_ms: Annotated[float | None, typer.Option(help="Objective: time per output token after the first.")] = None,
    e2e_ms: Annotated[float | None, typer.Option(help="Objective: whole answer.")] = None,
    attainment: Annotated[float | None, typer.Option(help="Share of requests that must keep it. [0.95]")] = None,
    key_env: Annotated[str | None, typer.Option(help="Variable that holds the API key.")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'Name: value', repeated.")] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Whole answers.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not check the certificate.")] = False,
    server: Annotated[
        str | None, typer.Option(help="Read engines' metrics during the run: HOST:PORT,… or auto: the targets' own.")
    ] = None,
    gateway_metrics: Annotated[str | None, typer.Option(help="Read the gateway's metrics page too.")] = None,
    pool: Annotated[str | None, typer.Option(help="Read the engines of this InferencePool: NAMESPACE/NAME.")] = None,
    power: Annotated[str | None, typer.Option(help="Pages of power exporters (DCGM …), with commas.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="Its name, for list prices: H100, MI300X …")] = None,
    accelerators: Annotated[float | None, typer.Option(help="How many, of all engines together.")] = None,
    price_per_hour: Annotated[float | None, typer.Option(help="Of one accelerator.")] = None,
    warm_up: Annotated[float | None, typer.Option(help="Seconds of each stage to leave out.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that send. [as many as it takes]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all that is drawn. [0]")] = None,
    name: Annotated[str | None, typer.Option(help="Title of the run.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="KEY=VALUE, repeated.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Any field, e.g. targets.0.timeout_s=30.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Where runs are kept. [$XDG_DATA_HOME or ~/.local/share, fairlead/bench]")
    ] = None,
    in_cluster: Annotated[
        bool, typer.Option("--in-cluster", help="Let pods of a cluster send; see Benchmark.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="In the cluster: of the benchmark.")] = "default",
    image: Annotated[str, typer.Option(help="In the cluster: with the command fairlead. [the controller's]")] = "",
    template: Annotated[Path | None, typer.Option(help="In the cluster: YAML to lay over the pods.")] = None,
    upload: Annotated[str, typer.Option(help="In the cluster: where the run's folder goes, s3://…, gs://….")] = "",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="In the cluster: return when it is made.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(help="In the cluster: which one. [as `fairlead get`]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the YAML and send nothing.")] = False,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the output.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Send a load, time every answer, and say how it went."""
    wanted = search or ("rate" if context.info_name == "search" else None)
    document = _document(source, preset)
    over: dict[str, Any] = {}
    target = _target(source, model, api, key_env, header or [], no_stream, insecure, tokenizer)
    load = _load(wanted, rate, users, low, high, seconds, requests, process, trace, speed)
    content = _content(prompt_tokens, output_tokens, trace, prompts)
    objective = {"ttft_ms": ttft_ms, "itl_ms": itl_ms, "tpot_ms": tpot_ms, "e2e_ms": e2e_ms, "attainment": attainment}
    _put(over, "load", load)
    _put(over, "content", content)
    _put(over, "objective", {k: v for k, v in objective.items() if v is not None})
    _put(over, "cut", {"warm_up_s": warm_up} if warm_up is not None else {})
    for field, value in {"workers": workers, "seed": seed, "name": name}.items():
        if value is not None:
            over[field] = value
    # What scales is counted by itself: its price needs no other count.
    scaled = price_per_hour if watch and not (server or pool or power or accelerators) else None
    price = price_per_hour if scaled is None else None
    _put(over, "server", server_pages(server, gateway_metrics, pool, power, accelerator, accelerators, price))
    _put(over, "labels", pairs(label or [], "--label"))
    _put(over, "scaling", scaling(watch or [], scaled))
    document = merged(document, over)
    if scale_time is not None or scale_rate is not None:
        document = _stretched(document, scale_time, scale_rate)
    if target:
        document["targets"] = [merged(t, target) for t in document.get("targets") or [{}]]
    config = _config(document, assign or [], here=not in_cluster)
    if dry_run:
        _print_yaml(config)
        return
    form = "json" if as_json else output
    if in_cluster:
        from fairlead.cli import bench_cluster

        asked = bench_cluster.Asked(namespace, workers, image, template, upload, kubeconfig, detach)
        raise typer.Exit(bench_cluster.carry_out(config, asked, results, form, quiet))
    if image or template or upload or detach or kubeconfig:
        raise Failed("--image, --template, --upload, --detach and --kubeconfig are for pods: add --in-cluster")
    from fairlead.cli.bench_run import carry_out

    raise typer.Exit(carry_out(config, results, form, quiet))


bench_app.command("search", epilog=EXAMPLES, help="Look for the highest load that keeps the objective.")(run)
bench_app.command("check")(check)
bench_app.command("attach")(attach)
bench_results.register(bench_app)


@bench_app.command()
def presets() -> None:
    """The kinds of load that `--preset` knows; `--preset NAME --dry-run` prints one."""
    from fairlead.bench.presets import PRESETS

    for name, preset in PRESETS.items():
        typer.echo(f"{name:10} {preset.says}")


def _put(into: dict[str, Any], field: str, value: dict[str, Any]) -> None:
    if value:
        into[field] = value


def _stretched(document: dict[str, Any], time: float | None, size: float | None) -> dict[str, Any]:
    from fairlead.bench.config.stretching import stretched

    try:
        return stretched(document, 1.0 if time is None else time, 1.0 if size is None else size)
    except ValueError as error:
        raise Failed(str(error)) from error


def _document(source: str | None, preset: str | None) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if preset is not None:
        document = _preset(preset)
    if source is not None and "://" not in source:
        document = merged(document, _read_yaml(Path(source)))
    return document


def _preset(name: str) -> dict[str, Any]:
    from fairlead.bench.presets import preset

    try:
        return preset(name)
    except ValueError as error:
        raise Failed(str(error)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise Failed(f"{path} is not there; give a YAML file, or a server's address with http:// in front") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Failed(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise Failed(f"{path} holds {type(document).__name__}, not a benchmark: see `fairlead bench --dry-run`")
    return document


def _target(
    source: str | None, model: str | None, api: str | None, key_env: str | None, headers: list[str], no_stream: bool,
    insecure: bool, tokenizer: str | None,
) -> dict[str, Any]:  # fmt: skip
    given: dict[str, Any] = {"model": model, "api": api, "key_env": key_env}
    if source is not None and "://" in source:
        given["url"] = source
    target = {field: value for field, value in given.items() if value is not None}
    _put(target, "headers", pairs(headers, "--header", ":"))
    _put(target, "tls", {"insecure": True} if insecure else {})
    _put(target, "tokenizer", {"source": tokenizer} if tokenizer is not None else {})
    return target | ({"stream": False} if no_stream else {})


def _load(
    search: str | None, rate: str | None, users: str | None, low: float | None, high: float | None,
    seconds: float | None, requests: int | None, process: str | None, trace: Path | None, speed: float | None,
) -> dict[str, Any]:  # fmt: skip
    if rate is not None and users is not None:
        raise Failed("--rate and --users are two kinds of load: give one of them")
    if search is not None:
        if rate is not None or users is not None:
            raise Failed("a search finds the load itself: give --low and --high instead of --rate and --users")
        given = {"of": search, "low": low, "high": high, "step_s": seconds, "process": process}
        return {"kind": "search", **{field: value for field, value in given.items() if value is not None}}
    if low is not None or high is not None:
        raise Failed("--low and --high belong to a search: add --search rate")
    if users is not None:
        return closed_load(numbers(users, "--users"), seconds, requests)
    if rate is not None:
        return open_load(numbers(rate, "--rate"), seconds, requests, process)
    if trace is not None:
        return {"kind": "trace", **({"speed": speed} if speed is not None else {})}
    if seconds is not None or requests is not None or process is not None:
        raise Failed("--seconds, --requests and --process need a load to belong to: give --rate or --users")
    return {}


def _content(
    prompt_tokens: str | None, output_tokens: str | None, trace: Path | None, prompts: Path | None
) -> dict[str, Any]:
    if trace is not None and prompts is not None:
        raise Failed("--trace and --prompts are two kinds of content: give one of them")
    if trace is not None:
        return {"kind": "trace", "path": str(trace)}
    content: dict[str, Any] = {"kind": "file", "path": str(prompts)} if prompts is not None else {}
    if prompt_tokens is not None:
        if prompts is not None:
            raise Failed("--prompt-tokens is for made text: the prompts of a file are as long as they are")
        content |= {"kind": "synthetic", "prompt_tokens": lengths(prompt_tokens, "--prompt-tokens")}
    if output_tokens is not None:
        content["output_tokens"] = lengths(output_tokens, "--output-tokens")
        content.setdefault("kind", "synthetic")
    return content


def _config(document: dict[str, Any], assignments: list[str], here: bool) -> Benchmark:
    from fairlead.bench.config.read import read_config

    if not document.get("targets"):
        raise Failed("nobody is asked: give a server's address, or a YAML file with `targets`")
    if not document.get("load"):
        raise Failed("there is no load: give --rate, --users, --search or --preset, or a YAML file with `load`")
    try:
        return read_config(document, assignments, files=here)
    except ValueError as error:
        raise Failed(str(error)) from error


def _print_yaml(config: Benchmark) -> None:
    import msgspec
    import yaml

    print(yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False, allow_unicode=True), end="")
