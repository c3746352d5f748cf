"""What a source says it has: files with sizes and checksums, and the one digest that stands for all of it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fairlead.serving.store.sources.errors import Unsafe

Algorithm = Literal["sha256", "md5", "git-sha1", "crc32c", "s3-multipart"]
MAX_FILES = 20_000
_MAX_NAME = 1024


@dataclass(frozen=True, slots=True)
class Checksum:
    """`value` in lower-case hexadecimal.

    `git-sha1` is the id of a git blob. `s3-multipart` is the MD5 of the parts' MD5s, of parts of `part_bytes`.
    """

    algorithm: Algorithm
    value: str
    part_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file below the model's folder. `name` has `/` between its parts.

    `size` None: the source does not say. `tag` is the source's word for this version (ETag, generation), for
    conditions of requests. `locator` is what the source itself finds the file by.
    """

    name: str
    size: int | None
    checksum: Checksum | None = None
    tag: str = ""
    locator: str = ""
    unpack: bool = False
    """Whether the file is an archive, whose members are the model."""

    @property
    def identity(self) -> str:
        """What makes two files the same one, as well as the source can say."""
        known = f"{self.checksum.algorithm}:{self.checksum.value}" if self.checksum else f"tag:{self.tag}"
        return f"{self.name}\0{'' if self.size is None else self.size}\0{known}"


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a model. `exact` is a source that will always mean this very version, empty where there is none."""

    files: tuple[SourceFile, ...]
    exact: str = ""
    known_digest: str = ""
    """Where the source has a digest of its own, as OCI manifests do."""
    unpacked_bytes: int | None = None
    warnings: tuple[str, ...] = field(default=())

    @property
    def digest(self) -> str:
        """`sha256:` over every file's identity: the same wherever the same files come from in the same form."""
        if self.known_digest:
            return self.known_digest
        text = "\n".join(sorted(f.identity for f in self.files))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    @property
    def total_bytes(self) -> int | None:
        """None where any size is unknown."""
        sizes = [f.size for f in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


class Source(Protocol):
    """A place that a model can be read from."""

    @property
    def url(self) -> str:
        """Its name without secrets."""
        ...

    async def listing(self) -> Listing:
        """Raises SourceError."""
        ...

    def read(self, file: SourceFile, start: int, end: int | None) -> AsyncIterator[bytes]:
        """Bytes `start` up to `end` (exclusive; None: to the end), all of them or SourceError."""
        ...

    async def close(self) -> None: ...


def check_names(files: Sequence[SourceFile], where: str) -> None:
    """Raises Unsafe for names that leave the folder, collide, or that a file system cannot hold."""
    if len(files) > MAX_FILES:
        raise Unsafe(f"{where} lists {len(files)} files, more than {MAX_FILES}: it names a folder above the model")
    seen: set[str] = set()
    for file in files:
        check_name(file.name, where)
        if file.name in seen:
            raise Unsafe(f"{where} lists {file.name!r} twice")
        seen.add(file.name)
    for name in seen:
        parts = name.split("/")
        for count in range(1, len(parts)):
            if "/".join(parts[:count]) in seen:
                raise Unsafe(f"{where} lists {'/'.join(parts[:count])!r} as a file and as the folder of {name!r}")


def check_name(name: str, where: str) -> None:
    """Raises Unsafe."""
    parts = name.split("/")
    is_bad = (
        not name
        or len(name) > _MAX_NAME
        or "\\" in name
        or any(not part or part in (".", "..") or len(part.encode()) > 255 for part in parts)
        or any(ord(letter) < 32 or ord(letter) == 127 for letter in name)
    )
    if is_bad:
        raise Unsafe(f"{where} has a file named {name[:200]!r}, which is not a plain path inside the model's folder")
