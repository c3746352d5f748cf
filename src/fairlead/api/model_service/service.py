"""The ModelService itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from fairlead.api.kind import API_VERSION, SET, list_map
from fairlead.api.kind import Kind as _Kind
from fairlead.api.model_service.model import FurtherModels, Model
from fairlead.api.model_service.operation import Batch, Drain, Objective, Recovery, Rollout, Slo, WarmUp
from fairlead.api.model_service.status import ModelServiceStatus
from fairlead.api.model_service.workload import KvTransfer, Probes, Role, Scaling, Workload
from fairlead.api.structural import filled, told
from fairlead.kube.resources import Resource

MODEL_SERVICES = Resource.of(API_VERSION, "modelservices", "ModelService")

MAX_NAME_LENGTH = 40
"""Pods are named SERVICE-ROLE-HASH-NUMBER-WORKER and must stay DNS labels (63)."""


class AdapterPolicy(_Kind):
    """Whether and how the engines serve LoRA adapters; which ones, ModelAdapters say."""

    slots: Annotated[int, told("Adapters in one batch of an engine.", ge=1, le=1024)] = 8
    max_rank: Annotated[int, told("Highest rank that an engine has room for.", ge=1, le=1024)] = 64
    fetch: Annotated[
        bool,
        told(
            "Whether adapters may come from places that the engine cannot read itself (oci, s3, gs, http): each pod "
            "then has a sidecar that fetches them."
        ),
    ] = False
    pull_secrets: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=253)]],
        told(
            "Secrets of the namespace that adapters may name as their `pullSecret`: the sidecars have these and no "
            "others.",
            SET,
            max_length=16,
        ),
    ] = []


class ModelServiceSpec(Workload, kw_only=True):
    """What to serve, how often and on what."""

    model: Model
    models: FurtherModels = []
    runtime: Annotated[
        str,
        told(
            "ServingRuntime that runs the model. Empty: the one that takes the model's format and architecture best.",
            max_length=253,
            pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$",
        ),
    ] = ""
    replicas: Annotated[
        int, told("How many engines serve the model; with roles, how many sets of them.", ge=0, le=10_000)
    ] = 1
    roles: Annotated[
        list[Role],
        told("Engines for parts of the work. Empty: every engine does all of it.", list_map("name"), max_length=4),
    ] = []
    kv_transfer: KvTransfer | None = None
    adapters: Annotated[AdapterPolicy, told("How the engines serve LoRA adapters. Absent: they serve none.")] | None = (
        None
    )
    scaling: Annotated[Scaling, told("Bounds of `replicas`, for whoever scales. Absent: none.")] | None = None
    slo: Slo | None = None
    objectives: Annotated[
        list[Objective], told("Classes of requests and their priorities.", list_map("name"), max_length=32)
    ] = []
    priority_class_name: Annotated[str, told("PriorityClass of the pods.", max_length=253)] = ""
    queue: Annotated[str, told("Queue whose share of the cluster the replicas use.", max_length=63)] = ""
    workload: Annotated[
        Literal["Replicas", "Deployment", "LeaderWorkerSet"],
        told(
            "Who keeps the pods. Replicas: Fairlead itself. The others are for clusters that want them: request-aware "
            "draining, canaries and recovery by hardware are then not to be had."
        ),
    ] = "Replicas"
    rollout: Annotated[
        Rollout, told("How a change of the template comes about. No request is lost or cut by it.", filled(Rollout))
    ] = msgspec.field(default_factory=Rollout)
    drain: Annotated[
        Drain,
        told("How a replica leaves: out of the pool, its streams end, the process is told to stop.", filled(Drain)),
    ] = msgspec.field(default_factory=Drain)
    recovery: Annotated[Recovery, told("What is done about replicas that do not serve any more.", filled(Recovery))] = (
        msgspec.field(default_factory=Recovery)
    )
    warm_up: Annotated[WarmUp, told("What a new engine answers before it gets traffic.", filled(WarmUp))] = (
        msgspec.field(default_factory=WarmUp)
    )
    probes: Probes | None = None
    batch: Annotated[Batch, told("Work without hurry that fills idle replicas. Absent: none.")] | None = None
    termination_grace_period_seconds: Annotated[
        int,
        told("How long the process may take after it is told to stop, with streams that still run.", ge=0, le=86_400),
    ] = 30


class ModelService(_Kind):
    """A model served by engines behind the gateway."""

    metadata: dict[str, Any]
    spec: ModelServiceSpec
    status: ModelServiceStatus = msgspec.field(default_factory=ModelServiceStatus)
    api_version: str = API_VERSION
    kind: str = "ModelService"

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation", 1))
