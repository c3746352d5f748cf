"""Device nodes of edits, completed from the host's.

A spec may leave a node's type, numbers and mode to the host. One whose type and major number are given (or that is a
pipe) is taken as it is, whether the host has it or not, only its mode is looked up: a vendor may describe a node that
appears later. For any other the host must have a device node there, of the type that is given, if one is. "u", the
unbuffered character device, is a character device to the host; the reference implementation finds no such type there
and fails.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from fairlead.devices.cdi.errors import DeviceNodesError, Problem
from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode


def complete_device_nodes(edits: ContainerEdits, root: Path | str = "/") -> ContainerEdits:
    """The edits with every device node's type, numbers and mode filled in, from the tree below `root`. Raises
    DeviceNodesError with all nodes that cannot be."""
    if not edits.device_nodes:
        return edits
    problems: list[Problem] = []
    nodes = []
    for node in edits.device_nodes:
        try:
            nodes.append(_complete(node, Path(root)))
        except _Unusable as error:
            problems.append(Problem(node.path, str(error)))
    if problems:
        raise DeviceNodesError(problems)
    return msgspec.structs.replace(edits, device_nodes=tuple(nodes))


class _Unusable(Exception):
    pass


def _complete(node: DeviceNode, root: Path) -> DeviceNode:
    host_path = node.host_path or node.path
    described = node.type != "" and (node.major != 0 or node.type == "p")
    try:
        found = os.lstat(root / host_path.lstrip("/"))
        kind = _type_of(found)
    except OSError as error:
        if described:
            return node
        raise _Unusable(f"the host has no device node {host_path} ({error.strerror})") from error
    if not kind:
        if described:
            return node
        raise _Unusable(f"{host_path} on the host is no device node")
    mode = stat.S_IMODE(found.st_mode) if node.file_mode is None else node.file_mode
    if described:
        return msgspec.structs.replace(node, file_mode=mode)
    if node.type not in ("", kind) and not (node.type == "u" and kind == "c"):
        raise _Unusable(f'expected a node of type "{node.type}", but {host_path} on the host is of type "{kind}"')
    kind = node.type or kind
    if kind == "p":
        return msgspec.structs.replace(node, type=kind, file_mode=mode)
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    if node.major != 0:
        major, minor = node.major, node.minor
    return msgspec.structs.replace(node, type=kind, major=major, minor=minor, file_mode=mode)


def _type_of(found: os.stat_result) -> str:
    """b, c or p; empty for what is no device node."""
    if stat.S_ISBLK(found.st_mode):
        return "b"
    if stat.S_ISCHR(found.st_mode):
        return "c"
    return "p" if stat.S_ISFIFO(found.st_mode) else ""
