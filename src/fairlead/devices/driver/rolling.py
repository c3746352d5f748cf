"""Two instances of a driver side by side, while a newer one takes the older one's place.

Each has sockets of its own, told apart by an instance id (the pod's UID), as the kubelet has allowed since Kubernetes
1.33; the kubelet uses the one that registered last and is connected, and either may get any call. They share the
checkpoint, under a lock that is held for each call. Two processes with the same id, or both without, would take each
other's sockets: the second refuses to start.

Names are those of upstream's kubelet plugin library: `<driver>-<id>-reg.sock` and `dra-<id>.sock`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.errors import CheckpointError, ServeError, TwoDrivers

MAX_SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path on Linux (`sockaddr_un.sun_path` less its end)."""
_LOCK_POLL_S: Final = 0.002
_PROBE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where one instance of a driver on one node has its files."""

    driver: str
    folder: Path
    registration: Path
    dra: Path
    life_lock: Path
    call_lock: Path


def places_of(kubelet_root: Path, driver: str, instance_id: str = "") -> Places:
    """The paths below the kubelet's folder. Raises ServeError for a path that no socket can have."""
    folder = kubelet_root / "plugins" / driver
    registry = kubelet_root / "plugins_registry"
    part = f"-{instance_id}" if instance_id else ""
    if instance_id and max(len(os.fsencode(registry / f"{driver}{part}-reg.sock")), 0) > MAX_SOCKET_PATH:
        part = f"-{hashlib.sha256(instance_id.encode()).hexdigest()[:10]}"
    places = Places(
        driver=driver,
        folder=folder,
        registration=registry / f"{driver}{part}-reg.sock",
        dra=folder / f"dra{part}.sock",
        life_lock=folder / f"driver{part}.lock",
        call_lock=folder / "serialize.lock",
    )
    for path in (places.registration, places.dra):
        length = len(os.fsencode(path))
        if length > MAX_SOCKET_PATH:
            raise ServeError(
                f"{path}: the socket's path has {length} bytes, at most {MAX_SOCKET_PATH} are possible; use a shorter "
                f"--kubelet-root (a symbolic link to it will do)"
            )
    return places


class LifeLock:
    """Held while an instance lives; goes with its process however it ends. Whoever wants it too learns whose it is."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises TwoDrivers, ServeError."""
        path, driver = self._places.life_lock, self._places.driver
        while True:
            try:
                path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise ServeError(f"{path}: cannot be made: {error.strerror}") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = _read_pid(descriptor)
                os.close(descriptor)
                raise _two_drivers(driver, path, pid) from None
            except OSError as error:
                os.close(descriptor)
                raise ServeError(f"{path}: cannot be locked: {error.strerror}") from error
            if _is_at(descriptor, path):
                break
            # Another instance cleared it away in between (`clear_dead_instances`): it would keep nobody out.
            os.close(descriptor)
        self._descriptor = descriptor
        # The pid is for people only: a full disk is no reason not to serve.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def clear_dead_instances(own: Places) -> list[Path]:
    """Remove the sockets and locks of other instances whose processes are gone; the sockets removed. The kubelet would
    knock on them for ever, and each update of the driver would leave some more. What cannot be removed stays."""
    removed = []
    for lock in sorted(own.folder.glob("driver*.lock")):
        part = lock.stem.removeprefix("driver")
        sockets = (own.registration.parent / f"{own.driver}{part}-reg.sock", own.folder / f"dra{part}.sock")
        if lock == own.life_lock or (part and not part.startswith("-")):
            continue
        with contextlib.suppress(OSError), open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
            for path in (path for path in sockets if path.is_socket()):
                path.unlink()
                removed.append(path)
            lock.unlink()
    return removed


class FileLock:
    """A lock that instances share, taken for each call. Not reentrant; within a process its users take turns."""

    def __init__(self, path: Path, *, clock: Clock = SYSTEM) -> None:
        self._path = path
        self._clock = clock
        self._turn = asyncio.Lock()
        self._descriptor: int | None = None

    @contextlib.asynccontextmanager
    async def held(self, limit_s: float) -> AsyncIterator[None]:
        """Raises CheckpointError when it is not free within the limit."""
        try:
            async with asyncio.timeout(limit_s):
                await self._turn.acquire()
        except TimeoutError:
            raise CheckpointError(f"an earlier call has not ended within {limit_s:g} s; try again later") from None
        try:
            await self._take(limit_s)
            try:
                yield
            finally:
                self._give()
        finally:
            self._turn.release()

    async def _take(self, limit_s: float) -> None:
        deadline_s = self._clock.monotonic_s() + limit_s
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CheckpointError(f"{self._path}: cannot be made: {error.strerror}") from error
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self._clock.monotonic_s() >= deadline_s:
                    raise CheckpointError(
                        f"{self._path}: another instance of the driver has held it for {limit_s:g} s; try again later"
                    ) from None
            except OSError as error:
                raise CheckpointError(f"{self._path}: cannot be locked: {error.strerror}") from error
            await self._clock.sleep(_LOCK_POLL_S)

    def _give(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def clear_socket(path: Path, driver: str) -> None:
    """Make way for a socket: one that a dead process left is removed. Raises TwoDrivers where a process listens on it,
    ServeError where something else is in the way."""
    try:
        if not path.exists() and not path.is_symlink():
            return
        if not path.is_socket():
            raise ServeError(f"{path}: is no socket, though the driver's must be there; remove it")
        pid = listener_of(path)
        if pid is not None:
            raise _two_drivers(driver, path, pid)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ServeError(f"{path}: cannot be cleared: {error.strerror}") from error


def listener_of(path: Path) -> int | None:
    """The pid of the process that listens on a socket (0 where it cannot be told); None where nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:
            return 0  # its queue is full: somebody is there
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _read_pid(descriptor: int) -> int:
    try:
        return int(os.pread(descriptor, 32, 0))
    except (ValueError, OSError):
        return 0


def _two_drivers(driver: str, path: Path, pid: int) -> TwoDrivers:
    who = f"process {pid}" if pid else "another process"
    return TwoDrivers(
        f'two drivers for one name: {who} serves driver "{driver}" here ({path}); end it, give this one another '
        f"--driver-name, or, to have them side by side during an update, an --instance-id of its own",
        pid,
    )
