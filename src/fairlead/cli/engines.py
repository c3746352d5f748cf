"""`fairlead engines`: the model servers there are adapters for, and whether they run here and behave as they should."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import secrets
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from fairlead.cli.data import OutputOption
from fairlead.cli.failure import Failed
from fairlead.engines import ENGINES, Adapter, UnknownRuntime, engine_for
from fairlead.engines.machine import Machine, judge

if TYPE_CHECKING:
    from fairlead.engines.conformance import Result, Target

console = Console(highlight=False, soft_wrap=True)

# Device nodes by which drivers show that an accelerator is there.
_DEVICE_NODES = {
    "nvidia": ("/dev/nvidia[0-9]*", "/dev/dxg"),
    "amd": ("/dev/kfd",),
    "furiosa": ("/dev/rngd/npu*",),
    "tpu": ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*"),
}

engines_app = typer.Typer(help="The model servers Fairlead has adapters for.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    app.add_typer(engines_app, name="engines")


@engines_app.callback()
def engines(context: typer.Context, output: OutputOption = "text") -> None:
    """Which model servers there are adapters for, and which of them this machine can run."""
    if context.invoked_subcommand is not None:
        return
    verdicts = judge(ENGINES.values(), this_machine())
    if output == "json":
        typer.echo(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
        return
    rows = [("RUNTIME", "SERVER", "API", "HERE", "WHY NOT")]
    for v in verdicts:
        here = f"yes {v.version or ''}".rstrip() if v.can_run else "no"
        rows.append((v.runtime, v.title, v.api, here, "; ".join(v.reasons)))
    # The last column is sentences: it is left as long as it is, which a table of rich would not do.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join((*cells, row[-1])).rstrip())


@engines_app.command()
def check(
    url: Annotated[str, typer.Argument(help="Address of the running server, e.g. http://127.0.0.1:8000.")],
    runtime: Annotated[str, typer.Option(help="Which server it is (see `fairlead engines`).")],
    model: Annotated[str, typer.Option(help="Name of a model it serves; the first it lists when left out.")] = "",
    names: Annotated[list[str] | None, typer.Option("--name", help="A name that must be listed; repeatable.")] = None,
    adapter: Annotated[str, typer.Option(help="NAME=PATH of a LoRA adapter to load and unload.")] = "",
    kv_endpoint: Annotated[
        str, typer.Option(help="Where its cache events are published, e.g. tcp://127.0.0.1:5557.")
    ] = "",
    pid: Annotated[
        int, typer.Option(help="Its process on this machine: it is ended to see whether streams finish.")
    ] = 0,
    output: OutputOption = "text",
) -> None:
    """Examine a running server: pass, fail or not supported for each thing relied on. Exit status 1 on a fail."""
    try:
        engine = engine_for(runtime)
    except UnknownRuntime as error:
        raise Failed(str(error)) from None
    from fairlead.engines.conformance import Target

    target = Target(
        engine=engine,
        url=_base(url),
        model=model,
        nonce=secrets.token_hex(4),
        names=tuple(names or ()),
        adapter=_adapter(adapter),
        kv_endpoint=kv_endpoint,
        process_id=pid or None,
    )
    results = asyncio.run(_examine(target, output))
    if output == "json":
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    if any(result.outcome == "fail" for result in results):
        raise typer.Exit(1)


def this_machine() -> Machine:
    """What of the engines' needs is here. The environment's own programs count, on PATH or not."""
    beside = Path(sys.executable).parent
    search = os.pathsep.join((os.environ.get("PATH", ""), str(beside)))
    programs, versions = {}, {}
    for engine in ENGINES.values():
        program = engine.program
        if path := shutil.which(program.name, path=search):
            programs[program.name] = path
            version = _version(program.module, Path(path))
            if version is not None:
                versions[program.module] = version
    accelerators = {kind for kind, patterns in _DEVICE_NODES.items() if any(_exists(p) for p in patterns)}
    return Machine(programs, versions, frozenset(accelerators))


def _version(distribution: str, program: Path) -> str | None:
    """Of a distribution in this environment, or in the one that the program belongs to."""
    if not distribution:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    libraries = [str(p) for p in program.resolve().parent.parent.glob("lib/python3*/site-packages")]
    found = next(iter(importlib.metadata.distributions(name=distribution, path=libraries)), None)
    return found.version if found else None


def _exists(pattern: str) -> bool:
    folder, _, name = pattern.rpartition("/")
    return any(Path(folder).glob(name))


def _base(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise Failed(f"{url!r} is no address of a server: give it as http://HOST:PORT")
    return url.rstrip("/")


def _adapter(text: str) -> Adapter | None:
    name, separator, path = text.partition("=")
    if text and not (name and separator and path):
        raise Failed(f"--adapter {text!r}: give it as NAME=PATH")
    return Adapter(name, path) if text else None


async def _examine(target: Target, output: str) -> list[Result]:
    from fairlead.engines.conformance import examine

    if not target.model:
        target.model = await _first_model(target)
    marks = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "not supported": "[yellow]not supported[/]"}
    results = []
    async for result in examine(target):
        results.append(result)
        if output == "text":
            mark = marks[result.outcome] + " " * (len("not supported") - len(result.outcome))
            console.print(f"{mark}  {escape(result.check)}: {escape(result.reason)}".rstrip(": "))
    return results


async def _first_model(target: Target) -> str:
    import aiohttp

    from fairlead.engines.conformance import CheckFailed
    from fairlead.engines.conformance.basics import listed_models

    if target.engine.api != "openai":
        raise Failed("say which model with --model: servers of this protocol do not list theirs")
    async with aiohttp.ClientSession() as session:
        target.session = session
        try:
            names = sorted(await listed_models(target))
        except CheckFailed as error:
            raise Failed(
                f"{target.url} does not list its models ({error}): is it running, and is it OpenAI's API?"
            ) from None
    if not names:
        raise Failed(f"{target.url} lists no models: say which with --model")
    return names[0]
