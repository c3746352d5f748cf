"""Kinds of KServe beside its services: TrainedModel, caches of models, graphs, storage containers.

Source: `pkg/apis/serving/v1alpha1` of KServe 0.20.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fairlead.serving.convert import inference_service
from fairlead.serving.convert.formats import LEGACY, default_runtime
from fairlead.serving.convert.metadata import read_metadata
from fairlead.serving.convert.reading import Reading
from fairlead.serving.convert.report import BadManifest, Loss, Severity, Unconvertible
from fairlead.serving.convert.world import World

Json = dict[str, Any]

WITHOUT_COUNTERPART: Final[Mapping[str, str]] = {
    "InferenceGraph": (
        "there are no graphs of services: a program of its own that asks the gateway for one model after the other "
        "does the same"
    ),
    "LocalModelNodeGroup": (
        "every node has its cache: its folder and size are `fairlead controllers --model-cache` and "
        "--model-cache-capacity"
    ),
    "LocalModelNode": "what a node holds is in its annotations, and `fairlead model cache list` on it",
    "ClusterStorageContainer": "Fairlead's own fetcher brings models to nodes; what it reads is in docs/model-cache.md",
    "LLMInferenceServiceConfig": "no LLMInferenceService of those given names it in baseRefs: there is nothing to make",
}
"""Kind -> why nothing becomes of it, and what does its job."""
CACHES: Final = ("LocalModelCache", "LocalModelNamespaceCache")


def source_of_cache(obj: Json) -> str:
    """The URI that a cache keeps. Raises BadManifest."""
    uri = Reading(obj, "", []).child("spec").text("sourceModelUri")
    if not uri:
        raise BadManifest("spec.sourceModelUri", None, "expected the URI of the model")
    return uri


def cache(obj: Json) -> tuple[list[Json], list[Loss]]:
    """Its model is pinned where services name it; bringing models to nodes before anybody wants them is not done."""
    losses: list[Loss] = []
    root = Reading(obj, "", losses)
    metadata = read_metadata(root)
    spec = root.child("spec")
    why = (
        "services with this source have model.pinned: it stays in a node's cache once it is there. On a node, "
        "`fairlead model fetch` brings it before anybody asks"
    )
    spec.say("sourceModelUri", Severity.CHANGED, why)
    where = "every node keeps a cache of its own: choose the nodes of a service with nodeSelector"
    spec.say("nodeGroups", Severity.LOST, where)
    spec.say("modelSize", Severity.NOTE, "sizes are read from the source; room is taken before the first byte comes")
    spec.say("storage", Severity.LOST, "keys are in the Secret of model.pullSecret")
    spec.say("serviceAccountName", Severity.LOST, "keys are in the Secret of model.pullSecret")
    root.close({})
    _say_metadata(metadata.labels, metadata.annotations, losses)
    metadata.foreign.close({})
    return [], losses


def trained_key(obj: Json) -> tuple[str, str]:
    """Namespace and name of the InferenceService that a TrainedModel is for. Raises BadManifest."""
    root = Reading(obj, "", [])
    name = root.child("spec").text("inferenceService")
    if not name:
        raise BadManifest("spec.inferenceService", None, "expected the name of an InferenceService")
    return root.child("metadata").text("namespace"), name


def trained_model(obj: Json, parent: Json | None, world: World) -> tuple[list[Json], list[Loss]]:
    """A service of its own, made as its InferenceService is. Raises BadManifest, Unconvertible."""
    losses: list[Loss] = []
    root = Reading(obj, "", losses)
    read_metadata(root)
    spec = root.child("spec")
    model = spec.child("model")
    framework, uri = model.text("framework"), model.text("storageUri")
    for key, value in (("framework", framework), ("storageUri", uri)):
        if not value:
            raise BadManifest(f"spec.model.{key}", None, "expected text")
    name = spec.text("inferenceService")
    if parent is None:
        kind = framework if framework in LEGACY else "model"
        serving: Json = {} if kind == framework else {"modelFormat": {"name": framework}}
        why = "it is not among what was given: resources and runtime are the defaults"
        losses.append(Loss("spec.inferenceService", name, Severity.ATTENTION, why))
        parent = {"spec": {"predictor": {kind: serving}}}
        if not default_runtime(framework) and not world.runtime:
            why = "no runtime of Fairlead takes this format: see `fairlead engines`, or ask for one with --runtime"
            raise Unconvertible("spec.model.framework", framework, why)
    whole = {**parent, "metadata": obj["metadata"]}
    objects, more = inference_service.convert(whole, world, {"framework": framework, "storageUri": uri})
    why = f"it is a ModelService of its own, as {name} is: the models of one engine come from one repository here"
    losses.append(Loss("spec.inferenceService", name, Severity.CHANGED, why))
    memory = model.take("memory")
    if memory is not None:
        made = objects[0]["spec"].setdefault("resources", {}).setdefault("requests", {})
        made["memory"] = memory
        losses.append(Loss("spec.model.memory", memory, Severity.CHANGED, "it is the engine's request of memory now"))
    # What is said of the parent's fields is said with the parent.
    losses += [loss for loss in more if loss.field.startswith(("metadata", "spec.model."))]
    root.close({})
    return objects, losses


def without_counterpart(obj: Json) -> tuple[list[Json], list[Loss]]:
    """Nothing; why, and what does the job."""
    return [], [Loss("spec", obj.get("spec"), Severity.LOST, WITHOUT_COUNTERPART[str(obj["kind"])])]


def merged_config(obj: Json) -> tuple[list[Json], list[Loss]]:
    """A config that services of the input name."""
    why = "it is part of the services that name it, and not needed any more"
    return [], [Loss("spec", obj.get("spec"), Severity.NOTE, why)]


def _say_metadata(labels: Mapping[str, str], annotations: Mapping[str, str], losses: list[Loss]) -> None:
    for key, value in (("labels", labels), ("annotations", annotations)):
        if value:
            losses.append(
                Loss(f"metadata.{key}", dict(value), Severity.LOST, "nothing of its own becomes of this object")
            )
