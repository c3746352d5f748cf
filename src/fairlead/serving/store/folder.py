"""A pulled model on disk: what it says of itself, where it grows, and how it takes its place in one step."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fairlead.serving.store.errors import NoSpace, StoreError
from fairlead.serving.store.layers import check_links, files_below, lay_over
from fairlead.serving.store.oci import Manifest
from fairlead.serving.store.pack import MARK
from fairlead.serving.store.plan import Plan
from fairlead.serving.store.repository import Cancel

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_LOOK_S = 0.2


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Content of the file MARK in a pulled folder: where it came from, and the manifest that it is.

    `unpacked`: sizes of the files that came out of archives, of which the manifest says nothing.
    """

    reference: str
    digest: str
    manifest: Manifest
    unpacked: dict[str, int] = {}


def read_mark(folder: Path) -> Mark | None:
    """What a folder was pulled from; None: it was not pulled."""
    try:
        return msgspec.json.decode((folder / MARK).read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def write_mark(folder: Path, mark: Mark) -> None:
    (folder / MARK).write_bytes(msgspec.json.encode(mark))


class Partial:
    """The folder beside the target in which a pull grows: `files/`, and a journal of what has been fetched.

    Archives are unpacked into `layers/NUMBER`, which is there when all of one is, and laid over each other at the end.
    The name carries the manifest's digest: a pull that was killed is taken up by the next one for the same content.
    """

    def __init__(self, target: Path, digest: str) -> None:
        self.target = target
        self.folder = target.parent / f".{target.name}.{digest.removeprefix('sha256:')[:16]}.partial"
        self.files = self.folder / "files"
        self.layers = self.folder / "layers"
        self._journal = self.folder / "journal"
        self._laying = self.folder / "laying"

    @contextmanager
    def locked(self, cancel: Cancel, note: Callable[[str], None]) -> Iterator[None]:
        """Hold the folder, waiting for another process that pulls the same into it. Raises StoreError."""
        descriptor = self._open()
        try:
            said = False
            while not self._is_held(descriptor):
                if not said:
                    note(f"{self.target}: another process is pulling this very artifact there; waiting for it")
                said = True
                cancel.sleep(_LOOK_S)
                os.close(descriptor)
                descriptor = self._open()
            yield
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            self.files.mkdir(parents=True, exist_ok=True)
            return os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise told(error, self.folder) from error

    def _is_held(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have put its content in place, and removed it.
            return os.path.samestat(os.fstat(descriptor), os.stat(self.folder))
        except (BlockingIOError, FileNotFoundError):
            return False

    def tidy(self, plan: Plan) -> None:
        """Remove what an attempt that was killed has left of archives, as far as nobody knows whether it is whole."""
        planned = {file.path for file in plan.files}
        for path in [path for path in files_below(self.files) if path not in planned]:
            (self.files / path).unlink()
        if self._laying.exists():
            shutil.rmtree(self.layers, ignore_errors=True)
            self._laying.unlink()
        if self.layers.is_dir():
            for unfinished in self.layers.glob("*.part"):
                shutil.rmtree(unfinished)

    def lay_layers(self, plan: Plan, folders: Sequence[Path], where: str) -> dict[str, int]:
        """Lay unpacked archives over each other into the files; the sizes of the files that came of it."""
        planned = {file.path for file in plan.files}
        self._laying.touch()
        for archive, folder in zip(plan.archives, folders, strict=True):
            lay_over(folder, self.files, whiteouts=bool(archive.strip), others=planned, where=where)
        check_links(self.files, where)
        found = {path: self.files / path for path in files_below(self.files) if path not in planned}
        return {path: at.lstat().st_size for path, at in sorted(found.items()) if not at.is_symlink()}

    def remembered(self) -> dict[int, set[tuple[int, int]]]:
        """Ranges of layers (by their number in the plan's files) that were fetched before."""
        ranges: dict[int, set[tuple[int, int]]] = {}
        try:
            lines = self._journal.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        for line in lines:
            match line.split():
                case ["range", number, start, end] if number.isdecimal() and start.isdecimal() and end.isdecimal():
                    ranges.setdefault(int(number), set()).add((int(start), int(end)))
                # A line cut short by a kill is as if it had not been written.
        return ranges

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        with open(self._journal, "ab", buffering=0) as file:
            yield Journal(file.fileno())

    def forget(self) -> None:
        """Drop the journal: everything is fetched anew."""
        self._journal.unlink(missing_ok=True)

    def drop_if_empty(self) -> None:
        """Leave nothing behind where nothing has been fetched."""
        if not self.layers.exists() and next(files_below(self.files), None) is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def take_place(self, durable: bool) -> None:
        """Put the files where the target is, in one step; what was there is removed, and so are older attempts."""
        if durable:
            for folder in [self.files, *(path for path in self.files.rglob("*") if path.is_dir())]:
                _sync_folder(folder)
        if self.target.exists():
            _exchange(self.files, self.target)
        else:
            self.files.rename(self.target)
        if durable:
            _sync_folder(self.target.parent)
        shutil.rmtree(self.folder, ignore_errors=True)
        pattern = re.compile(rf"\.{re.escape(self.target.name)}\.[0-9a-f]{{16}}\.partial")
        for leftover in list(self.target.parent.iterdir()):
            if pattern.fullmatch(leftover.name):
                _remove_abandoned(leftover)


class Journal:
    """Appends single lines, each in one write, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def add(self, *words: object) -> None:
        # A newline first as well: a line that a kill cut short must not swallow this one.
        os.write(self._descriptor, ("\n" + " ".join(map(str, words)) + "\n").encode())


def check_space(plan: Plan, partial: Partial, linked: Iterable[str]) -> None:
    """Raises NoSpace, with how much is missing, if the files will not fit. `linked`: paths that need no room."""
    without = set(linked)
    wanted = sum(archive.layer.size for archive in plan.archives)
    for file in plan.files:
        if file.path not in without:
            path = partial.files / file.path
            there = path.stat().st_blocks * 512 if path.exists() else 0
            wanted += max(0, file.size - there)
    stats = os.statvfs(partial.folder)
    free = stats.f_bavail * stats.f_frsize
    if wanted > free:
        raise NoSpace(
            f"{partial.target}: {wanted:,} bytes are still wanted, {free:,} are free on its file system: "
            f"{wanted - free:,} are missing; free them, or pull to another disk"
        )


def check_target(target: Path, replace: bool) -> None:
    """Raises StoreError if the target holds what was not pulled, and is not to be replaced."""
    if not target.exists() or replace or read_mark(target) is not None:
        return
    if not target.is_dir() or any(target.iterdir()):
        raise StoreError(f"{target}: holds something that was not pulled; name another folder, or --replace it")


def files_of(target: Path, digest: str, plan: Plan) -> tuple[str, ...] | None:
    """The files of the target if it already is this artifact, by its mark and their sizes; else None."""
    mark = read_mark(target)
    if mark is None or mark.digest != digest or (plan.archives and not mark.unpacked):
        return None
    sizes = {file.path: file.size for file in plan.files} | mark.unpacked
    try:
        whole = all((target / path).stat().st_size == size for path, size in sizes.items())
    except OSError:
        return None
    return tuple(sorted(sizes)) if whole else None


def copy_range(source: Path, source_offset: int, descriptor: int, offset: int, size: int) -> bool:
    """Copy bytes from file to file within the kernel, sharing blocks where the file system can; whether all came."""
    try:
        origin = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        done = 0
        while done < size:
            count = os.copy_file_range(origin, descriptor, size - done, source_offset + done, offset + done)
            if count == 0:
                return False
            done += count
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    finally:
        os.close(origin)
    return True


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders so that nobody ever finds neither (renameat2, Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return
    # File systems without exchange: for a moment there is nothing.
    aside = one.with_name("replaced")
    other.rename(aside)
    one.rename(other)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(partial: Path) -> None:
    """Remove what an older attempt left, unless it is still under way."""
    try:
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(partial, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def told(error: OSError, path: Path) -> StoreError:
    """A failure of the file system as one that a person can act on."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"{path}: the disk is full")
    return StoreError(f"{path}: cannot be written: {error.strerror}")
