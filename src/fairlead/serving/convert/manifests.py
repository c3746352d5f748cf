"""`convert_manifests`: all objects that were given, each with what became of it. Pure.

Order of work: what others refer to is looked at first (configs, runtimes, caches, accounts, storage), then every
object is converted on its own. Objects that are not of KServe pass through as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.api.serving_runtime import ENGINES
from fairlead.serving.convert import companions, inference_service, llm_inference_service, serving_runtime
from fairlead.serving.convert.report import BadManifest, Loss, Severity, Unconvertible
from fairlead.serving.convert.storage import STORAGE_CONFIG, read_storage_config
from fairlead.serving.convert.world import Key, KnownRuntime, World

Json = dict[str, Any]

GROUPS: Final = ("serving.kserve.io", "serving.kubeflow.org")
"""Of KServe, and of what it was called before."""
_VERSIONS: Final = {
    "InferenceService": ("v1beta1",),
    "LLMInferenceService": ("v1alpha1", "v1alpha2"),
    "LLMInferenceServiceConfig": ("v1alpha1", "v1alpha2"),
}
_RUNTIMES: Final = ("ServingRuntime", "ClusterServingRuntime")
_PLAIN: Final = frozenset({
    "Service", "Secret", "ConfigMap", "Namespace", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim",
    "StorageClass", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "LimitRange",
    "ResourceQuota", "PriorityClass", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod",
    "PodDisruptionBudget", "DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ModelService", "ModelAdapter",
    "Queue",
})  # fmt: skip
"""Kinds that stay what they are."""
_SCALER = "if its scaleTargetRef is a Deployment of KServe's, point it at the ModelService, which has /scale"
_AROUND: Final = {
    "HorizontalPodAutoscaler": _SCALER,
    "ScaledObject": _SCALER,
    "HTTPRoute": "if its backend is a Service or pool of KServe's, name the InferencePool of the ModelService",
    "GRPCRoute": "if its backend is a Service of KServe's, name the Service of Fairlead's gateway",
    "VirtualService": "if its destination is a Service of KServe's, name the Service of Fairlead's gateway",
    "InferencePool": "a ModelService makes its own; this one is not needed if it selects KServe's pods",
    "InferenceModel": "a ModelService makes its own objectives; this one is not needed",
    "InferenceObjective": "a ModelService makes its own (spec.objectives); this one is not needed",
    "ServiceMonitor": "if it selects KServe's Services, select Fairlead's gateway, whose /metrics has every service",
    "PodMonitor": "if it selects KServe's pods, select the label fairlead.dev/model-service",
}


@dataclass(frozen=True, slots=True)
class Given:
    """One object of the input. `where` says file and document, for messages; no two have the same."""

    where: str
    obj: Json


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of one object."""

    where: str
    kind: str
    namespace: str
    name: str
    objects: tuple[Json, ...]
    losses: tuple[Loss, ...]

    @property
    def title(self) -> str:
        named = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {named}"


@dataclass(frozen=True, slots=True)
class Conversion:
    """Of everything that was given, in its order."""

    converted: tuple[Converted, ...] = field(default=())

    @property
    def objects(self) -> list[Json]:
        return [obj for each in self.converted for obj in each.objects]

    def count(self, severity: Severity) -> int:
        return sum(loss.severity is severity for each in self.converted for loss in each.losses)


class BadManifests(ValueError):
    """Objects that are not what their kind says, each with file, document, field, value and what was expected."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def convert_manifests(given: Sequence[Given], *, runtime: str = "", engine: str = "") -> Conversion:
    """`runtime` is a ServingRuntime of ours that every service is to take in place of what its own says, `engine` its
    engine (default: the shipped runtime's). Raises BadManifests, when all objects have been looked at."""
    problems: dict[str, str] = {}
    world = World(runtime, engine or (runtime if runtime in ENGINES else ""))
    names = _survey(given, world, problems)
    done: list[Converted] = []
    refused = set(problems)
    for each in given:
        try:
            if each.where not in refused:
                done.append(_converted(each, given, names, world))
        except BadManifest as error:
            problems[each.where] = str(error)
    if problems:
        raise BadManifests([f"{where}: {problem}" for where, problem in problems.items()])
    return Conversion(tuple(_with_config_use(done, given, world)))


def is_foreign(obj: Json) -> bool:
    """Whether it is of KServe."""
    return str(obj.get("apiVersion", "")).partition("/")[0] in GROUPS


def _survey(given: Sequence[Given], world: World, problems: dict[str, str]) -> dict[int, str]:
    """Fill the world; returns the names of ours for runtimes, by the place of their object."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for i, each in enumerate(given):
        obj = each.obj
        kind = obj.get("kind")
        try:
            _check(obj)
            key = _key(obj)
            if kind == "ServiceAccount":
                listed = obj.get("secrets") or []
                world.account_secrets[key] = [s["name"] for s in listed if isinstance(s, dict) and "name" in s]
            elif kind == "Secret" and key[1] == STORAGE_CONFIG:
                world.storage_configs[key] = read_storage_config(obj)
            elif not is_foreign(obj):
                continue
            elif kind == "LLMInferenceServiceConfig":
                world.configs[key] = obj
            elif kind in _RUNTIMES:
                names[i] = serving_runtime.name_of(obj, frozenset(taken))
                taken.add(names[i])
                world.runtimes[serving_runtime.key_of(obj)] = _known(obj, names[i])
            elif kind in companions.CACHES:
                world.cached.append(companions.source_of_cache(obj))
            elif kind == "TrainedModel":
                world.trained.setdefault(companions.trained_key(obj), []).append(obj)
        except BadManifest as error:
            problems[each.where] = str(error)
    return names


def _known(obj: Json, name: str) -> KnownRuntime:
    return serving_runtime.known(obj, name)


def _check(obj: Json) -> None:
    """What every object has. Raises BadManifest."""
    for key, example in (("apiVersion", "serving.kserve.io/v1beta1"), ("kind", "InferenceService")):
        if not isinstance(obj.get(key), str) or not obj[key]:
            raise BadManifest(key, obj.get(key), f"expected the object's {key}, such as {example}")
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        raise BadManifest("metadata", metadata, "expected an object with a name")
    if is_foreign(obj) and not isinstance(obj.get("spec"), dict):
        raise BadManifest("spec", obj.get("spec"), "expected an object")


def _key(obj: Json) -> Key:
    metadata = obj["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def _converted(each: Given, given: Sequence[Given], names: dict[int, str], world: World) -> Converted:
    obj = each.obj
    _check(obj)
    namespace, name = _key(obj)
    try:
        objects, losses = _by_kind(obj, given, names, world)
    except Unconvertible as error:
        why = f"nothing is made of this object: {error.why}"
        objects, losses = [], [Loss(error.field, error.value, Severity.LOST, why)]
    return Converted(each.where, str(obj["kind"]), namespace, name, tuple(objects), tuple(losses))


def _by_kind(
    obj: Json, given: Sequence[Given], names: dict[int, str], world: World
) -> tuple[list[Json], list[Loss]]:  # fmt: skip
    kind = str(obj["kind"])
    if not is_foreign(obj):
        return [obj], _passing(kind)
    version = str(obj["apiVersion"]).partition("/")[2]
    known = _VERSIONS.get(kind, (version,))
    if version not in known:
        why = f"of this kind, {' and '.join(known)} can be read: let KServe write it anew, and take it --from-cluster"
        raise Unconvertible("apiVersion", obj["apiVersion"], why)
    if kind == "InferenceService":
        trained = world.trained.get(_key(obj))
        return _parent(obj, trained, world) if trained else inference_service.convert(obj, world)
    if kind == "TrainedModel":
        parent = next((g.obj for g in given if g.obj.get("kind") == "InferenceService" and is_foreign(g.obj)
                       and _key(g.obj) == companions.trained_key(obj)), None)  # fmt: skip
        return companions.trained_model(obj, parent, world)
    if kind in _RUNTIMES:
        place = next(i for i, g in enumerate(given) if g.obj is obj)
        return serving_runtime.convert(obj, names[place])
    makers: dict[str, Callable[[], tuple[list[Json], list[Loss]]]] = {
        "LLMInferenceService": lambda: llm_inference_service.convert(obj, world),
        **dict.fromkeys(companions.CACHES, lambda: companions.cache(obj)),
        **dict.fromkeys(companions.WITHOUT_COUNTERPART, lambda: companions.without_counterpart(obj)),
    }
    if kind in makers:
        return makers[kind]()
    why = "this kind of KServe is not known here: it passes through as it is"
    return [obj], [Loss("kind", kind, Severity.ATTENTION, why)]


def _parent(obj: Json, trained: list[Json], world: World) -> tuple[list[Json], list[Loss]]:
    """An InferenceService whose models are TrainedModels: the services are theirs."""
    first = trained[0]["spec"].get("model")
    model = first if isinstance(first, dict) else {}
    kept = {"framework": str(model.get("framework", "")), "storageUri": str(model.get("storageUri", ""))}
    _, losses = inference_service.convert(obj, world, kept)
    served = ", ".join(str(each["metadata"].get("name")) for each in trained)
    why = f"it is a service for each of its models: {served}"
    return [], [Loss("spec.predictor", obj["spec"].get("predictor"), Severity.CHANGED, why), *losses]


def _passing(kind: str) -> list[Loss]:
    if kind in _PLAIN:
        return []
    if kind in _AROUND:
        return [Loss("kind", kind, Severity.ATTENTION, f"it passes through as it is; {_AROUND[kind]}")]
    return [Loss("kind", kind, Severity.NOTE, "this kind is not one of KServe's: it passes through as it is")]


def _with_config_use(done: Sequence[Converted], given: Sequence[Given], world: World) -> list[Converted]:
    """Configs that a service has named are part of it: which ones, is only known at the end."""
    result = []
    for each, source in zip(done, given, strict=True):
        if each.kind == "LLMInferenceServiceConfig" and _key(source.obj) in world.used_configs:
            objects, losses = companions.merged_config(source.obj)
            each = Converted(each.where, each.kind, each.namespace, each.name, tuple(objects), tuple(losses))
        result.append(each)
    return result
