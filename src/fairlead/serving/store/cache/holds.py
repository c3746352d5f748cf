"""Which models pods use: for as long as a pod lives, a process of it holds the lock of its folder.

The kernel lets go of the lock however the pod ends, so nobody needs to ask an API server. A folder whose lock is free
belongs to a pod that is over, or whose holder is being started again: it counts for GRACE_S more. A holder that is told
to stop takes its folder away at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from pathlib import Path
from threading import Event

from fairlead.serving.store.cache import locks
from fairlead.serving.store.cache.places import Places, digest_of

GRACE_S = 60.0
_TAKE_S = 15.0
_SLOT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_LOCK, _FREE = "lock", "free-since"


def hold(places: Places, uid: str, stop: Event) -> None:
    """Keeps the models of a pod until told to stop. Raises locks.Busy, OSError."""
    folder = places.pod(uid)
    descriptor = _take(folder)
    try:
        (folder / _FREE).unlink(missing_ok=True)
        stop.wait()
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def hold_until_told(places: Places, uid: str) -> None:
    """As `hold`, until SIGTERM or SIGINT."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    hold(places, uid, stop)


def is_held(places: Places, uid: str) -> bool:
    """Whether the pod's holder is there."""
    return locks.is_held(places.pod(uid) / _LOCK)


def users(places: Places, now_s: float, own_uid: str = "") -> dict[str, list[str]]:
    """Digest -> uids of the pods that use it. Folders of pods that are over are taken away.

    `own_uid`: a pod that is alive in any case. Call with the cache's lock held.
    """
    found: dict[str, list[str]] = {}
    for folder in _folders(places.pods):
        if folder.name != own_uid and _remove_if_over(folder, now_s):
            continue
        for link in _links(folder):
            digest = digest_of(Path(os.readlink(link)).parts[3]) if _is_ours(link) else None
            if digest is not None:
                found.setdefault(digest, []).append(folder.name)
    return found


def link(places: Places, uid: str, slot: str, target: str) -> Path:
    """Makes `pods/UID/SLOT` lead to `target` (below entries/). Raises OSError, ValueError."""
    if not _SLOT.fullmatch(slot) or slot in (_LOCK, _FREE):
        raise ValueError(f"{slot!r} is no name for a model of a pod: letters, digits and . _ - between them")
    folder = places.pod(uid)
    folder.mkdir(exist_ok=True)
    return replace_link(folder / slot, f"../../entries/{target}")


def replace_link(path: Path, target: str) -> Path:
    """A link at `path`, in place of another one. Raises OSError."""
    if path.exists() and not path.is_symlink():
        raise FileExistsError(17, "something is there that is no link", str(path))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, path)
    return path


def _take(folder: Path) -> int:
    """The lock of a pod's folder, which may be taken away at the same moment as that of a pod that is over."""
    for _ in range(5):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return locks.take(folder / _LOCK, _TAKE_S)
    raise FileNotFoundError(2, "it is taken away again and again", str(folder))


def _remove_if_over(folder: Path, now_s: float) -> bool:
    # With the lock held, so that no holder comes back in between: one that waits for it makes the folder anew.
    try:
        descriptor = locks.take(folder / _LOCK, 0)
    except (locks.Busy, FileNotFoundError):
        return False
    try:
        is_over = _is_over(folder, now_s)
        if is_over:
            shutil.rmtree(folder, ignore_errors=True)
        return is_over
    finally:
        os.close(descriptor)


def _is_over(folder: Path, now_s: float) -> bool:
    """Whether the folder's lock has been free for longer than a holder takes to come back."""
    mark = folder / _FREE
    try:
        since_s = mark.stat().st_mtime
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            mark.touch()
            os.utime(mark, (now_s, now_s))
        return False
    # A clock that was set back must not keep it for ever.
    return not now_s - GRACE_S <= since_s <= now_s + GRACE_S


def _is_ours(link: Path) -> bool:
    parts = Path(os.readlink(link)).parts
    return len(parts) > 3 and parts[:3] == ("..", "..", "entries")


def _links(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if path.is_symlink()]
    return []


def _folders(root: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in root.iterdir() if path.is_dir()]
    return []
