"""`fairlead model push, pull, list, inspect, tag, copy, prune`: models in registries and OCI layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fairlead.cli.failure import Failed
from fairlead.cli.model_registry import (
    Access,
    CaOption,
    InsecureOption,
    LoginsOption,
    OutputOption,
    ParallelOption,
    PlainOption,
    QuietOption,
    ReferenceArgument,
    Shown,
    UsernameOption,
    amount,
    failing,
    reference,
    with_repository,
)
from fairlead.clock import SYSTEM

if TYPE_CHECKING:
    from fairlead.serving.store.catalog import Inspected
    from fairlead.serving.store.push import Pushed


def register(group: typer.Typer) -> None:
    """Adds the commands to the group `fairlead model`."""
    group.command()(push)
    group.command()(pull)
    group.command("list")(list_)
    group.command()(inspect)
    group.command()(tag)
    group.command("copy")(copy)
    group.command()(prune)


def push(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with the model's files, or one file.")],
    reference_: ReferenceArgument,
    as_: Annotated[
        Literal["modelpack", "image"],
        typer.Option("--as", help="A ModelPack artifact, or a plain image for image volumes (files below models/)."),
    ] = "modelpack",
    layout: Annotated[
        Literal["chunked", "whole"],
        typer.Option(help="Large weights as layers that versions share, or one layer per file for other readers."),
    ] = "chunked",
    chunk_mib: Annotated[
        float | None, typer.Option("--chunk", metavar="MIB", help="Usual length of a chunk. [default: by the size]")
    ] = None,
    tar: Annotated[bool, typer.Option("--tar", help="ModelPack layers as tar archives, one per file.")] = False,
    compression: Annotated[
        Literal["none", "zstd"], typer.Option("--compression", help="Compress archives; weights hardly shrink.")
    ] = "none",
    name: Annotated[str, typer.Option(help="Name of the model. [default: the folder's]")] = "",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "",
    license_: Annotated[str, typer.Option("--license", help="Its license, as an SPDX expression.")] = "",
    mount_from: Annotated[
        str, typer.Option("--mount-from", metavar="REPOSITORY", help="Take what is in this repository of the registry.")
    ] = "",
    parallel: ParallelOption = 8,
    output: OutputOption = "text",
    quiet: QuietOption = False,
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """Push a model's files. What the repository has already is not sent; a push that was stopped goes on."""
    access = Access(username, logins, ca_file, insecure, plain_http)
    with failing(), Shown(quiet) as shown:
        from fairlead.serving.store.artifacts import Pushing, push_model
        from fairlead.serving.store.repository import Cancel

        target = reference(reference_)
        pushing = Pushing(
            source=source,
            reference=target,
            settings=access.settings(),
            form=as_,
            layout=layout,
            part_bytes=int(chunk_mib * 2**20) if chunk_mib else None,
            tar=tar,
            compression=compression,
            given={"name": name, "version": version, "licenses": license_},
            mount_from=mount_from,
            threads=parallel,
        )
        began_s = SYSTEM.monotonic_s()
        pushed = push_model(pushing, shown, Cancel())
        took_s = SYSTEM.monotonic_s() - began_s
    place = f"{target.place}:{target.tag or 'latest'}@{pushed.digest}"
    _tell_pushed(pushed, place, took_s, output, quiet)


def pull(
    reference_: ReferenceArgument,
    target: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the files go; it appears when all are there.")
    ],
    keys: Annotated[
        list[Path] | None, typer.Option("--key", metavar="FILE", help="Public key; one that has signed is enough.")
    ] = None,
    warn: Annotated[bool, typer.Option("--warn", help="With --key: only say that nobody of them has signed.")] = False,
    reuse: Annotated[
        list[Path] | None, typer.Option("--reuse", metavar="FOLDER", help="A pulled folder, as another version.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Even if the folder holds what was not pulled.")] = False,
    sync: Annotated[
        bool, typer.Option("--sync/--no-sync", help="Have all on the disk before the folder appears.")
    ] = True,
    parallel: ParallelOption = 8,
    output: OutputOption = "text",
    quiet: QuietOption = False,
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """Pull a model into a folder, every byte verified. A pull that was stopped goes on where it was."""
    access = Access(username, logins, ca_file, insecure, plain_http)
    with failing(), Shown(quiet) as shown:
        from fairlead.serving.store.artifacts import Request, pull_model
        from fairlead.serving.store.policy import Policy
        from fairlead.serving.store.pull import Options
        from fairlead.serving.store.repository import Cancel

        policy = None
        if keys:
            policy = Policy(tuple(path.read_text() for path in keys), "Warn" if warn else "Enforce")
        options = Options(threads=parallel, reuse=tuple(reuse or ()), durable=sync, replace=replace)
        request = Request(reference(reference_), target, access.settings(), options, policy)
        began_s = SYSTEM.monotonic_s()
        pulled = pull_model(request, shown, Cancel())
        took_s = SYSTEM.monotonic_s() - began_s
    if output == "json":
        found = {"digest": pulled.digest, "folder": str(target.absolute()), "files": list(pulled.files)}
        sizes = {"totalBytes": pulled.total_bytes, "fetchedBytes": pulled.bytes, "reusedBytes": pulled.reused_bytes}
        typer.echo(json.dumps({**found, **sizes, "wasThere": pulled.was_there, "seconds": round(took_s, 3)}))
    elif pulled.was_there:
        _tell(quiet, f"{target}: already {pulled.digest}")
    else:
        reused = f", {amount(pulled.reused_bytes)} reused" if pulled.reused_bytes else ""
        rate = amount(int(pulled.bytes / max(took_s, 1e-3)))
        _tell(
            quiet,
            f"{target}: {pulled.digest}, {_count(len(pulled.files), 'file')}, {amount(pulled.bytes)} fetched{reused} "
            f"in {took_s:.1f} s ({rate}/s)",
        )


def list_(
    reference_: ReferenceArgument,
    parallel: ParallelOption = 8,
    output: OutputOption = "text",
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """The tags of a repository or layout, the highest version first, and what is under them."""
    from fairlead.serving.store.catalog import list_tags

    access = Access(username, logins, ca_file, insecure, plain_http)
    tags = with_repository(reference_, access, lambda repository, _, cancel: list_tags(repository, parallel, cancel))
    if output == "json":
        rows = [
            {"tag": t.tag, "digest": t.digest, "kind": t.kind, "bytes": t.bytes, "problem": t.problem} for t in tags
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    if not tags:
        typer.echo("no tags")
        return
    width = max(3, *(len(t.tag) for t in tags))
    typer.echo(f"{'TAG':<{width}}  {'SIZE':>10}  {'KIND':<10}  DIGEST")
    for t in tags:
        row = f"{t.tag:<{width}}  {amount(t.bytes):>10}  {t.kind:<10}  {t.digest}"
        typer.echo(f"{t.tag:<{width}}  {t.problem}" if t.problem else row)


def inspect(
    reference_: ReferenceArgument,
    output: OutputOption = "text",
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """What an artifact is made of: the model, its files, layers and signatures. Layers are not fetched."""
    from fairlead.serving.store.catalog import inspect as look

    access = Access(username, logins, ca_file, insecure, plain_http)
    found = with_repository(reference_, access, lambda repository, parsed, _: look(repository, parsed.selector))
    if output == "json":
        typer.echo(json.dumps(_inspected(found), indent=2))
    else:
        _tell_inspected(found)


def tag(
    reference_: ReferenceArgument,
    new: Annotated[str, typer.Argument(metavar="TAG", help="The further tag.")],
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """Give an artifact a further tag."""
    from fairlead.serving.store.catalog import put_tag
    from fairlead.serving.store.references import is_tag

    if not is_tag(new):
        raise Failed(f"{new!r} is no tag: at most 128 letters, digits and . _ -")
    access = Access(username, logins, ca_file, insecure, plain_http)
    digest = with_repository(
        reference_, access, lambda repository, parsed, _: put_tag(repository, parsed.selector, new)
    )
    typer.echo(f"{new}: {digest}")


def copy(
    origin: ReferenceArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where to: another reference.")],
    signatures: Annotated[bool, typer.Option("--signatures/--no-signatures", help="Copy cosign's as well.")] = True,
    parallel: ParallelOption = 8,
    output: OutputOption = "text",
    quiet: QuietOption = False,
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """Copy an artifact between registries and layouts, byte for byte."""
    from contextlib import closing

    access = Access(username, logins, ca_file, insecure, plain_http)
    with failing(), Shown(quiet) as shown:
        from fairlead.serving.store.artifacts import open_repository
        from fairlead.serving.store.catalog import copy as copy_artifact
        from fairlead.serving.store.repository import Cancel

        settings, cancel = access.settings(), Cancel()
        source, goal = reference(origin), reference(target)
        began_s = SYSTEM.monotonic_s()
        with (
            closing(open_repository(source, settings, cancel)) as from_,
            closing(open_repository(goal, settings, cancel, create=True)) as to,
        ):
            pushed = copy_artifact(
                from_,
                source.selector,
                to,
                goal.tag or source.tag or "latest",
                progress=shown,
                threads=parallel,
                cancel=cancel,
                signatures=signatures,
            )
        took_s = SYSTEM.monotonic_s() - began_s
    _tell_pushed(pushed, f"{goal.place}@{pushed.digest}", took_s, output, quiet)


def prune(
    reference_: ReferenceArgument,
    keep: Annotated[int, typer.Option(min=0, help="How many of the highest versions stay.")],
    match: Annotated[str, typer.Option(metavar="PATTERN", help="Only tags like this; the others stay.")] = "*",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    output: OutputOption = "text",
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """Remove old tags, their manifests and signatures. A registry frees the room with its own garbage collection."""
    from fairlead.serving.store.catalog import prune as prune_tags

    access = Access(username, logins, ca_file, insecure, plain_http)
    done = with_repository(
        reference_, access, lambda repository, _, __: prune_tags(repository, keep=keep, pattern=match, dry_run=dry_run)
    )
    if output == "json":
        said = {"removed": done.removed, "kept": done.kept, "problems": done.problems, "freedBytes": done.freed_bytes}
        typer.echo(json.dumps(said, indent=2))
    else:
        word = "would be removed" if dry_run else "removed"
        for gone in done.removed:
            typer.echo(f"{gone}  {word}")
        freed = f", {amount(done.freed_bytes)} freed" if done.freed_bytes else ""
        typer.echo(f"{len(done.removed)} {word}, {len(done.kept)} kept{freed}")
    if done.problems:
        raise Failed("not removed: " + "; ".join(done.problems))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _tell(quiet: bool, text: str) -> None:
    if not quiet:
        typer.echo(text)


def _tell_pushed(pushed: Pushed, place: str, took_s: float, output: str, quiet: bool) -> None:
    if output == "json":
        sizes = {"totalBytes": pushed.total_bytes, "sentBytes": pushed.sent_bytes}
        counts = {"blobs": pushed.blobs, "sentBlobs": pushed.sent_blobs, "seconds": round(took_s, 3)}
        typer.echo(json.dumps({"reference": place, "digest": pushed.digest, **sizes, **counts}))
        return
    sent = f"{amount(pushed.sent_bytes)} of {amount(pushed.total_bytes)} sent"
    layers = f"{pushed.sent_blobs} of {pushed.blobs} blobs"
    _tell(quiet, f"{place}: {sent} ({layers}) in {took_s:.1f} s")


def _inspected(found: Inspected) -> dict[str, Any]:
    import msgspec

    return {
        "digest": found.digest,
        "bytes": found.bytes,
        "files": found.files,
        "archives": found.archives,
        "signatures": found.signatures,
        "config": found.config,
        "manifest": msgspec.to_builtins(found.manifest),
    }


def _tell_inspected(found: Inspected) -> None:
    from fairlead.serving.store.catalog import kind_of

    layers = len(found.manifest.layers)
    typer.echo(f"digest        {found.digest}")
    typer.echo(f"kind          {kind_of(found.manifest)}, {amount(found.bytes)} in {_count(layers, 'layer')}")
    for part in ("descriptor", "config"):
        for key, value in ((found.config or {}).get(part) or {}).items():
            if isinstance(value, str | list) and value:
                typer.echo(f"{key:<13} {value if isinstance(value, str) else ', '.join(map(str, value))}")
    typer.echo(f"signatures    {found.signatures}")
    if found.archives:
        typer.echo(f"archives      {found.archives} (their files are not listed)")
    for path, size in found.files.items():
        typer.echo(f"{amount(size):>10}  {path}")
