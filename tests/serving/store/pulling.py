"""Pulls from a layout that can be watched, stopped and made to lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fairlead.serving.store.artifacts import Pushing, push_model
from fairlead.serving.store.errors import Stopped
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.oci import Descriptor
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.pull import Options, Pulled, pull, resolve
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel, Reader
from serving.store.models import QUICK


class Watched(LayoutRepository):
    """A layout that counts what is read of it, may stop after so many bytes, and may lie."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read = 0
        self.stop_after: int | None = None
        self.cancel = Cancel()
        self.lie: Callable[[bytes], bytes] = lambda part: part

    def open_blob(self, descriptor: Descriptor, start: int, end: int) -> Reader:  # type: ignore[override]
        return _Watching(self, super().open_blob(descriptor, start, end))


@dataclass
class _Watching:
    of: Watched
    reader: Reader

    def readinto(self, into: memoryview) -> int:
        if self.of.stop_after is not None and self.of.read >= self.of.stop_after:
            self.of.cancel.set()
            raise Stopped("stopped")
        count = self.reader.readinto(into[: 64 << 10])
        into[:count] = self.of.lie(bytes(into[:count]))
        self.of.read += count
        return count

    def close(self) -> None:
        self.reader.close()


def pushed(model: Path, at: Path, tag: str = "v1", **how: object) -> None:
    push_model(Pushing(model, parse_reference(f"layout://{at}:{tag}"), **how), Silent(), Cancel())  # type: ignore[arg-type]


def fetch(
    layout: Path | Watched, target: Path, tag: str = "v1", progress: Silent | None = None, **options: object
) -> Pulled:
    repository = layout if isinstance(layout, Watched) else Watched(layout)
    digest, manifest = resolve(repository, tag)
    return pull(
        repository,
        digest,
        manifest,
        target,
        reference="test",
        settings=QUICK,
        options=Options(**{"threads": 2, **options}),  # type: ignore[arg-type]
        progress=progress or Silent(),
        cancel=repository.cancel,
    )
