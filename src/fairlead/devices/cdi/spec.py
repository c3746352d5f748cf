"""A CDI spec as typed values, named as in the specification (cncf-tags/container-device-interface, SPEC.md 1.1.0).

Decoding refuses unknown fields, as the specification asks. The rules that types cannot hold are in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class _Part(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    pass


class DeviceNode(_Part, frozen=True):
    """A device node in the container. `type` is b, c, u or p; absent numbers come from the host's node. `file_mode` is
    the permission bits; `permissions` the cgroup's (r, w, m)."""

    path: str
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class NetDevice(_Part, frozen=True):
    """A network interface that moves into the container (since 1.1.0)."""

    host_interface_name: str
    name: str


class Mount(_Part, frozen=True):
    host_path: str
    container_path: str
    options: Sequence[str] = ()
    type: str = ""


class Hook(_Part, frozen=True):
    """A program that the runtime calls with the container's state on its standard input. `timeout` in seconds."""

    hook_name: str
    path: str
    args: Sequence[str] = ()
    env: Sequence[str] = ()
    timeout: int | None = None


class IntelRdt(_Part, frozen=True):
    clos_id: str = msgspec.field(default="", name="closID")
    l3_cache_schema: str = msgspec.field(default="", name="l3CacheSchema")
    mem_bw_schema: str = msgspec.field(default="", name="memBwSchema")
    schemata: Sequence[str] | None = None
    enable_monitoring: bool = False


class ContainerEdits(_Part, frozen=True):
    """What a runtime changes in a container's configuration. Environment entries are NAME=VALUE."""

    env: Sequence[str] = ()
    device_nodes: Sequence[DeviceNode] = ()
    net_devices: Sequence[NetDevice] = ()
    hooks: Sequence[Hook] = ()
    mounts: Sequence[Mount] = ()
    intel_rdt: IntelRdt | None = None
    additional_gids: Sequence[int] = ()


NO_EDITS = ContainerEdits()


class Device(_Part, frozen=True):
    name: str
    annotations: Mapping[str, str] = {}
    container_edits: ContainerEdits = NO_EDITS


class Spec(_Part, frozen=True):
    """One spec file. `kind` is vendor/class; `container_edits` apply once, whichever of the devices are used."""

    cdi_version: str
    kind: str
    annotations: Mapping[str, str] = {}
    devices: Sequence[Device] = ()
    container_edits: ContainerEdits = NO_EDITS
