"""Device nodes of CDI edits, as a process that shares the machine's file system gets them.

A node must be on the machine, of the type and numbers that the specification gives, if it gives any. Its place in the
container may be another: then it is bound there. Where the container's user may not open the machine's node, a node of
its own is made, with the owner and mode that an OCI runtime would give it; that takes root and a mount namespace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fairlead.devices.cdi.rules import NO_PERMISSIONS
from fairlead.devices.cdi.spec import DeviceNode

_NODEV = 4
_TYPES = {"b": stat.S_ISBLK, "c": stat.S_ISCHR, "u": stat.S_ISCHR, "p": stat.S_ISFIFO}


class DeviceNodeError(Exception):
    """A device node cannot be given to the container; the message names the node and what is wrong."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the container's process is."""

    uid: int
    gid: int
    groups: Collection[int]


@dataclass(frozen=True, slots=True)
class GivenNode:
    """`source` on the machine is to be seen at `target`."""

    source: str
    target: str


def give(node: DeviceNode, who: Identity, own_nodes: Path | None) -> GivenNode:
    """`own_nodes` is where nodes of the container's own may be made; None where it cannot have any.

    Raises DeviceNodeError.
    """
    source = node.host_path or node.path
    try:
        found = os.stat(source)
    except OSError as error:
        raise DeviceNodeError(f"device node {source} is not on this machine ({error.strerror})") from error
    _check(node, source, found)
    wanted = _wanted(node)
    if _may_open(found, who, wanted):
        return GivenNode(source, node.path)
    uid, gid, mode = _owner(node, found, who)
    if own_nodes is None or not _allows(mode, uid, gid, who, wanted):
        raise DeviceNodeError(
            f"device node {source} (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}:{found.st_gid}) "
            f"cannot be opened by user {who.uid} with groups {sorted({who.gid, *who.groups})}: give the container "
            "another user, or the device node another owner or mode"
        )
    return GivenNode(_make(own_nodes, node.path, found, uid, gid, mode), node.path)


def _check(node: DeviceNode, source: str, found: os.stat_result) -> None:
    kinds = [node.type] if node.type else list(_TYPES)
    if not any(_TYPES[kind](found.st_mode) for kind in kinds):
        expected = f'of type "{node.type}"' if node.type else "a device node"
        raise DeviceNodeError(f"{source} is not {expected}, but {stat.filemode(found.st_mode)}")
    numbers = (os.major(found.st_rdev), os.minor(found.st_rdev))
    if node.type != "p" and node.major and (node.major, node.minor) != numbers:
        raise DeviceNodeError(
            f"device node {source} has the numbers {numbers[0]}:{numbers[1]}, expected {node.major}:{node.minor}: "
            "another driver may have taken its place"
        )


def _wanted(node: DeviceNode) -> int:
    """Permission bits (4 read, 2 write) that the container is to have; both by default."""
    if node.permissions == NO_PERMISSIONS:
        return 0
    letters = node.permissions or "rw"
    return 4 * ("r" in letters) + 2 * ("w" in letters)


def _may_open(found: os.stat_result, who: Identity, wanted: int) -> bool:
    return _allows(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, who, wanted)


def _allows(mode: int, uid: int, gid: int, who: Identity, wanted: int) -> bool:
    if who.uid == 0:
        return True
    shift = 6 if uid == who.uid else 3 if gid == who.gid or gid in who.groups else 0
    return mode >> shift & wanted == wanted


def _owner(node: DeviceNode, found: os.stat_result, who: Identity) -> tuple[int, int, int]:
    """Owner, group and mode of a node in the container: the edits', else the container's user, else the machine's."""
    uid = who.uid if node.uid is None else node.uid
    gid = found.st_gid if node.gid is None else node.gid
    mode = found.st_mode if node.file_mode is None else node.file_mode
    return uid, gid, stat.S_IMODE(mode)


def _make(own_nodes: Path, path: str, found: os.stat_result, uid: int, gid: int, mode: int) -> str:
    own_nodes.mkdir(parents=True, exist_ok=True)
    made = str(own_nodes / path.strip("/").replace("/", "-"))
    if os.statvfs(own_nodes).f_flag & _NODEV:
        raise DeviceNodeError(f"device node {path} for user {uid} cannot be made: {own_nodes} is mounted with nodev")
    try:
        os.mknod(made, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev)
        os.chown(made, uid, gid)
        os.chmod(made, mode)
    except OSError as error:
        raise DeviceNodeError(f"device node {path} for user {uid} cannot be made: {error.strerror}") from error
    return made
