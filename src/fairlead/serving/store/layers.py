"""Unpacked layers laid over each other, the later above the earlier, as an image's layers are meant to be.

A layer comes as a folder of its own, with its whiteouts in it (image specification, layer.md): `.wh.NAME` takes away
what lower layers have under that name, `.wh..wh..opq` all that they have in that folder. Files are moved, not copied.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from fairlead.serving.store.errors import BadArtifact

WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def lay_over(layer: Path, folder: Path, *, whiteouts: bool, others: Collection[str], where: str) -> None:
    """Move what is in `layer` over what is in `folder`. No link in either is followed.

    `others`: paths in the folder that layers of another kind make. Raises BadArtifact if this one would replace them.
    """
    for path in files_below(layer):
        if path in others:
            raise BadArtifact(f"{where}: two layers for the file {path!r}")
    _lay(layer, folder, whiteouts)


def files_below(folder: Path) -> Iterator[str]:
    """Paths of files and links, from the folder on; links to folders are not entered."""
    for root, folders, names in os.walk(folder):
        inside = os.path.relpath(root, folder)
        for name in [*names, *(name for name in folders if os.path.islink(os.path.join(root, name)))]:
            yield name if inside == "." else f"{inside}/{name}"


def check_links(folder: Path, where: str) -> None:
    """Raises BadArtifact if a link leads out of the folder: only now is it known what lies where it leads."""
    top = os.path.realpath(folder)
    for path in files_below(folder):
        at = folder / path
        if at.is_symlink() and not Path(os.path.realpath(at)).is_relative_to(top):
            raise BadArtifact(f"{where}: {path!r} leads outside")


def _lay(layer: Path, folder: Path, whiteouts: bool) -> None:
    entries = sorted(os.scandir(layer), key=lambda entry: entry.name)
    if whiteouts:
        # They speak of what is below this layer, so they come before its own files.
        for entry in entries:
            if entry.name == _OPAQUE:
                for below in list(folder.iterdir()):
                    _remove(below)
            elif entry.name.startswith(WHITEOUT):
                _remove(folder / entry.name.removeprefix(WHITEOUT))
    for entry in entries:
        target = folder / entry.name
        if whiteouts and entry.name.startswith(WHITEOUT):
            continue
        if entry.is_dir(follow_symlinks=False):
            if target.is_symlink() or not target.is_dir():
                _remove(target)
                target.mkdir()
            _lay(Path(entry.path), target, whiteouts)
        else:
            _remove(target)
            os.rename(entry.path, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
