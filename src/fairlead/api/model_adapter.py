"""`ModelAdapter`: a LoRA adapter on the engines of a service, loaded while they run."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from fairlead.api.kind import API_VERSION, ATOMIC, OBSERVED_GENERATION, Conditions, Kind
from fairlead.api.model_service.model import Source, Verification
from fairlead.api.model_service.operation import Analysis, CanaryStep
from fairlead.api.model_service.status import RolloutStatus
from fairlead.api.structural import filled, told
from fairlead.kube.resources import Resource

MODEL_ADAPTERS = Resource.of(API_VERSION, "modeladapters", "ModelAdapter")


class AdapterPlacement(Kind):
    """On how many engines it is loaded: as its traffic wants, within these bounds."""

    min_replicas: Annotated[int, told("0: it is loaded when somebody asks for it.", ge=0, le=10_000)] = 1
    max_replicas: Annotated[int, told("0: as many as there are engines.", ge=0, le=10_000)] = 0
    requests_per_replica: Annotated[
        float, told("Requests in flight that one engine is to have of it, on average.", gt=0, le=10_000)
    ] = 8.0
    idle_seconds: Annotated[
        int, told("Without a request for so long it gives its slot back (beyond minReplicas).", ge=0, le=604_800)
    ] = 300


class AdapterRollout(Kind):
    """How a changed source replaces the one that serves: beside it, with a growing share of its requests."""

    steps: Annotated[list[CanaryStep], told("Default: 10 and 50 percent.", ATOMIC, max_length=32)] = []
    analysis: (
        Annotated[Analysis, told("How the new version is compared with the one that serves. Default: all measures.")]
        | None
    ) = None
    paused: Annotated[bool, told("Whether a changed source waits.")] = False


class ModelAdapterSpec(Kind):
    """Which adapter, on which service."""

    service: Annotated[
        str, told("ModelService of the namespace on whose engines it goes.", min_length=1, max_length=63)
    ]
    source: Source
    name: Annotated[
        str,
        told(
            "The name that requests give in their `model` field. Default: the object's.",
            max_length=200,
            pattern=r"^([^,\s]+)?$",
        ),
    ] = ""
    base_model: Annotated[
        str,
        told(
            "Model that it was trained on, as its adapter_config.json says; if it says otherwise, it is not loaded.",
            max_length=253,
        ),
    ] = ""
    rank: Annotated[int, told("0: as its adapter_config.json says.", ge=0, le=1024)] = 0
    placement: Annotated[
        AdapterPlacement,
        told("On how many engines it is loaded: as its traffic wants, within these bounds.", filled(AdapterPlacement)),
    ] = msgspec.field(default_factory=AdapterPlacement)
    rollout: Annotated[
        AdapterRollout,
        told(
            "How a changed source replaces the one that serves: beside it, with a growing share of its requests.",
            filled(AdapterRollout),
        ),
    ] = msgspec.field(default_factory=AdapterRollout)
    pull_secret: Annotated[
        str, told("Secret of the namespace with what the source asks for: a token or registry logins.", max_length=253)
    ] = ""
    verification: Annotated[Verification, told("Who must have signed it. Absent: nobody is asked.")] | None = None


class ModelAdapterStatus(Kind):
    """Where it is."""

    observed_generation: Annotated[int, told(OBSERVED_GENERATION)] = 0
    served_name: Annotated[str, told("The name that requests give.")] = ""
    version: Annotated[str, told("Hash of the source that serves.")] = ""
    update_version: Annotated[str, told("Hash of the source that is wanted.")] = ""
    rejected_version: Annotated[str, told("Hash of one that was tried and taken back.")] = ""
    desired: Annotated[int, told("On how many engines it is to be.")] = 0
    loaded: Annotated[int, told("On how many it is.")] = 0
    engines: Annotated[list[str], told("Pods that have it.", ATOMIC)] = []
    rollout: RolloutStatus | None = None
    conditions: Conditions = msgspec.field(default_factory=list)


class ModelAdapter(Kind):
    """A LoRA adapter."""

    metadata: dict[str, Any]
    spec: ModelAdapterSpec
    status: ModelAdapterStatus = msgspec.field(default_factory=ModelAdapterStatus)
    api_version: str = API_VERSION
    kind: str = "ModelAdapter"
