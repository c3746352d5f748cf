"""What the rest of Fairlead calls: push, pull and look at artifacts by reference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import StoreError
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.logins import Logins
from fairlead.serving.store.progress import Progress, Silent
from fairlead.serving.store.pull import Options, Pulled, pull, resolve
from fairlead.serving.store.references import Reference, parse_reference
from fairlead.serving.store.registry import RegistryRepository
from fairlead.serving.store.repository import Cancel
from fairlead.serving.store.sessions import Sessions, default_folder
from fairlead.serving.store.policy import Policy

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
