"""From a container's specification to its configuration on disk, and its start."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent import cgroups, images, resources
from fairlead.embedded.agent.backoff import Backoff
from fairlead.embedded.agent.container import MARK
from fairlead.embedded.agent.environment import ConfigError, Lookup, PodView, container_environment
from fairlead.embedded.agent.pod import ContainerSpec, Pod, VolumeMount
from fairlead.kube.expansion import expand

if TYPE_CHECKING:
    from fairlead.devices.cdi.spec import ContainerEdits

LOG_MAX_BYTES = 10 * 1024 * 1024
LOG_MAX_FILES = 5
_PASSED_ON = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_RLIMIT_SLACK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What this machine grants containers. `mounts` says whether volumes can appear at their mount paths."""

    mounts: bool
    hierarchy: cgroups.Hierarchy
    log_max_bytes: int = LOG_MAX_BYTES
    log_max_files: int = LOG_MAX_FILES


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that goes into one attempt of a container.

    `edits` is what its devices change in it; `names` (path in the pod -> file) are the pod's hosts file and the like.
    """

    view: PodView
    container: ContainerSpec
    number: int
    folder: Path
    volumes: Mapping[str, Path]
    base_environment: Mapping[str, str] = field(default_factory=dict)
    backoff: Backoff | None = None
    edits: ContainerEdits | None = None
    names: Mapping[str, Path] = field(default_factory=dict)


async def container_config(
    blueprint: Blueprint, limits: HostLimits, lookup: Lookup, clock: Clock = SYSTEM
) -> dict[str, Any]:
    """The shim's configuration. Raises ImageError, ConfigError and EditsError, whose texts belong into the waiting
    state."""
    view, container = blueprint.view, blueprint.container
    image_environment = images.environment_of(container.image)
    identity = _identity(view.pod, container)
    base = {**_base_environment(view, identity), **image_environment, **blueprint.base_environment}
    environment = await container_environment(view, container, base, lookup)
    command = [expand(part, environment) for part in container.command]
    arguments = [expand(part, environment) for part in container.args]
    program = images.resolve(container.image, command, arguments)
    id = secrets.token_hex(32)
    environment[MARK] = f"process://{id}"
    mounts = _mounts(blueprint, environment)
    (blueprint.folder / "work").mkdir(parents=True, exist_ok=True)
    termination_log = blueprint.folder / "termination-log"
    termination_log.touch()
    if identity["uid"] is not None and os.geteuid() == 0:
        os.chown(blueprint.folder / "work", identity["uid"], -1)
        os.chown(termination_log, identity["uid"], -1)
    if limits.mounts:
        mounts.append({"source": str(termination_log), "target": container.termination_message_path})
        own = {mount.mount_path for mount in container.volume_mounts}
        mounts += [{"source": str(p), "target": t} for t, p in blueprint.names.items() if t not in own]
    links: list[list[str]] = []
    if not limits.mounts:
        environment["FAIRLEAD_TERMINATION_LOG"] = str(termination_log)
        for mount, entry in zip(container.volume_mounts, mounts, strict=True):
            environment[f"FAIRLEAD_MOUNT_{re.sub(r'[^A-Z0-9]', '_', mount.name.upper())}"] = entry["source"]
            if _link(entry["source"], entry["target"]):
                links.append([entry["source"], entry["target"]])
    config: dict[str, Any] = {
        "argv": list(program.argv),
        "env": environment,
        "cwd": expand(container.working_dir, environment) or str(blueprint.folder / "work"),
        **identity,
        "mounts": mounts if limits.mounts else [],
        "links": links,
        "log": str(blueprint.folder / "0.log"),
        "log_max_bytes": limits.log_max_bytes,
        "log_max_files": limits.log_max_files,
        "stdin": container.stdin,
        "stdin_once": container.stdin_once,
        "tty": container.tty,
        "stop_signal": container.lifecycle.stop_signal,
        "meta": {
            "id": f"process://{id}",
            "name": container.name,
            "pod_uid": view.pod.metadata.uid,
            "attempt": blueprint.number,
            "image": container.image,
            "image_id": program.image_id,
            "created_at": clock.wall_s(),
            "backoff": [blueprint.backoff.delay_s, blueprint.backoff.updated_s] if blueprint.backoff else None,
        },
    }
    if blueprint.edits is not None:
        # Most containers have no devices, and do not pay for them.
        from fairlead.embedded.agent.dra.container_edits import apply_edits

        apply_edits(config, blueprint.edits, blueprint.folder, can_mount=limits.mounts, link=_link)
    return config | _limits(container, limits, id)


def _base_environment(view: PodView, identity: Mapping[str, Any]) -> dict[str, str]:
    own_bin = str(Path(sys.executable).parent)
    uid = os.geteuid() if identity["uid"] is None else identity["uid"]
    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        home = "/"
    path = os.environ.get("PATH", os.defpath)
    pod = view.pod
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PATH": path if own_bin in path.split(":") else f"{own_bin}:{path}",
        "HOME": home,
        "HOSTNAME": pod.spec.hostname or (view.node.name if pod.spec.host_network else pod.metadata.name),
        "FAIRLEAD_POD_IP": view.pod_ip,
    }


def _identity(pod: Pod, container: ContainerSpec) -> dict[str, Any]:
    own, shared = container.security_context, pod.spec.security_context
    uid = shared.run_as_user if own.run_as_user is None else own.run_as_user
    gid = shared.run_as_group if own.run_as_group is None else own.run_as_group
    non_root = shared.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    effective = os.geteuid() if uid is None else uid
    if non_root and effective == 0:
        why = "container has runAsNonRoot and image will run as root"
        if uid == 0:
            why = "container's runAsUser breaks non-root policy"
        raise ConfigError(f'{why} (pod: "{pod.full_name}", container: {container.name})')
    if os.geteuid() != 0 and uid not in (None, os.geteuid()):
        raise ConfigError(f"runAsUser {uid}: this node agent does not run as root and cannot change users")
    if uid is not None and gid is None and os.geteuid() == 0 and uid != 0:
        try:
            gid = pwd.getpwuid(uid).pw_gid
        except KeyError:
            gid = 0
    groups = sorted({*shared.supplemental_groups, *([shared.fs_group] if shared.fs_group is not None else [])})
    return {"uid": uid, "gid": gid, "groups": groups}


def _mounts(blueprint: Blueprint, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    mounts = []
    images = {volume.name for volume in blueprint.view.pod.spec.volumes if volume.image is not None}
    for mount in blueprint.container.volume_mounts:
        if mount.name not in blueprint.volumes:
            raise ConfigError(f'volume "{mount.name}" of the mount at {mount.mount_path} is not known')
        source = _sub_path(blueprint.volumes[mount.name], mount, environment)
        target = mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}"
        mounts.append({"source": str(source), "target": target, "read_only": mount.read_only or mount.name in images})
    return mounts


def _link(source: str, target: str) -> bool:
    """Show a volume at its mount path by a link, where nothing is there and the folder is ours to write."""
    try:
        os.symlink(source, target)
    except OSError:
        return False
    return True


def _sub_path(volume: Path, mount: VolumeMount, environment: Mapping[str, str]) -> Path:
    sub_path = mount.sub_path or expand(mount.sub_path_expr, environment)
    if not sub_path:
        return volume
    source = (volume / sub_path).resolve()
    if not source.is_relative_to(volume.resolve()):
        raise ConfigError(f'subPath "{sub_path}" of volume "{mount.name}" leaves the volume')
    if not source.exists():
        source.mkdir(parents=True)
    return source


def _limits(container: ContainerSpec, limits: HostLimits, id: str) -> dict[str, Any]:
    memory = resources.limit(container, "memory")
    cpu = resources.limit(container, "cpu")
    memory_bytes = int(memory) if memory else None
    group = cgroups.create(
        limits.hierarchy,
        id,
        memory_bytes=memory_bytes,
        cpu_cores=float(cpu) if cpu else None,
        cpu_request=float(resources.request(container, "cpu") or 0),
    )
    config: dict[str, Any] = {"cgroup": group, "memory_limit_bytes": None, "rlimits": {}}
    if memory_bytes and (group is None or "memory" not in limits.hierarchy.controllers):
        # The shim's watch enforces the limit; this stops what grows faster than it looks.
        config["memory_limit_bytes"] = memory_bytes
        config["rlimits"]["RLIMIT_DATA"] = 4 * memory_bytes + _RLIMIT_SLACK_BYTES
    return config
