"""Which bytes of an artifact are on this machine already, in folders that were pulled before."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fairlead.serving.store.errors import BadArtifact
from fairlead.serving.store.folder import read_mark
from fairlead.serving.store.landing import buffer
from fairlead.serving.store.plan import PlannedFile, plan
from fairlead.serving.store.repository import Cancel


@dataclass(frozen=True, slots=True)
class Place:
    """A layer's bytes: in which file, from where on."""

    path: Path
    offset: int


class Known:
    """Layers by digest, and whole files by the digests of their layers."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._files: dict[tuple[str, ...], Path] = {}

    def add(self, folder: Path, file: PlannedFile) -> None:
        path = folder / file.path
        self._files.setdefault(_key(file), path)
        for piece in file.pieces:
            self._places.setdefault(piece.layer.digest, Place(path, piece.offset))

    def find(self, digest: str) -> Place | None:
        return self._places.get(digest)

    def whole(self, file: PlannedFile) -> Path | None:
        """A file with exactly these layers."""
        return self._files.get(_key(file)) if file.size else None

    def is_sound(self, file: PlannedFile, at: Path, cancel: Cancel) -> bool:
        """Whether a file holds what its layers promise; every byte is hashed."""
        room = buffer()
        try:
            descriptor = os.open(at, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if (
                os.fstat(descriptor).st_size != file.size
                or bool(os.fstat(descriptor).st_mode & 0o100) != file.executable
            ):
                return False
            for piece in file.pieces:
                hashed, position, end = hashlib.sha256(), piece.offset, piece.offset + piece.layer.size
                while position < end and (
                    count := os.preadv(descriptor, [room[: min(len(room), end - position)]], position)
                ):
                    cancel.check()
                    hashed.update(room[:count])
                    position += count
                if f"sha256:{hashed.hexdigest()}" != piece.layer.digest:
                    return False
        finally:
            os.close(descriptor)
        return True


def known_files(folders: Iterable[Path]) -> Known:
    """What pulled folders hold; others, and files that are gone or changed in size, are passed over."""
    known = Known()
    for folder in folders:
        mark = read_mark(folder)
        if mark is None:
            continue
        try:
            files = plan(mark.manifest, str(folder)).files
        except BadArtifact:
            continue
        for file in files:
            try:
                if (folder / file.path).stat().st_size == file.size:
                    known.add(folder, file)
            except OSError:
                continue
    return known


def _key(file: PlannedFile) -> tuple[str, ...]:
    return tuple(piece.layer.digest for piece in file.pieces)
