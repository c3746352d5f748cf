"""Objects of KServe for the tests, and what becomes of them."""

from __future__ import annotations

from typing import Any

from api.served import stored
from fairlead.serving.convert import Conversion, Given, Loss, Severity, convert_manifests

Json = dict[str, Any]


def llm(
    name: str = "chat", *, version: str = "v1alpha2", annotations: dict[str, str] | None = None, **spec: Any
) -> Json:
    metadata: Json = {"name": name, "namespace": "prod", **({"annotations": annotations} if annotations else {})}
    raw = {"model": {"uri": "hf://org/model", "name": "org/model"}, **spec}
    return foreign("LLMInferenceService", version, metadata, raw)


def config(name: str, **spec: Any) -> Json:
    return foreign("LLMInferenceServiceConfig", "v1alpha2", {"name": name, "namespace": "prod"}, spec)


def isvc(name: str = "iris", *, annotations: dict[str, str] | None = None, **predictor: Any) -> Json:
    metadata: Json = {"name": name, "namespace": "prod", **({"annotations": annotations} if annotations else {})}
    return foreign("InferenceService", "v1beta1", metadata, {"predictor": predictor})


def runtime(name: str, kind: str = "ClusterServingRuntime", **spec: Any) -> Json:
    metadata = {"name": name} if kind == "ClusterServingRuntime" else {"name": name, "namespace": "prod"}
    return foreign(kind, "v1alpha1", metadata, spec)


def foreign(kind: str, version: str, metadata: Json, spec: Json) -> Json:
    return {"apiVersion": f"serving.kserve.io/{version}", "kind": kind, "metadata": metadata, "spec": spec}


def main(**container: Any) -> Json:
    """The template of an LLMInferenceService with one container."""
    return {"containers": [{"name": "main", **container}]}


def converted(*objects: Json, **options: str) -> Conversion:
    """What becomes of the objects, which Fairlead's API takes."""
    conversion = convert_manifests([Given(f"f.yaml, document {i}", obj) for i, obj in enumerate(objects, 1)], **options)
    for obj in conversion.objects:
        if obj["apiVersion"].startswith("fairlead.dev/"):
            _, problems = stored(obj)
            assert not problems, f"{obj['kind']} {obj['metadata']['name']}: {problems}"
    return conversion


def spec_of(*objects: Json, **options: str) -> Json:
    """The spec of the one ModelService that the first object becomes."""
    made = converted(*objects, **options).converted[0].objects
    (service,) = [obj for obj in made if obj["kind"] == "ModelService"]
    return service["spec"]  # type: ignore[no-any-return]


def losses_of(*objects: Json, **options: str) -> dict[str, Loss]:
    """Field → what is said of it, of the first object."""
    return {loss.field: loss for loss in converted(*objects, **options).converted[0].losses}


def engine_of(spec: Json, template: str = "podTemplate") -> Json:
    """What is laid over the engine's container."""
    listed = spec.get(template, {}).get("spec", {}).get("containers", [])
    return next((each for each in listed if each["name"] == "engine"), {})


__all__ = [
    "Severity",
    "config",
    "converted",
    "engine_of",
    "foreign",
    "isvc",
    "llm",
    "losses_of",
    "main",
    "runtime",
    "spec_of",
]
