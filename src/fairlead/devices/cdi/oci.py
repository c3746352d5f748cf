"""Edits applied to a container configuration of the OCI runtime specification (a bundle's config.json).

Pure: the configuration that is given stays as it is. Orders and replacements are those of the reference
implementation: a variable keeps its place and takes the last value; a device node or a mount replaces the one at its
path and goes to the end; mounts are then sorted by depth, equal ones in the order they had; every block or character
device gets a cgroup rule (one of type "u" gets none, nor does a pipe); a bind mount in a container with a user
namespace is mapped to it; hooks come after those that are there; Intel RDT settings are replaced whole. Fields that
edits do not touch, known or not, are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.devices.cdi.edits import device_nodes, hooks, mounts, net_devices, path_depth
from fairlead.devices.cdi.errors import ContainerConfigError
from fairlead.devices.cdi.rules import NO_PERMISSIONS
from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode, Hook, IntelRdt, Mount

Json = dict[str, Any]


def apply_to_oci(config: Mapping[str, Any], edits: ContainerEdits) -> Json:
    """The configuration with the edits made. Device nodes must be complete (`nodes.complete_device_nodes`). Raises
    ContainerConfigError for a configuration of another form, or an incomplete node."""
    result = dict(config)
    if edits.env:
        _set_env(_object(result, "process", "process"), edits)
    if edits.device_nodes:
        _add_nodes(result, edits)
    if edits.net_devices:
        devices = _object(_object(result, "linux", "linux"), "netDevices", "linux.netDevices")
        devices.update({host: {"name": name} for host, name in net_devices(edits).items()})
    if edits.mounts:
        _add_mounts(result, edits)
    if edits.hooks:
        stages = _object(result, "hooks", "hooks")
        for stage in dict.fromkeys(hook.hook_name for hook in edits.hooks):
            _list(stages, stage, f"hooks.{stage}").extend(map(_hook, hooks(edits, stage)))
    if edits.intel_rdt is not None:
        _object(result, "linux", "linux")["intelRdt"] = _intel_rdt(edits.intel_rdt)
    if any(edits.additional_gids):
        _add_groups(result, edits)
    return result


def _set_env(process: Json, edits: ContainerEdits) -> None:
    env = _list(process, "env", "process.env")
    place = {str(entry).partition("=")[0]: index for index, entry in enumerate(env)}
    for entry in edits.env:
        name = entry.partition("=")[0]
        if name in place:
            env[place[name]] = entry
        else:
            place[name] = len(env)
            env.append(entry)


def _add_nodes(result: Json, edits: ContainerEdits) -> None:
    linux = _object(result, "linux", "linux")
    replaced = {node.path for node in edits.device_nodes}
    devices = _list(linux, "devices", "linux.devices")
    devices[:] = [other for other in devices if not (isinstance(other, dict) and other.get("path") in replaced)]
    devices.extend(_node(result, node) for node in device_nodes(edits))
    # Every node that is named has its rule, one that a later node of the same path replaces too.
    rules = [_cgroup_rule(node) for node in edits.device_nodes if node.type in ("b", "c")]
    if rules:
        resources = _object(linux, "resources", "linux.resources")
        _list(resources, "devices", "linux.resources.devices").extend(rules)


def _node(result: Json, node: DeviceNode) -> Json:
    if not node.type:
        raise ContainerConfigError(f"device node {node.path}: its type is not known; complete it from the host first")
    made: Json = {"path": node.path, "type": node.type, "major": node.major, "minor": node.minor}
    if node.file_mode is not None:
        made["fileMode"] = node.file_mode
    for key, named in (("uid", node.uid), ("gid", node.gid)):
        owner = _owner(result, named, key)
        if owner is not None:
            made[key] = owner
    return made


def _cgroup_rule(node: DeviceNode) -> Json:
    access = {"": "rwm", NO_PERMISSIONS: ""}.get(node.permissions, node.permissions)
    return {"allow": True, "type": node.type, "major": node.major, "minor": node.minor, "access": access}


def _owner(result: Json, named: int | None, key: str) -> int | None:
    """Who owns a node in the container: as the spec says, otherwise the container's user unless that is root."""
    if named is not None:
        return named
    process = result.get("process")
    user = process.get("user") if isinstance(process, dict) else None
    found = user.get(key) if isinstance(user, dict) else None
    return found if isinstance(found, int) and found > 0 else None


def _add_mounts(result: Json, edits: ContainerEdits) -> None:
    mapped = _has_user_namespace(result)
    replaced = {mount.container_path for mount in edits.mounts}
    kept = [mount for mount in _list(result, "mounts", "mounts") if _destination(mount) not in replaced]
    made = kept + [_mount(mount, mapped=mapped) for mount in mounts(edits)]
    result["mounts"] = sorted(made, key=lambda mount: path_depth(_destination(mount)))


def _destination(mount: Any) -> str:
    found = mount.get("destination") if isinstance(mount, dict) else None
    if not isinstance(found, str):
        raise ContainerConfigError("mounts: expected objects with a destination")
    return found


def _has_user_namespace(result: Json) -> bool:
    linux = result.get("linux")
    namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
    return any(isinstance(n, dict) and n.get("type") == "user" for n in namespaces or ())


def _mount(mount: Mount, *, mapped: bool) -> Json:
    options = list(mount.options)
    if mapped and not {"idmap", "ridmap"} & set(options):
        option = "idmap" if mount.type == "bind" else ""
        for name in options:
            option = {"bind": "idmap", "rbind": "ridmap"}.get(name, option)
        if option:
            options.append(option)
    made: Json = {"destination": mount.container_path}
    if mount.type:
        made["type"] = mount.type
    made["source"] = mount.host_path
    if options:
        made["options"] = options
    return made


def _hook(hook: Hook) -> Json:
    made: Json = {"path": hook.path}
    if hook.args:
        made["args"] = list(hook.args)
    if hook.env:
        made["env"] = list(hook.env)
    if hook.timeout is not None:
        made["timeout"] = hook.timeout
    return made


def _intel_rdt(rdt: IntelRdt) -> Json:
    made: Json = {"closID": rdt.clos_id, "l3CacheSchema": rdt.l3_cache_schema, "memBwSchema": rdt.mem_bw_schema}
    made["schemata"] = list(rdt.schemata or ())
    made["enableMonitoring"] = rdt.enable_monitoring
    return {key: value for key, value in made.items() if value}


def _add_groups(result: Json, edits: ContainerEdits) -> None:
    user = _object(_object(result, "process", "process"), "user", "process.user")
    groups = _list(user, "additionalGids", "process.user.additionalGids")
    for gid in edits.additional_gids:
        if gid != 0 and gid not in groups:
            groups.append(gid)


def _object(parent: Json, key: str, path: str) -> Json:
    """A copy of the object at a key, put in its place; made where there is none."""
    found = parent.get(key)
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise ContainerConfigError(f"{path}: expected an object, got {type(found).__name__}")
    parent[key] = dict(found)
    made: Json = parent[key]
    return made


def _list(parent: Json, key: str, path: str) -> list[Any]:
    """A copy of the list at a key, put in its place; made where there is none."""
    found = parent.get(key)
    if found is None:
        found = []
    if not isinstance(found, list):
        raise ContainerConfigError(f"{path}: expected a list, got {type(found).__name__}")
    parent[key] = list(found)
    made: list[Any] = parent[key]
    return made
