"""What a ModelService comes to, as values: everything that decides how its pods are. Rendering and planning read it.

`serving.resolve` makes it of a service, the ServingRuntimes and what is known of model and cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.api.model_service import RoleName, Topology
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.engines import Engine, EngineSpec
from fairlead.serving.store.mount import StoreFacts

Json = dict[str, Any]


class Unservable(ValueError):
    """A service that cannot run as it is written: which field of its spec, the value there, and what would do."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        shown = f"spec.{field} is {value!r}: " if value not in (None, "") else f"spec.{field}: "
        super().__init__(shown + remedy)
        self.field = field
        self.value = value
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of the weights before anything starts; None where it is not known."""

    config: Mapping[str, Any] | None = None
    """The model's config.json."""
    weights_bytes: int | None = None
    """Of all files of weights together."""
    digest: str = ""
    """Of the model as it was found; empty where nobody looked."""
    exact_source: str = ""
    """The source with the commit or digest that was found, so that all replicas get the same."""
    mountable: bool | None = None
    """Whether an OCI artifact is an image that a kubelet can mount; None where nobody has looked."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What of cluster and model decides how pods are made."""

    model: ModelFacts = field(default_factory=ModelFacts)
    store: StoreFacts = field(default_factory=StoreFacts)
    fetch_env: tuple[Json, ...] = ()
    """Further environment of containers that fetch models."""
    kv_events: bool = True
    """Whether engines that can publish what their caches hold do so. Not where pods share their host's network:
    publishers listen on all of its addresses."""
    own_paths: bool = False
    """Whether paths in pods are those of the machine that the controller runs on, unless something is mounted there, as
    on the embedded platform."""
    picker: str = "fairlead-gateway"
    """Service of the endpoint picker that pools name."""


@dataclass(frozen=True, slots=True)
class ClaimTemplate:
    """Devices of one kind of pod: becomes a ResourceClaimTemplate of this name."""

    name: str
    spec: Json
    """Of the claims that are made of it (`resource.k8s.io/v1`)."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to run a role: on which accelerators, over how many hosts, with which pods."""

    name: str
    """Entry of `accelerators`; empty where there is nothing to choose."""
    size: int
    """Pods of a replica."""
    leader: Json
    """Template of the leader, or of single pods: `metadata` (labels, annotations) and `spec`."""
    workers: tuple[Json, ...]
    """Templates of the workers in their order; a single one is that of all."""
    claim: ClaimTemplate | None
    engine_spec: EngineSpec
    """What the engine is asked to serve."""
    topology: Topology

    def template(self, index: int) -> Json:
        """Of the member with this number in its replica, the leader's is 0."""
        return self.leader if index == 0 else self.workers[min(index, len(self.workers)) - 1]


@dataclass(frozen=True, slots=True)
class ResolvedRole:
    """One role of the service and the ways it may run, the preferred first."""

    name: RoleName
    ways: tuple[Alternative, ...]

    @property
    def size(self) -> int:
        """Pods of a replica, of the preferred way."""
        return self.ways[0].size

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Names to choose from for each replica; empty where there is nothing to choose."""
        return tuple(way.name for way in self.ways) if len(self.ways) > 1 else ()

    def way(self, alternative: str) -> Alternative:
        """The way of that name; the preferred one for a name that is not there (any more)."""
        return next((way for way in self.ways if way.name == alternative), self.ways[0])


@dataclass(frozen=True, slots=True)
class Resolved:
    """A service with its runtime, and how the pods of each role are."""

    runtime: ServingRuntime
    engine: Engine
    revision: str
    """Ten hexadecimal digits that change with anything that decides how pods are, of all roles."""
    shadow: str
    """Name under which the engines of this revision are reached on purpose; empty where engines take no second name."""
    names: tuple[str, ...]
    """Names under which requests come, the model's own first, without the shadow."""
    roles: Mapping[RoleName, ResolvedRole]
    warnings: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Names that the engines do not know, and the names of theirs that are meant."""
