"""Whether bytes are still what their digests promise: the layers of a repository, the files of a pulled folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import NotFound, StoreError, WrongContent
from fairlead.serving.store.folder import read_mark
from fairlead.serving.store.landing import fetch
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.pack import hash_source
from fairlead.serving.store.plan import PlannedFile, plan
from fairlead.serving.store.progress import Progress
from fairlead.serving.store.repository import Cancel, FileRange, Repository
from fairlead.serving.store.workers import run_all


def check_layers(
    repository: Repository, manifest: Manifest, settings: Settings, threads: int, progress: Progress, cancel: Cancel
) -> list[str]:
    """Read config and layers; what is wrong with them, a sentence each."""
    blobs = {d.digest: d for d in (manifest.config, *manifest.layers)}
    progress.begin("verifying", sum(d.size for d in blobs.values()))
    problems: list[str] = []

    def work(descriptor: Descriptor) -> None:
        hashed = hashlib.sha256()

        def take(view: memoryview, _: int) -> None:
            hashed.update(view)
            progress.advance(len(view))

        try:
            fetch(repository, descriptor, 0, descriptor.size, take, settings, cancel)
        except NotFound:
            problems.append(f"layer {descriptor.digest} is missing")
            return
        except WrongContent as error:
            problems.append(str(error))
            return
        if (found := f"sha256:{hashed.hexdigest()}") != descriptor.digest:
            problems.append(f"layer {descriptor.digest} turned out to be {found}")

    run_all(blobs.values(), work, threads, cancel)
    return sorted(problems)


def check_folder(folder: Path, threads: int, progress: Progress, cancel: Cancel) -> tuple[str, list[str]]:
    """The digest that a folder was pulled as, and what is wrong with its files. Raises StoreError without a mark."""
    mark = read_mark(folder)
    if mark is None:
        raise StoreError(f"{folder}: was not pulled (or its mark is gone): there is nothing to compare it with")
    planned = plan(mark.manifest, str(folder))
    if planned.archives and not planned.files:
        raise StoreError(f"{folder}: came out of archives, whose files have no digests of their own; pull it again")
    problems: list[str] = []
    progress.begin("verifying", sum(file.size for file in planned.files))

    def work(file: PlannedFile) -> None:
        problems.extend(_file_problems(folder, file, progress, cancel))

    run_all(planned.files, work, threads, cancel)
    return mark.digest, sorted(problems)


def _file_problems(folder: Path, file: PlannedFile, progress: Progress, cancel: Cancel) -> Iterable[str]:
    path = folder / file.path
    if not path.is_file():
        return [f"{file.path} is missing"]
    if (size := path.stat().st_size) != file.size:
        return [f"{file.path} has {size} bytes, not {file.size}"]
    for piece in file.pieces:
        found = hash_source(FileRange(path, piece.offset, piece.layer.size), progress, cancel)
        if found != piece.layer.digest:
            return [f"{file.path} differs between bytes {piece.offset} and {piece.offset + piece.layer.size}"]
    return []
