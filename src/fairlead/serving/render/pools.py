"""The InferencePools of a service: one for what is stable, one for a version on trial. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fairlead.api.inference_pool import KNOWN_NAMES_ANNOTATION, MODELS_ANNOTATION, VERSION_OF_ANNOTATION
from fairlead.api.model_service import ModelService
from fairlead.engines import RUNTIME_LABEL
from fairlead.engines.engine import DEFAULT_PORT
from fairlead.serving.names import CANARY_SUFFIX, MEMBER_LABEL, SERVICE_LABEL, TRACK_LABEL
from fairlead.serving.observed import Track
from fairlead.serving.render.labels import owned
from fairlead.serving.resolved import Resolved

Json = dict[str, Any]

PICKER_PORT: Final = 9002
ADAPTERS_ANNOTATION: Final = "fairlead.dev/adapters"
SCALE_TARGET_ANNOTATION: Final = "fairlead.dev/scale-target"


def pool_name(service: str, track: Track) -> str:
    return service if track == "stable" else f"{service}{CANARY_SUFFIX}"


def pools(
    service: ModelService,
    stable: Resolved,
    canary: Resolved | None = None,
    *,
    adapters: Sequence[str] = (),
    annotations: dict[str, str] | None = None,
    picker: str = "fairlead-gateway",
) -> list[Json]:
    """The pool of the service, and where `canary` is on trial, its pool, which is reached by its shadow name alone.

    `adapters` are names of LoRA adapters that the service serves, `annotations` further ones of both pools.
    """
    made = [_pool(service, stable, "stable", stable.names, adapters, annotations or {}, picker)]
    if canary is not None:
        names = (canary.shadow,) if canary.shadow else ()
        # The requests are the stable version's: their priorities are, and answers have the name that was asked for.
        said = {VERSION_OF_ANNOTATION: pool_name(service.name, "stable"), **_known_names(canary)}
        made.append(_pool(service, canary, "canary", names, (), {**said, **(annotations or {})}, picker))
    return made


def _known_names(canary: Resolved) -> dict[str, str]:
    """Names of the model that the engines themselves know, besides the shadow."""
    known = {n for role in canary.roles.values() for way in role.ways for n in way.engine_spec.names}
    names = [name for name in canary.names if name in known]
    return {KNOWN_NAMES_ANNOTATION: ",".join(names)} if names else {}


def _pool(
    service: ModelService,
    resolved: Resolved,
    track: Track,
    names: Sequence[str],
    adapters: Sequence[str],
    annotations: dict[str, str],
    picker: str,
) -> Json:
    said = {
        MODELS_ANNOTATION: ",".join(names),
        ADAPTERS_ANNOTATION: ",".join(adapters),
        SCALE_TARGET_ANNOTATION: f"ModelService/{service.name}",
        **annotations,
    }
    return owned(
        service, "inference.networking.k8s.io/v1", "InferencePool", pool_name(service.name, track),
        labels={RUNTIME_LABEL: resolved.engine.runtime, TRACK_LABEL: track},
        annotations={key: value for key, value in said.items() if value},
        spec={
            # Workers answer nobody: leaders are the endpoints.
            "selector": {"matchLabels": {SERVICE_LABEL: service.name, TRACK_LABEL: track, MEMBER_LABEL: "0"}},
            "targetPorts": [{"number": DEFAULT_PORT}],
            "endpointPickerRef": {"name": picker, "port": {"number": PICKER_PORT}},
        },
    )  # fmt: skip
