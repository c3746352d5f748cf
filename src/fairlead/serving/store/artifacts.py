"""What the rest of Fairlead calls: push, pull and look at artifacts by reference."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from fairlead.serving.store.connections import Settings
from fairlead.serving.store.describe import general
from fairlead.serving.store.errors import StoreError
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.logins import Logins
from fairlead.serving.store.pack import Artifact, Layout, find_files, pack_model
from fairlead.serving.store.policy import Policy
from fairlead.serving.store.progress import Progress, Silent
from fairlead.serving.store.pull import Options, Pulled, pull, resolve
from fairlead.serving.store.push import Pushed, push
from fairlead.serving.store.references import Reference, parse_reference
from fairlead.serving.store.registry import RegistryRepository
from fairlead.serving.store.repository import Cancel
from fairlead.serving.store.sessions import Sessions, default_folder

Result = TypeVar("Result")
AnyRepository = RegistryRepository | LayoutRepository


def open_repository(
    reference: Reference, settings: Settings, cancel: Cancel, *, create: bool = False, mount_from: str = ""
) -> AnyRepository:
    """The repository of a reference; to be closed. `create`: make a layout that is not there."""
    if reference.folder is not None:
        return LayoutRepository(reference.folder, create=create)
    return RegistryRepository(reference, settings, cancel, mount_from=mount_from, sessions=Sessions(default_folder()))


@dataclass(frozen=True, slots=True)
class Request:
    """A pull: what, where to, and how."""

    reference: Reference
    target: Path
    settings: Settings = field(default_factory=Settings)
    options: Options = field(default_factory=Options)
    verification: Policy | None = None


def pull_model(request: Request, progress: Progress, cancel: Cancel) -> Pulled:
    """Pull, blocking. The signature is looked at before a layer is fetched. Raises the store's errors."""
    with closing(open_repository(request.reference, request.settings, cancel)) as repository:
        digest, manifest = resolve(repository, request.reference.selector)
        if request.verification is not None:
            from fairlead.serving.store.sign import enforce

            if warning := enforce(repository, digest, request.verification):
                progress.note(warning)
        return pull(
            repository,
            digest,
            manifest,
            request.target.absolute(),
            reference=str(request.reference),
            settings=request.settings,
            options=request.options,
            progress=progress,
            cancel=cancel,
        )


async def pull_artifact(
    reference: str,
    target: Path,
    *,
    auth: Logins | None = None,
    progress: Progress | None = None,
    verification: Policy | None = None,
    concurrency: int = 8,
    settings: Settings | None = None,
    reuse: Sequence[Path] = (),
    durable: bool = True,
    replace_target: bool = False,
) -> Pulled:
    """Pull an artifact (`oci://…` or `layout://…`) into a folder, which appears when all of it is there and verified.

    Cancelling the task stops the threads and leaves what was fetched beside the target, for the next pull of the same
    content. `auth`: logins; None: those of the settings (by default anonymous; `default_logins()` reads Docker's).
    """
    chosen = settings or Settings()
    if auth is not None:
        chosen = replace(chosen, logins=auth)
    options = Options(threads=concurrency, reuse=reuse, durable=durable, replace=replace_target)
    request = Request(parse_reference(reference), target, chosen, options, verification)
    return await in_thread(lambda cancel: pull_model(request, progress or Silent(), cancel))


async def in_thread(work: Callable[[Cancel], Result]) -> Result:
    """Run blocking work in a thread; cancelling the task cancels the work, and waits until it has let go."""
    cancel = Cancel()
    running = asyncio.ensure_future(asyncio.to_thread(work, cancel))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancel.set()
        with suppress(StoreError):
            await running
        raise


@dataclass(frozen=True, slots=True)
class Pushing:
    """A push: which folder (or file) where to, and in which form.

    `form`: modelpack, a ModelPack artifact; image, a plain image with the files below models/, for image volumes.
    `layout`: chunked, where large weights are layers of `part_bytes` (None: by the model's size) that versions share;
    whole, one layer per file, for other readers of ModelPack. `tar`: ModelPack layers are archives. `compression`
    makes archives in any case. `given`: what to say of the model (name, version, licenses, …) in ModelPack's words.
    """

    source: Path
    reference: Reference
    settings: Settings = field(default_factory=Settings)
    form: Literal["modelpack", "image"] = "modelpack"
    layout: Layout = "chunked"
    part_bytes: int | None = None
    tar: bool = False
    compression: Literal["none", "zstd"] = "none"
    given: Mapping[str, str] = field(default_factory=dict)
    mount_from: str = ""
    threads: int = 8


def push_model(pushing: Pushing, progress: Progress, cancel: Cancel) -> Pushed:
    """Push, blocking. The tag moves last. Raises the store's errors."""
    with closing(
        open_repository(pushing.reference, pushing.settings, cancel, create=True, mount_from=pushing.mount_from)
    ) as repository:
        artifact = pack(pushing, progress, cancel)
        try:
            tag = pushing.reference.tag or ("" if pushing.reference.digest else "latest")
            if pushing.reference.digest and artifact.digest != pushing.reference.digest:
                raise StoreError(
                    f"{pushing.source} makes {artifact.digest}, not {pushing.reference.digest}; leave the digest out"
                )
            return push(artifact, repository, tag, progress=progress, threads=pushing.threads, cancel=cancel)
        finally:
            for folder in artifact.scratch:
                shutil.rmtree(folder, ignore_errors=True)


def pack(pushing: Pushing, progress: Progress, cancel: Cancel) -> Artifact:
    """The artifact that a push would send."""
    files = find_files(pushing.source, progress.note)
    name = pushing.given.get("name") or pushing.source.absolute().name
    described = general({file.path: file.at for file in files}, name, pushing.given)
    threads = max(1, min(pushing.threads, os.cpu_count() or 1))
    if pushing.form == "modelpack" and not pushing.tar and pushing.compression == "none":
        return pack_model(
            files,
            layout=pushing.layout,
            part_bytes=pushing.part_bytes,
            described=described,
            progress=progress,
            threads=threads,
            cancel=cancel,
        )
    from fairlead.serving.store.image import pack_image, pack_model_tar

    if pushing.form == "image":
        labels = {
            f"org.opencontainers.image.{key}": pushing.given[key]
            for key in ("version", "vendor")
            if key in pushing.given
        }
        return pack_image(
            files,
            compression=pushing.compression,
            labels={"org.opencontainers.image.title": name, **labels},
            progress=progress,
            threads=threads,
            cancel=cancel,
        )
    return pack_model_tar(
        files,
        compression=pushing.compression,
        described=described,
        progress=progress,
        threads=threads,
        cancel=cancel,
    )


async def push_artifact(pushing: Pushing, progress: Progress | None = None) -> Pushed:
    """Push a folder of files. Cancelling the task stops the threads; what is there already is not sent again."""
    return await in_thread(lambda cancel: push_model(pushing, progress or Silent(), cancel))
