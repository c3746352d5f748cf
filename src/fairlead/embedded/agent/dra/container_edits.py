"""CDI edits applied to a container that is a process of this machine.

The edits come last, over what the pod says, as runtimes apply them to a finished configuration: a variable that a
device sets wins over the container's own.

- Mounts and device nodes that are elsewhere in the container are bound there in its mount namespace. Without one they
  are linked where nothing is in the way, and `FAIRLEAD_PATH_<PATH IN THE CONTAINER>` names each on the machine.
- A network device stays where it is, as processes share the machine's network: it must exist, and
  `FAIRLEAD_NET_<NAME IN THE CONTAINER>` holds its name here.
- Hooks are left to the container's shim.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.devices.cdi import edits as cdi
from fairlead.devices.cdi.rules import HOOK_NAMES
from fairlead.devices.cdi.spec import ContainerEdits, Hook, Mount
from fairlead.embedded.agent.container import MARK
from fairlead.embedded.agent.dra.device_nodes import DeviceNodeError, Identity, give
from fairlead.embedded.agent.dra.node_devices import EditsError

NETWORK = Path("/sys/class/net")
_BIND_TYPES = ("", "bind", "none")
_READ_ONLY = "ro"
_FLAGS = ("nosuid", "nodev", "noexec")
_NEUTRAL = frozenset(
    ("bind", "rbind", "rw", "defaults", "suid", "dev", "exec", "relatime", "strictatime")
    + ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
)
"""Options that change nothing in a namespace that is private anyway."""

Link = Callable[[str, str], bool]
"""Make a link to a source at a target; False where something is in the way."""


def apply_edits(config: dict[str, Any], edits: ContainerEdits, folder: Path, *, can_mount: bool, link: Link) -> None:
    """Change a shim's configuration. `folder` is the container's own. Raises EditsError."""
    if edits.intel_rdt is not None:
        raise EditsError(
            "a CDI device asks for an Intel RDT class, which containers of this node (processes of the machine) "
            "cannot be given"
        )
    mark = config["env"][MARK]
    config["env"] = {**cdi.environment(edits, config["env"]), MARK: mark}
    config["groups"] = list(dict.fromkeys([*config["groups"], *cdi.additional_gids(edits)]))
    paths = _device_nodes(config, edits, folder / "devices" if can_mount and os.geteuid() == 0 else None)
    paths += [_mount(mount) for mount in cdi.mounts(edits)]
    # What is there already, and may be written, needs nothing.
    paths = [path for path in paths if _differs(path)]
    if can_mount:
        config["mounts"] = [*config["mounts"], *paths]
    else:
        _announce(config, paths, link)
    _network(config, edits)
    hooks = {stage: [_hook(hook) for hook in cdi.hooks(edits, stage)] for stage in HOOK_NAMES}
    config["hooks"] = {stage: listed for stage, listed in hooks.items() if listed}


def _device_nodes(config: dict[str, Any], edits: ContainerEdits, own_nodes: Path | None) -> list[dict[str, Any]]:
    uid = os.geteuid() if config["uid"] is None else config["uid"]
    gid = os.getegid() if config["gid"] is None else config["gid"]
    groups = config["groups"] if os.geteuid() == 0 else os.getgroups()
    who = Identity(uid, gid, groups)
    given = []
    for node in cdi.device_nodes(edits):
        try:
            found = give(node, who, own_nodes)
        except DeviceNodeError as error:
            raise EditsError(str(error)) from error
        given.append({"source": found.source, "target": found.target, "read_only": False})
    return given


def _mount(mount: Mount) -> dict[str, Any]:
    where = f"CDI mount of {mount.host_path or mount.type} at {mount.container_path}"
    options = set(mount.options)
    unknown = options - {_READ_ONLY, *_FLAGS} - _NEUTRAL
    if mount.type not in _BIND_TYPES:
        raise EditsError(f'{where}: type "{mount.type}" is not offered by this node, only bind mounts are')
    if unknown:
        raise EditsError(f"{where}: options {', '.join(sorted(unknown))} are not offered by this node")
    if not os.path.exists(mount.host_path):
        raise EditsError(f"{where}: {mount.host_path} is not on this machine")
    return {
        "source": mount.host_path,
        "target": mount.container_path,
        "read_only": _READ_ONLY in options,
        "flags": [flag for flag in _FLAGS if flag in options],
    }


def _differs(path: dict[str, Any]) -> bool:
    same = os.path.normpath(path["source"]) == os.path.normpath(path["target"])
    return not same or path["read_only"] or bool(path.get("flags"))


def _announce(config: dict[str, Any], paths: list[dict[str, Any]], link: Link) -> None:
    for path in paths:
        source, target = path["source"], path["target"]
        config["env"][f"FAIRLEAD_PATH_{_variable(target)}"] = source
        if os.path.normpath(source) != os.path.normpath(target) and link(source, target):
            config["links"].append([source, target])


def _network(config: dict[str, Any], edits: ContainerEdits) -> None:
    for interface, name in cdi.net_devices(edits).items():
        if not (NETWORK / interface).exists():
            raise EditsError(f"network interface {interface} of a CDI device is not on this machine")
        config["env"][f"FAIRLEAD_NET_{_variable(name)}"] = interface


def _hook(hook: Hook) -> dict[str, Any]:
    return {"path": hook.path, "args": list(hook.args), "env": list(hook.env), "timeout_s": hook.timeout}


def _variable(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", text.strip("/").upper())
