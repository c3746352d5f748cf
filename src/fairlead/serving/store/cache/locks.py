"""Locks between processes, which the kernel lets go of when their holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event

_POLL_S = 0.02


class Busy(Exception):
    """Somebody else holds the lock, and still does after the time given."""


@contextlib.contextmanager
def locked(path: Path, timeout_s: float, *, wait: Event | None = None) -> Iterator[None]:
    """Holds the lock of a file, which is made where it is not there. Raises Busy, OSError."""
    descriptor = take(path, timeout_s, wait=wait)
    try:
        yield
    finally:
        os.close(descriptor)


def take(path: Path, timeout_s: float, *, wait: Event | None = None) -> int:
    """The descriptor that holds the lock; closing it lets go. Raises Busy, OSError.

    The file may be replaced or removed by whoever held it before: then the lock is taken on the new one.
    """
    waiting = wait or Event()
    attempts = max(1, round(timeout_s / _POLL_S))
    for attempt in range(attempts):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if attempt + 1 < attempts:
                waiting.wait(_POLL_S)
            continue
        except BaseException:
            os.close(descriptor)
            raise
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)
    raise Busy(f"another process holds {path}")


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there, mine = os.stat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
