"""`fairlead bench … --in-cluster`, `fairlead bench attach`: a benchmark that pods of a cluster carry out, as if it ran
here: progress, figures, a folder among the runs that are kept, and the same exit statuses.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from rich.console import Console

    from fairlead.bench.cluster.follow import Followed
    from fairlead.bench.config import Benchmark
    from fairlead.cli.bench_progress import Shown
    from fairlead.kube.client import Client

Json = dict[str, Any]
DETACHED = 0
KEPT_S = 86_400
"""How long a benchmark that was made here stays in the cluster after its end; its figures are kept here."""
_SECRET = re.compile(r"auth|key|token|cookie|secret|password", re.IGNORECASE)

Namespace = Annotated[str, typer.Option("--namespace", help="Namespace of the benchmark.")]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="The cluster. [default: the running platform's, else as kubectl]"),
]


class Asked(msgspec.Struct, frozen=True):
    """How it is to be carried out in the cluster. `upload`: folder that the run's folder is sent to, by fsspec."""

    namespace: str = "default"
    workers: int | None = None
    image: str = ""
    template: Path | None = None
    upload: str = ""
    kubeconfig: Path | None = None
    detach: bool = False


def carry_out(config: Benchmark, asked: Asked, results: Path | None, output: str, quiet: bool) -> int:
    """Make the benchmark and follow it. Returns the exit status. Raises Failed for what a person can put right."""
    obj = manifest(config, asked)
    console = _errors()

    async def go(client: Client) -> int:
        from fairlead.api.benchmark import BENCHMARKS
        from fairlead.kube.errors import NotFound

        try:
            made = await client.create(BENCHMARKS, obj, field_validation="Strict")
        except NotFound as error:
            raise Failed(f"{error}: `fairlead controllers` installs what a cluster needs for benchmarks") from error
        name = made["metadata"]["name"]
        if asked.detach:
            print(name if quiet else f"benchmark/{name} created; `fairlead bench attach {name}` follows it")
            return DETACHED
        if not quiet:
            console.print(f"benchmark/{name} created", markup=False)
        return await _followed(client, asked.namespace, name, results, output, quiet, is_ours=True)

    return _with_client(asked.kubeconfig, go)


def attach(
    name: Annotated[str, typer.Argument(help="Name of the Benchmark.")],
    namespace: Namespace = "default",
    kubeconfig: Kubeconfig = None,
    results: Annotated[Path | None, typer.Option(help="Where runs are kept.")] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the output.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Follow a benchmark in a cluster, or fetch the figures of one that has ended."""

    async def go(client: Client) -> int:
        return await _followed(client, namespace, name, results, "json" if as_json else output, quiet)

    raise typer.Exit(_with_client(kubeconfig, go))


def manifest(config: Benchmark, asked: Asked) -> Json:
    """The Benchmark that says the same. Raises Failed for a template that cannot be read, and for keys that pods would
    not have, or everybody would see."""
    _check_keys(config, asked)
    slug = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")[:30] or "run"
    spec: Json = {"config": msgspec.to_builtins(config)}
    workers = asked.workers or config.workers
    template = _template(asked.template) if asked.template is not None else None
    results = {"url": asked.upload} if asked.upload else None
    given = {"workers": workers, "image": asked.image, "template": template, "results": results}
    spec |= {"ttlSecondsAfterFinished": KEPT_S}
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Benchmark",
        "metadata": {"name": f"{slug}-{secrets.token_hex(3)}", "namespace": asked.namespace},
        "spec": spec | {field: value for field, value in given.items() if value},
    }


def _check_keys(config: Benchmark, asked: Asked) -> None:
    from urllib.parse import urlsplit

    remedy = (
        "keep it in a Secret, and give the pods a variable of it: --template, spec.containers of the name bench, env"
    )
    for number, target in enumerate(config.targets):
        field = f"targets[{number}]"
        if target.key_env is not None and asked.template is None:
            raise Failed(f"{field}.key_env is {target.key_env}, and the pods have no such variable: {remedy}")
        for name, value in target.headers.items():
            if _SECRET.search(name) and "${" not in value:
                say = f"write ${{NAME}} in its place, and {remedy}"
                raise Failed(f"{field}.headers.{name} would be read by all who may read the benchmark: {say}")
        if urlsplit(target.url).password:
            raise Failed(f"{field}.url has a password in it, which all would read who may read the benchmark: {remedy}")


def _template(path: Path) -> Json:
    import yaml

    try:
        read = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Failed(f"--template {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(read, dict) or not set(read) <= {"metadata", "spec"}:
        raise Failed(f"--template {path} is no overlay for pods: write an object with metadata and spec")
    return read


async def _followed(
    client: Client, namespace: str, name: str, results: Path | None, output: str, quiet: bool, is_ours: bool = False
) -> int:
    """`is_ours`: it was made for this, and goes again if it cannot be begun."""
    from fairlead.api.benchmark import BENCHMARKS
    from fairlead.bench.cluster.follow import is_refused
    from fairlead.cli.bench_progress import Shown

    heard: list[int] = []
    console = _errors()
    with Shown(console, live=not quiet and output == "text") as shown:
        ended = await _until_ended(client, namespace, name, shown, heard, not quiet and output == "text")
    if ended is None:
        print(f"fairlead: left; `fairlead bench attach {name} --namespace {namespace}` follows it", file=sys.stderr)
        return 128 + heard[-1]
    if is_ours and is_refused(ended.status):
        await client.delete(BENCHMARKS, name, namespace)
    return await _report(ended, name, results, output, quiet, heard)


async def _until_ended(
    client: Client, namespace: str, name: str, shown: Shown, heard: list[int], is_told: bool
) -> Followed | None:
    """Interrupted once, the run is asked to end, and reports; twice, it is left alone (None). `is_told`: what it waits
    for goes into a log too."""
    from fairlead.bench.cluster import lines
    from fairlead.bench.cluster.follow import ask_to_end, follow

    def hear(line: lines.Said | lines.Look) -> None:
        if isinstance(line, lines.Look):
            shown.show(line.progress)
        else:
            shown.say(line.text)
            if is_log:
                console.print(line.text, markup=False)

    console = _errors()
    is_log = is_told and not console.is_terminal
    following = asyncio.ensure_future(follow(client, namespace, name, hear))
    asking: list[asyncio.Task[None]] = []
    leaving = asyncio.Event()

    def interrupted(number: signal.Signals) -> None:
        heard.append(number)
        if len(heard) == 1:
            shown.say("asking it to end")
            asking.append(asyncio.ensure_future(ask_to_end(client, namespace, name)))
        else:
            leaving.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted, number)
    left = asyncio.ensure_future(leaving.wait())
    try:
        await asyncio.wait((following, left), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*asking)
        return await following if following.done() else None
    finally:
        following.cancel()
        left.cancel()


async def _report(ended: Followed, name: str, results: Path | None, output: str, quiet: bool, heard: list[int]) -> int:
    """Figures as of a run of this machine."""
    from fairlead.bench.cluster.follow import why
    from fairlead.bench.results.store import store_of
    from fairlead.bench.run.ending import reported
    from fairlead.bench.run.results import write_summary, write_whole
    from fairlead.bench.run.stop import Stop
    from fairlead.cli.bench_run import ENDINGS, exit_status, show_summary

    console, summary = _errors(), ended.summary
    if summary is None:
        if heard:
            console.print(f"fairlead: benchmark {name}: {why(ended.status)}", markup=False)
            return 128 + heard[0]
        lost = "; its figures were in the log of its pod, which is gone" if ended.status.run else ""
        raise Failed(f"benchmark {name}: {why(ended.status)}{lost}")
    folder = store_of(results) / summary.id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.yaml", _yaml(summary.config))
        write_summary(folder, summary)
    except OSError as error:
        console.print(f"fairlead: results are not kept: {error}", markup=False)
    show_summary(summary, output, quiet, console)
    if (problem := await reported(folder, Stop())) is not None:
        console.print(f"fairlead: {problem}", markup=False)
    if output == "text" and not quiet:
        where = f"; records of requests: {ended.status.results}" if ended.status.results else ""
        print(f"results: {folder}{where}")
    if summary.ended != "complete":
        console.print(f"fairlead: the run {ENDINGS[summary.ended]}: {summary.why_ended}", markup=False)
    return 128 + heard[0] if heard else exit_status(summary)


def _yaml(config: Json) -> bytes:
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()


def _errors() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _with_client(kubeconfig: Path | None, work: Any) -> int:
    """Raises Failed for what an API server, or the way to it, has against it."""
    import uvloop

    from fairlead.bench.cluster.follow import Vanished
    from fairlead.cli.data import find_kubeconfig
    from fairlead.kube.authorization import CredentialsError
    from fairlead.kube.client import Client
    from fairlead.kube.errors import ApiError
    from fairlead.kube.transport import Unreachable

    async def go() -> int:
        async with Client.load(find_kubeconfig(None, kubeconfig)) as client:
            return int(await work(client))

    try:
        return uvloop.run(go())
    except (CredentialsError, Unreachable) as error:
        raise Failed(f"{error}; `fairlead up` starts a platform, --kubeconfig names another cluster") from error
    except (ApiError, Vanished, TimeoutError) as error:
        raise Failed(str(error)) from error
