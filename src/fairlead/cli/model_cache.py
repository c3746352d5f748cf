"""`fairlead model fetch`, `hold` and `cache …`: a node's model cache."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fairlead.cli.failure import Failed
from fairlead.cli.model_fetch import DEFAULT_CACHE, fetch, hold, parse_capacity

if TYPE_CHECKING:
    from fairlead.serving.store.cache.cache import Cached, ModelCache

CacheOption = Annotated[
    Path,
    typer.Option("--cache", metavar="DIR", envvar="FAIRLEAD_MODEL_CACHE", help="Folder of the node's cache."),
]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the output.")]
_AS_THEY_ARE = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def register(group: typer.Typer) -> None:
    """Adds the commands to the group `fairlead model`."""
    group.command("fetch", context_settings=_AS_THEY_ARE)(_fetch)
    group.command("hold", context_settings=_AS_THEY_ARE)(_hold)
    commands = typer.Typer(no_args_is_help=True, help="Look at and change the node's model cache.")
    commands.command("list")(list_)
    commands.command()(pin)
    commands.command()(unpin)
    commands.command()(prune)
    commands.command()(check)
    commands.command()(publish)
    group.add_typer(commands, name="cache")


def _fetch(context: typer.Context) -> None:
    """Bring a model into the node's cache, unless it is there, and say where it is."""
    raise typer.Exit(fetch(context.args))


def _hold(context: typer.Context) -> None:
    """Keep the models of a pod in the node's cache for as long as this runs."""
    raise typer.Exit(hold(context.args))


def list_(cache: CacheOption = Path(DEFAULT_CACHE), output: Output = "text") -> None:
    """Say which models are in the cache, who uses them and which are pinned."""
    models = _open(cache).models()
    if output == "json":
        import json

        print(json.dumps([_json(model) for model in models], indent=2))
        return
    from fairlead.serving.store.cache.room import amount

    rows = [("DIGEST", "SIZE", "PODS", "PINNED", "USED", "SOURCE")]
    rows += [
        (
            model.record.digest.partition(":")[2][:12],
            amount(model.record.bytes),
            str(len(model.pods)),
            "yes" if model.is_pinned else "",
            _time(model.used_s),
            ", ".join(model.sources or (model.record.source,)),
        )
        for model in models
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def pin(model: Annotated[str, typer.Argument(help="Digest, or the beginning of it, or source.")],
        cache: CacheOption = Path(DEFAULT_CACHE)) -> None:  # fmt: skip
    """Keep a model though others need the room."""
    _pin(cache, model, True)


def unpin(model: Annotated[str, typer.Argument(help="Digest, or the beginning of it, or source.")],
          cache: CacheOption = Path(DEFAULT_CACHE)) -> None:  # fmt: skip
    """Let a model leave when others need the room."""
    _pin(cache, model, False)


def prune(
    cache: CacheOption = Path(DEFAULT_CACHE),
    to: Annotated[str, typer.Option(metavar="SIZE", help="Until at most so much is taken, as 100Gi.")] = "0",
    idle_h: Annotated[float, typer.Option("--idle", metavar="HOURS", help="Only what was not used for so long.")] = 0.0,
) -> None:
    """Take out models that nobody uses and that are not pinned."""
    try:
        size = 0 if to == "0" else parse_capacity(to)
    except argparse.ArgumentTypeError as error:
        raise Failed(f"--to {error}") from error
    left = _open(cache).prune(size, idle_h * 3600)
    for name in left:
        print(name)
    print(f"{len(left)} left the cache", file=sys.stderr)


def check(cache: CacheOption = Path(DEFAULT_CACHE), output: Output = "text") -> None:
    """Read every model and set aside those that are not what came in."""
    from fairlead.serving.store.cache.integrity import check as check_all

    verdicts = check_all(_open(cache))
    if output == "json":
        import json

        print(json.dumps([{"digest": v.record.digest, "problem": v.problem} for v in verdicts], indent=2))
    else:
        for verdict in verdicts:
            print(f"{verdict.record.digest}  {verdict.problem or 'whole'}")
    if any(verdict.problem for verdict in verdicts):
        raise typer.Exit(1)


def publish(
    node: Annotated[str, typer.Option(envvar="NODE_NAME", help="The Node of this machine.")],
    cache: CacheOption = Path(DEFAULT_CACHE),
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: as kubectl, else the pod's account.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Tell it once, not for as long as this runs.")] = False,
) -> None:
    """Tell schedulers which models this node has, by an annotation of its Node."""
    import asyncio

    from fairlead.kube.client import Client
    from fairlead.kube.run import run_until_signal
    from fairlead.serving.store.cache import locality

    own = _open(cache)

    async def run() -> None:
        async with Client.load(kubeconfig) as client:
            if once:
                await locality.publish_once(client, node, own.models())
            else:
                await run_until_signal(locality.publish(client, node, own))

    asyncio.run(run())


def _open(folder: Path) -> ModelCache:
    from fairlead.serving.store.cache.cache import CacheError, ModelCache

    if not (folder / "entries").is_dir():
        raise Failed(f"there is no model cache at {folder}; --cache names another folder")
    try:
        return ModelCache(folder, own_uid=os.environ.get("POD_UID", ""))
    except CacheError as error:
        raise Failed(str(error)) from error


def _pin(folder: Path, wanted: str, is_pinned: bool) -> None:
    cache = _open(folder)
    found = [m for m in cache.models() if _is_meant(m, wanted)]
    if len(found) != 1:
        how = "no model" if not found else f"{len(found)} models"
        raise Failed(f"{wanted!r} means {how} of the cache at {folder}; `fairlead model cache list` shows them")
    cache.pin(found[0].record.digest, is_pinned)


def _is_meant(model: Cached, wanted: str) -> bool:
    digest = model.record.digest
    by_digest = len(wanted) >= 6 and (digest.startswith(wanted) or digest.partition(":")[2].startswith(wanted))
    return by_digest or wanted in (model.record.source, *model.sources)


def _json(model: Cached) -> dict[str, object]:
    record = model.record
    return {
        "digest": record.digest,
        "sources": list(model.sources or (record.source,)),
        "bytes": record.bytes,
        "files": len(record.files),
        "pods": list(model.pods),
        "pinned": model.is_pinned,
        "usedAt": _time(model.used_s),
    }


def _time(wall_s: float) -> str:
    from fairlead.clock import format_time

    return format_time(wall_s)
