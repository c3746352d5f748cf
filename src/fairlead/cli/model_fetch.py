"""`fairlead model fetch` and `fairlead model hold`: what the containers run that bring a model to a pod.

They start with every pod, so they load no more than they need: a model that is on the node is there within a fraction
of a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from fairlead.serving.store.cache.download import Progress
    from fairlead.serving.store.cache.wanted import Wanted
    from fairlead.serving.store.policy import Policy

DEFAULT_CACHE = "/var/lib/fairlead/models"
_TELL_S = 5.0
_REDRAW_S = 0.2


def fetch(argv: list[str]) -> int:
    """The exit status. The last line on stdout is `DIGEST PATH`; all else goes to stderr."""
    arguments = _fetch_parser().parse_args(argv)
    from fairlead.serving.store.cache.cache import CacheError
    from fairlead.serving.store.errors import StoreError
    from fairlead.serving.store.sources.errors import SourceError

    try:
        return asyncio.run(_fetch(arguments))
    except (CacheError, SourceError, StoreError, ValueError, OSError) as error:
        print(f"fairlead model fetch: {error}", file=sys.stderr)
        return 1


def hold(argv: list[str]) -> int:
    """Keep the models of this pod in the cache until told to stop."""
    parser = argparse.ArgumentParser(
        prog="fairlead model hold", description="Keep the models of a pod in the node's cache for as long as this runs."
    )
    _cache_option(parser)
    _uid_option(parser)
    arguments = parser.parse_args(argv)
    if not arguments.uid:
        parser.error("no pod: give its uid with --uid, or POD_UID in the environment")
    from fairlead.serving.store.cache.holds import hold_until_told
    from fairlead.serving.store.cache.locks import Busy
    from fairlead.serving.store.cache.places import Places

    try:
        hold_until_told(Places(arguments.cache), arguments.uid)
    except (Busy, OSError, ValueError) as error:
        print(f"fairlead model hold: {error}", file=sys.stderr)
        return 1
    return 0


def parse_capacity(text: str) -> int:
    """Bytes of a quantity as 500Gi. Raises argparse.ArgumentTypeError."""
    from fairlead.kube.quantity import parse_quantity

    try:
        size = parse_quantity(text).value
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500Gi or 500G") from error
    if size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; it has to be above 0")
    return size


async def _fetch(arguments: argparse.Namespace) -> int:
    from fairlead.serving.store.cache.cache import ModelCache
    from fairlead.serving.store.cache.download import Progress
    from fairlead.serving.store.cache.fetch import fetch_model
    from fairlead.serving.store.cache.holds import replace_link
    from fairlead.serving.store.sources.open import read_settings

    began_s = SYSTEM.monotonic_s()
    settings = read_settings(os.environ, arguments.credentials)
    cache = ModelCache(arguments.cache, arguments.capacity, own_uid=arguments.uid, say=_say)
    progress = Progress()
    telling = asyncio.create_task(_tell(progress, SYSTEM)) if not arguments.quiet else None
    try:
        fetched = await fetch_model(cache, _wanted(arguments), settings, progress)
    finally:
        if telling is not None:
            telling.cancel()
    for warning in fetched.warnings:
        _say(f"warning: {warning}")
    if arguments.link is not None:
        arguments.link.parent.mkdir(parents=True, exist_ok=True)
        replace_link(arguments.link, str(fetched.path.absolute()))
    if not arguments.quiet:
        from fairlead.serving.store.cache.room import amount

        took_s = SYSTEM.monotonic_s() - began_s
        how = "was on the node" if fetched.was_here else "fetched"
        _say(f"{arguments.source}: {how}, {amount(fetched.record.bytes)} in {took_s:.1f} s")
    print(fetched.record.digest, arguments.link or fetched.path)
    return 0


def _wanted(arguments: argparse.Namespace) -> Wanted:
    from fairlead.serving.store.cache.wanted import Wanted
    from fairlead.serving.store.sources.open import Choice

    return Wanted(
        arguments.source,
        name=arguments.name,
        choice=Choice(arguments.format, tuple(arguments.include), tuple(arguments.exclude)),
        pin=arguments.pin,
        uid=arguments.uid,
        slot=arguments.slot,
        concurrency=arguments.concurrency,
        ask=arguments.ask,
        verification=_policy(arguments.key),
    )


def _policy(keys: list[Path]) -> Policy | None:
    """Who must have signed it: key files, or FAIRLEAD_VERIFICATION as the service has it."""
    text = os.environ.get("FAIRLEAD_VERIFICATION", "")
    if not keys and not text:
        return None
    from fairlead.serving.store.policy import Policy

    if keys:
        return Policy(tuple(path.read_text() for path in keys))
    import msgspec

    given = msgspec.json.decode(text, type=dict[str, object])
    public_keys = msgspec.convert(given.get("publicKeys", []), list[str])
    return Policy(tuple(public_keys), "Warn" if given.get("mode") == "Warn" else "Enforce")


async def _tell(progress: Progress, clock: Clock) -> None:
    """How far it is: a line that is redrawn on a terminal, else one every few seconds."""
    from fairlead.serving.store.cache.room import amount

    on_terminal = sys.stderr.isatty()
    every_s = _REDRAW_S if on_terminal else _TELL_S
    before, drawn = 0, False
    try:
        while True:
            await clock.sleep(every_s)
            done, total = progress.done_bytes, progress.total_bytes
            of = "" if total is None else f" of {amount(total)} ({100 * done // max(total, 1)} %)"
            rate = "" if done < before else f", {amount(round((done - before) / every_s))}/s"
            line = f"{progress.phase} {amount(done)}{of}{rate}"
            print(
                f"\r\x1b[K{line}" if on_terminal else line, end="" if on_terminal else "\n", file=sys.stderr, flush=True
            )
            before, drawn = done, on_terminal
    finally:
        if drawn:
            print(file=sys.stderr)


def _fetch_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlead model fetch",
        description="Bring a model into the node's cache, unless it is there, and say where it is.",
    )
    parser.add_argument("source", help="hf://, s3://, gs://, oci://, https://, file:// or an absolute path")
    _cache_option(parser)
    _uid_option(parser)
    add = parser.add_argument
    add("--capacity", type=parse_capacity, metavar="SIZE", help="most that may be in the cache, as 500Gi")
    add("--slot", default="model", help="name of the model among those of the pod [default: %(default)s]")
    add("--link", type=Path, metavar="PATH", help="make PATH a link to the model")
    add("--name", default="", help="what the model is called in the cache [default: its source]")
    add("--credentials", type=Path, metavar="DIR", help="folder of files as of a Secret: HF_TOKEN, AWS_…, …")
    add("--pin", action="store_true", help="keep it though others need the room")
    add("--format", default="", help="form of the weights: safetensors, pytorch, gguf or onnx")
    add("--include", action="append", default=[], metavar="PATTERN", help="only files that match; repeatable")
    add("--exclude", action="append", default=[], metavar="PATTERN", help="not files that match; repeatable")
    add("--key", action="append", default=[], type=Path, metavar="FILE", help="public key; one must have signed it")
    add("--concurrency", type=int, default=8, help="ranges that are read at a time [default: %(default)s]")
    add(
        "--ask", choices=("always", "missing", "never"), default="always",
        help="when the source is asked which version it means: also if one is here, if none is, never "
        "[default: %(default)s]",
    )  # fmt: skip
    add("--quiet", "-q", action="store_true", help="say nothing but the digest and errors")
    return parser


def _cache_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("FAIRLEAD_MODEL_CACHE") or DEFAULT_CACHE),
        metavar="DIR",
        help="folder of the node's cache [default: $FAIRLEAD_MODEL_CACHE or %(default)s]",
    )


def _uid_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--uid", default=os.environ.get("POD_UID", ""), help="the pod's uid [default: $POD_UID]")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


COMMANDS: dict[str, Callable[[list[str]], int]] = {"fetch": fetch, "hold": hold}
