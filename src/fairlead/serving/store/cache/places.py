"""Where things are in a cache's folder.

capacity             bytes that may be in it; not there: as the disk allows
lock                 held for every change of what is there
entries/DIGEST/      a whole model: model.json, files/…, used (its time is that of the last use), pinned
partial/DIGEST/      a model on its way: lock, reservation.json, ranges, content/ (what becomes the entry)
sources/HASH.json    which digest a source meant
pods/UID/            what a pod uses: lock (held while it lives) and links SLOT -> ../../entries/DIGEST/files
damaged/DIGEST.N/    models whose files are not what they were
trash/               on its way out
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]{32,128}")
_FOLDER = re.compile(r"[a-z0-9]+-[0-9a-f]{32,128}")
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
BLOCK_BYTES = 4096
OVERHEAD_BYTES = 64 << 10
"""Counted for each model beside its files: folders, records and links."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of a cache at `root`."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def capacity(self) -> Path:
        return self.root / "capacity"

    @property
    def entries(self) -> Path:
        return self.root / "entries"

    @property
    def partials(self) -> Path:
        return self.root / "partial"

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    @property
    def trash(self) -> Path:
        return self.root / "trash"

    def entry(self, digest: str) -> Path:
        return self.entries / folder_of(digest)

    def partial(self, digest: str) -> Path:
        return self.partials / folder_of(digest)

    def pod(self, uid: str) -> Path:
        """Raises ValueError for what is no uid."""
        if not _UID.fullmatch(uid):
            raise ValueError(f"{uid!r} is no uid of a pod")
        return self.pods / uid

    def source(self, source: str) -> Path:
        return self.sources / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.json"

    def make(self) -> None:
        """All folders, as readable as engines of any user need them. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        for path in (self.entries, self.partials, self.sources, self.pods, self.damaged, self.trash):
            path.mkdir(exist_ok=True)


def folder_of(digest: str) -> str:
    """`sha256-…` of `sha256:…`. Raises ValueError for what is no digest."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no digest")
    return digest.replace(":", "-")


def digest_of(folder: str) -> str | None:
    """None for a folder that is none of ours."""
    return folder.replace("-", ":", 1) if _FOLDER.fullmatch(folder) else None


def counted_bytes(sizes: list[int]) -> int:
    """What files of these sizes count with: whole blocks, and something for folders and records."""
    return sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes) + OVERHEAD_BYTES + 256 * len(sizes)
