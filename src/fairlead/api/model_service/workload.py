"""What one engine runs on and how: parallelism, accelerators and their alternatives, topology, flags, overlays."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from fairlead.api.kind import ATOMIC, Kind, list_map
from fairlead.api.pod_parts import OVERLAY, PROBE, VALUE_FROM
from fairlead.api.structural import MAP_OF_QUANTITIES, told

_Args = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=4096)]],
    told(
        "Further arguments of the engine, after the runtime's own; one that the runtime only suggests gives way.",
        ATOMIC,
        max_length=256,
    ),
]


class EnvVar(Kind):
    """An environment variable of the engine: a value, or where it comes from, as in a pod."""

    name: Annotated[str, told("Its name.", min_length=1, max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
    value: Annotated[str, told("Its value, in which $(NAME) is that of another variable.")] = ""
    value_from: Annotated[dict[str, Any], told("Where its value comes from, in place of `value`.", VALUE_FROM)] = {}


_Env = Annotated[list[EnvVar], told("Environment variables of the engine.", list_map("name"), max_length=256)]


class Resources(Kind):
    """Requests and limits of the engine's container, as in a pod."""

    requests: Annotated[dict[str, int | str], told("Resource name to request.", MAP_OF_QUANTITIES)] = {}
    limits: Annotated[dict[str, int | str], told("Resource name to limit.", MAP_OF_QUANTITIES)] = {}


class Parallelism(Kind):
    """Over how many accelerators one engine is spread, and over how many hosts."""

    tensor: Annotated[int, told("Ranks that share each layer.", ge=1, le=1024)] = 1
    pipeline: Annotated[int, told("Stages of layers.", ge=1, le=1024)] = 1
    data: Annotated[int, told("Ranks that each take requests of their own.", ge=1, le=1024)] = 1
    expert: Annotated[int, told("Degree of expert parallelism inside these ranks.", ge=1, le=4096)] = 1
    hosts: Annotated[int, told("Pods of one replica: a leader and workers.", ge=1, le=512)] = 1


class Accelerator(Kind):
    """What a replica may run on. Alternatives are tried in their order."""

    name: Annotated[
        str,
        told(
            "Its name in conditions and labels.",
            min_length=1,
            max_length=40,
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        ),
    ]
    device_class: Annotated[
        str, told("DeviceClass to claim devices of; empty with `resource`, or for none at all.", max_length=253)
    ] = ""
    resource: Annotated[
        str, told("Extended resource to ask for in place of a claim, as nvidia.com/gpu.", max_length=253)
    ] = ""
    count: Annotated[
        int,
        told("Devices of each pod. 0: as many as the parallelism needs on one host.", ge=0, le=64),
    ] = 0
    selectors: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=10_240)]],
        told("CEL expressions that each device must satisfy, as in a claim.", ATOMIC, max_length=32),
    ] = []
    match_attributes: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=253)]],
        told("Attributes whose value all devices of a pod share.", ATOMIC, max_length=8),
    ] = []
    model: Annotated[
        str,
        told(
            "Its name in Fairlead's table of accelerators (`h100-sxm`, `rngd`, …), by which memory is reckoned "
            "before anything starts.",
            max_length=63,
        ),
    ] = ""
    parallelism: Annotated[Parallelism, told("In place of the role's, on this hardware.")] | None = None
    args: _Args = []
    env: _Env = []
    node_selector: Annotated[dict[str, str], told("Labels that a node must have, besides the role's.")] = {}


class Topology(Kind):
    """How near the pods of a replica must be: `host`, `nvlink`, `rack`, `block`, `zone`, `region` or a node label."""

    required: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=317)]],
        told("Levels that all pods of a replica share.", ATOMIC, max_length=8),
    ] = []
    preferred: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=317)]],
        told("Levels that they share where it can be had, the first before the others.", ATOMIC, max_length=8),
    ] = []
    roles_together: Annotated[
        str,
        told("Level that the roles of a service share where it can be had, for the KV transfer.", max_length=317),
    ] = ""


class KvCache(Kind):
    """The engine's KV cache; what is left out is the engine's own choice."""

    block_tokens: Annotated[int, told("Tokens of a block.", ge=1, le=65_536)] | None = None
    memory_percent: Annotated[int, told("Of the accelerator's memory.", ge=1, le=100)] | None = None
    dtype: Annotated[str, told("Type of its numbers, as the engine names it (fp8, …).", max_length=32)] = ""
    prefix_caching: Annotated[bool, told("Whether blocks of common prefixes are used again.")] | None = None
    offload: Annotated[str, told("Host memory for blocks that leave the accelerator, as 64Gi.", max_length=32)] = ""


class KvTransfer(Kind):
    """How KV blocks travel from prefill to decode; what is left out is the engine's own choice."""

    connector: Annotated[
        str, told("As the engine names it: NixlConnector of vLLM, mooncake of SGLang, …", max_length=63)
    ] = ""
    port: Annotated[int, told("Where the other side asks for blocks.", ge=1, le=65_535)] | None = None
    settings: Annotated[dict[str, Any], told("Further settings of the connector, handed on as they are.")] = {}


class Probes(Kind):
    """The engine's probes; each replaces the runtime's, as in a pod."""

    startup: Annotated[dict[str, Any], told("Until when the engine counts as starting.", PROBE)] = {}
    readiness: Annotated[dict[str, Any], told("Whether the engine gets requests.", PROBE)] = {}
    liveness: Annotated[dict[str, Any], told("Whether the engine has to be restarted.", PROBE)] = {}


class Workload(Kind):
    """How one engine runs: of the service, or of one of its roles."""

    command: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=4096)]],
        told(
            "Program that starts the engine instead of the runtime's own; the runtime's arguments follow it.",
            ATOMIC,
            max_length=64,
        ),
    ] = []
    args: _Args = []
    env: _Env = []
    resources: Resources = msgspec.field(default_factory=Resources)
    node_selector: Annotated[dict[str, str], told("Labels that a node must have.")] = {}
    parallelism: (
        Annotated[Parallelism, told("Over how many accelerators and hosts one engine is spread. Default: one.")] | None
    ) = None
    accelerators: Annotated[
        list[Accelerator],
        told("What a replica may run on, the preferred first.", list_map("name"), max_length=8),
    ] = []
    topology: Topology | None = None
    kv_cache: KvCache | None = None
    pod_template: Annotated[
        dict[str, Any],
        told(
            "Metadata and spec to lay over the pods that Fairlead makes, by strategic merge: as `kubectl patch` would.",
            OVERLAY,
        ),
    ] = {}
    worker_template: Annotated[
        dict[str, Any], told("The same of the workers of a replica of several hosts, in place of podTemplate.", OVERLAY)
    ] = {}


RoleName = Literal["unified", "prefill", "decode", "encode"]
ROLES: tuple[RoleName, ...] = ("unified", "encode", "prefill", "decode")


class Scaling(Kind):
    """Bounds of the number of replicas, for whoever scales."""

    min_replicas: Annotated[int, told("0: the gateway starts the first one.", ge=0, le=10_000)] = 1
    max_replicas: Annotated[int, told("0: no bound.", ge=0, le=10_000)] = 0


class Role(Workload, kw_only=True):
    """Engines of the service that do one part of the work. What a role leaves out is the service's."""

    name: Annotated[RoleName, told("Which part of the work; unified: all of it.")]
    replicas: Annotated[
        int,
        told("How many for each of the service's `replicas`: scaling the service keeps the ratio.", ge=0, le=10_000),
    ] = 1
    scaling: (
        Annotated[Scaling, told("Bounds of the role's engines: the service's replicas times the role's.")] | None
    ) = None
