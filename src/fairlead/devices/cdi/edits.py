"""Container edits: merged, and applied to what is run.

`merge` puts edits one after the other, as the reference implementation does before it injects them: it is associative
and keeps everything, with one exception: the last Intel RDT settings win whole. What counts among repeated entries is
decided where edits are applied, here once for all who apply them:

- environment: the last value of a variable, at the place of its first (`environment`);
- device nodes: the last of a path in the container, at the place of that last one (`device_nodes`);
- mounts: the last of a path in the container; then all by depth of that path, so that none hides another
  (`mounts`, `sort_mounts`);
- network devices: the last container name of a host interface (`net_devices`);
- groups: each once, never 0 (`additional_gids`);
- hooks: all, in order (`hooks`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode, Hook, Mount

_T = TypeVar("_T")


def merge(edits: Iterable[ContainerEdits]) -> ContainerEdits:
    """All of them, in order."""
    parts = list(edits)
    rdt = None
    for part in parts:
        if part.intel_rdt is not None:
            rdt = part.intel_rdt
    return ContainerEdits(
        env=_joined(part.env for part in parts),
        device_nodes=_joined(part.device_nodes for part in parts),
        net_devices=_joined(part.net_devices for part in parts),
        hooks=_joined(part.hooks for part in parts),
        mounts=_joined(part.mounts for part in parts),
        intel_rdt=rdt,
        additional_gids=_joined(part.additional_gids for part in parts),
    )


def environment(edits: ContainerEdits, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """`base` with the edits' variables set. An entry without "=" (which no valid spec has) sets an empty value."""
    result = dict(base or {})
    for entry in edits.env:
        name, _, value = entry.partition("=")
        result[name] = value
    return result


def device_nodes(edits: ContainerEdits) -> list[DeviceNode]:
    """The nodes a container gets: one a path, the last one named."""
    by_path: dict[str, DeviceNode] = {}
    for node in edits.device_nodes:
        by_path.pop(node.path, None)
        by_path[node.path] = node
    return list(by_path.values())


def mounts(edits: ContainerEdits) -> list[Mount]:
    """The mounts a container gets, in the order in which to make them: one a path, the last one named."""
    by_path: dict[str, Mount] = {}
    for mount in edits.mounts:
        by_path.pop(mount.container_path, None)
        by_path[mount.container_path] = mount
    return sorted(by_path.values(), key=lambda mount: path_depth(mount.container_path))


def hooks(edits: ContainerEdits, stage: str) -> list[Hook]:
    """The hooks of one stage (`rules.HOOK_NAMES`), in the order in which to run them."""
    return [hook for hook in edits.hooks if hook.hook_name == stage]


def net_devices(edits: ContainerEdits) -> dict[str, str]:
    """Host interface -> its name in the container."""
    return {device.host_interface_name: device.name for device in edits.net_devices}


def additional_gids(edits: ContainerEdits) -> list[int]:
    """The groups a process gets beside its own: each once, in order. A 0 in the edits means nothing."""
    return [gid for gid in dict.fromkeys(edits.additional_gids) if gid != 0]


def path_depth(path: str) -> int:
    """How many parts a path has once "." , ".." and doubled "/" are taken out."""
    return posixpath.normpath("/" + path.lstrip("/")).count("/") if path else 0


def _joined(parts: Iterable[Sequence[_T]]) -> tuple[_T, ...]:
    return tuple(chain.from_iterable(parts))
