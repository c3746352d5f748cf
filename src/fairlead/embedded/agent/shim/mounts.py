"""Make volumes appear at their mount paths for one container only, in a private mount namespace.

A mount point that the host lacks is made without touching the host: the directory that would hold it is covered by a
tmpfs in which every present entry is bound again (for `/` itself the process moves into such a new root).
Without root a user namespace that maps only the caller's own ids grants the same; where that too is refused,
`enter` raises OSError and the caller falls back to announcing the volumes by environment variables.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.embedded.agent.shim.processes import check, libc

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_MOVE = 1, 32, 4096, 8192
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_MNT_DETACH = 2
_FLAGS = {"nosuid": 2, "nodev": 4, "noexec": 8}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "arm64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}


@dataclass(frozen=True, slots=True)
class Mount:
    """`source` (absolute, on the host) is seen at `target` (absolute, as the container says it).

    `flags` are of nosuid, nodev and noexec.
    """

    source: str
    target: str
    read_only: bool = False
    flags: tuple[str, ...] = ()

    @property
    def restrictions(self) -> int:
        return (_MS_RDONLY if self.read_only else 0) | sum(_FLAGS[flag] for flag in self.flags)


def enter(mounts: Sequence[Mount], scratch: str) -> None:
    """Move this process into a private mount namespace with the mounts made, outer paths first.

    `scratch` is an empty directory used while building. Raises OSError where the system refuses.
    """
    _unshare()
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    for mount in sorted(mounts, key=lambda m: m.target.count("/")):
        target = _ensure_target(mount.target, os.path.isdir(mount.source), scratch)
        _mount(mount.source, target, None, _MS_BIND | _MS_REC)
        if mount.restrictions:
            _mount(None, target, None, _MS_BIND | _MS_REMOUNT | mount.restrictions | _locked_flags(target))


def join(pid: int) -> None:
    """Move this process into the mount namespace (and user namespace, if another) of process `pid`."""
    for kind in ("user", "mnt"):
        own, other = f"/proc/self/ns/{kind}", f"/proc/{pid}/ns/{kind}"
        if os.readlink(own) == os.readlink(other):
            continue
        descriptor = os.open(other, os.O_RDONLY | os.O_CLOEXEC)
        try:
            check(libc.setns(descriptor, 0), f"enter the {kind} namespace of process {pid}")
        finally:
            os.close(descriptor)


def _unshare() -> None:
    if libc.unshare(_CLONE_NEWNS) == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(_CLONE_NEWNS | _CLONE_NEWUSER), "make a private mount namespace")
    for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(content)


def _ensure_target(path: str, directory: bool, scratch: str) -> str:
    parent, name = os.path.split(os.path.normpath(path))
    if not name:
        raise OSError(22, f"mount path {path!r} is the root of the file system")
    parent = _ensure_directory(parent, scratch)
    target = os.path.realpath(os.path.join(parent, name))
    if not os.path.lexists(target):
        _cover(os.path.dirname(target), scratch)
        _create(target, directory)
    return target


def _ensure_directory(path: str, scratch: str) -> str:
    real = os.path.realpath(path)
    if os.path.isdir(real):
        return real
    present = os.path.dirname(real)
    while not os.path.isdir(present):
        present = os.path.dirname(present)
    _cover(present, scratch)
    os.makedirs(real, exist_ok=True)
    return real


def _create(target: str, directory: bool) -> None:
    if directory:
        os.mkdir(target)
    else:
        with open(target, "x"):
            pass


def _cover(directory: str, scratch: str) -> None:
    """Cover `directory` with a tmpfs that shows the same entries, unless it already is such a cover."""
    if directory in _covers:
        return
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    _mount("fairlead", scratch, "tmpfs", 0, f"mode={mode:o}")
    for entry in os.scandir(directory):
        copy = os.path.join(scratch, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), copy)
            continue
        _create(copy, entry.is_dir())
        # An entry that vanishes or may not be bound (a foreign FUSE mount) is left empty.
        with contextlib.suppress(OSError):
            _mount(entry.path, copy, None, _MS_BIND | _MS_REC)
    if directory == "/":
        _pivot(scratch)
    else:
        _mount(scratch, directory, None, _MS_MOVE)
    _covers.add(directory)


_covers: set[str] = set()


def _pivot(new_root: str) -> None:
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(38, f"new mount points in / are not supported on {platform.machine()}")
    os.chdir(new_root)
    # With both arguments ".", the old root is stacked under the new one and can be detached at once.
    check(libc.syscall(number, b".", b"."), "change the root of the mount namespace")
    check(libc.umount2(b".", _MNT_DETACH), "detach the old root")
    os.chdir("/")


def _locked_flags(path: str) -> int:
    # Flags such as nosuid and nodev that came with the source may not be dropped by a remount in a user namespace.
    return os.statvfs(path).f_flag & (2 | 4 | 8 | 1024 | 2048)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    result = libc.mount(*encoded, ctypes.c_ulong(flags), None if data is None else data.encode())
    check(result, f"mount {source or kind or ''} on {target}")
