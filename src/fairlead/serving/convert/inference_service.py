"""`InferenceService` v1beta1 → ModelService.

Source: `pkg/apis/serving/v1beta1`, `pkg/controller/v1beta1/inferenceservice` of KServe 0.20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fairlead.serving.convert.containers import Container, Wanted
from fairlead.serving.convert.formats import (
    LEGACY,
    SHIPPED,
    default_runtime,
    implementation,
    our_format,
    speaks_openai,
)
from fairlead.serving.convert.go_templates import fill_fields, from_object
from fairlead.serving.convert.metadata import (
    ANNOTATIONS,
    KSERVE,
    Metadata,
    model_name,
    own,
    read_metadata,
    service_metadata,
)
from fairlead.serving.convert.parallelism import Sizes, spread, with_arguments
from fairlead.serving.convert.pods import Pod, read_pod
from fairlead.serving.convert.reading import Reading, Reasons
from fairlead.serving.convert.replicas import bounded, rolling
from fairlead.serving.convert.report import BadManifest, Loss, Severity, Unconvertible
from fairlead.serving.convert.sources import Place, place
from fairlead.serving.convert.storage import storage_uri
from fairlead.serving.convert.workers import worker_overlay
from fairlead.serving.convert.world import KnownRuntime, World, credentials

Json = dict[str, Any]

MAIN: Final = ("kserve-container", "kfserving-container")
_SCALER = "Fairlead does not scale by itself yet: point an HPA or a ScaledObject at the ModelService, which has /scale"
_REASONS: Final[Reasons] = {
    "transformer": (
        Severity.LOST,
        "requests reach the engine as they come: deploy it as a program of its own that asks the gateway",
    ),
    "explainer": (Severity.LOST, "there are no explainers: deploy it as a program of its own that asks the gateway"),
    "canary": (
        Severity.LOST,
        "two versions are two states of one service: set rollout.strategy Canary, then change the model",
    ),
    "scaleTarget": (Severity.LOST, _SCALER),
    "scaleMetric": (Severity.LOST, _SCALER),
    "scaleMetricType": (Severity.LOST, _SCALER),
    "autoScaling": (Severity.LOST, _SCALER),
    "containerConcurrency": (
        Severity.LOST,
        "the gateway holds requests by what engines have in hand; bound it with the engine's own argument "
        "(vLLM: --max-num-seqs)",
    ),
    "timeout": (Severity.LOST, "streams have no end set by the gateway: clients set theirs"),
    "logger": (Severity.LOST, "requests are not sent to a sink: the gateway's access log has their figures"),
    "batcher": (Severity.LOST, "engines batch by themselves"),
    "confidential": (Severity.LOST, "weights are not decrypted: keep them out of the clear by other means"),
    "storageContainerName": (Severity.LOST, "Fairlead's own fetcher brings models to nodes"),
    **ANNOTATIONS,
}


@dataclass(frozen=True, slots=True)
class _Choice:
    """The runtime of ours (empty: the model's format decides), its engine, and what is known of the original."""

    runtime: str
    engine: str
    original: KnownRuntime | None = None


def convert(obj: Json, world: World, model: Json | None = None) -> tuple[list[Json], list[Loss]]:
    """`model` is one of TrainedModel's, which the service is to serve in place of its own. Raises BadManifest,
    Unconvertible."""
    losses: list[Loss] = []
    filled = {**obj, "spec": fill_fields(obj.get("spec"), "spec", from_object(obj), losses)}
    root = Reading(filled, "", losses)
    metadata = read_metadata(root)
    spec = root.child("spec")
    predictor = spec.child("predictor")
    framework, serving = _implementation(predictor, model)
    choice = _choose(predictor, framework, serving, metadata, world)
    other = choice.engine if world.runtime else ""
    pod = read_pod(predictor, MAIN, Wanted(_foreign_engine(choice), other), serving)
    container = pod.container
    runtime = choice.runtime or container.engine
    if not container.engine:
        container.engine = choice.engine
    if not runtime:
        raise Unconvertible(
            predictor.path("containers"), predictor.peek("containers"), "no engine that Fairlead speaks to is in "
            "there: serve the model with one of `fairlead engines`, or ask for one with --runtime",
        )  # fmt: skip
    made: Json = {
        "model": _model(predictor, serving, framework, pod, metadata, world, model),
        "runtime": runtime,
        **pod.workload,
    }
    _details(predictor, serving, framework, choice, pod, made, metadata)
    _operation(predictor, metadata, made, pod)
    service = own("ModelService", service_metadata(root, metadata), made)
    root.close(_REASONS)
    metadata.foreign.close(_REASONS)
    return [service], losses


def _implementation(predictor: Reading, model: Json | None) -> tuple[str, Reading | None]:
    """The format of the model and the container that is the model's; None for a container of its own."""
    if "model" in predictor:
        serving = predictor.child("model")
        described = serving.child("modelFormat")
        name = described.text("name")
        if not name:
            raise BadManifest("spec.predictor.model.modelFormat.name", None, "expected the format of the model")
        described.say("version", Severity.LOST, "formats have no versions: name a runtime where it matters")
        return name, serving
    for name in LEGACY:
        if name in predictor:
            return name, predictor.child(name)
    if "containers" not in predictor:
        known = ", ".join(("model", *LEGACY))
        raise BadManifest("spec.predictor", sorted(predictor.value), f"expected one of {known}, or containers")
    return str((model or {}).get("framework", "")), None


def _choose(
    predictor: Reading, framework: str, serving: Reading | None, metadata: Metadata, world: World
) -> _Choice:  # fmt: skip
    named = serving.text("runtime") if serving is not None else ""
    known = _runtime(named, metadata, world) if named else _by_format(framework, predictor, metadata, world)
    if world.runtime:
        if named:
            why = f"{world.runtime} runs in its place, as was asked"
            predictor.losses.append(Loss("spec.predictor.model.runtime", named, Severity.CHANGED, why))
        return _Choice(world.runtime, world.engine, known)
    if known is not None:
        if not known.engine:
            field = "spec.predictor.model.runtime" if named else f"spec.predictor ({framework})"
            raise Unconvertible(
                field, named or framework, "no engine of Fairlead takes its place: see `fairlead engines`"
            )
        if named and known.name != named:
            why = f"it is {known.name} here"
            predictor.losses.append(Loss("spec.predictor.model.runtime", named, Severity.CHANGED, why))
        return _Choice(known.name, known.engine, known)
    if named:
        why = "this runtime is not among what was given: convert it too, or name one of `fairlead engines`"
        predictor.losses.append(Loss("spec.predictor.model.runtime", named, Severity.ATTENTION, why))
        return _Choice(named, "")
    if serving is None:
        return _Choice("", "")
    default = default_runtime(framework)
    if not default:
        raise Unconvertible(
            "spec.predictor", framework, "no runtime of Fairlead takes this format: turn the model into one that "
            "`fairlead engines` lists (ONNX, for instance), or ask for a runtime with --runtime",
        )  # fmt: skip
    return _Choice(default, default)


def _runtime(name: str, metadata: Metadata, world: World) -> KnownRuntime | None:
    found: KnownRuntime | None = world.found(world.runtimes, metadata.namespace, name)
    if found is None and name in SHIPPED:
        engine = SHIPPED[name]
        ours = "vllm" if engine == "huggingfaceserver" else engine
        return KnownRuntime(ours, ours, {}, engine)
    return found


def _by_format(framework: str, predictor: Reading, metadata: Metadata, world: World) -> KnownRuntime | None:
    """As KServe chooses: of the namespace's runtimes, else of the cluster's, that of the highest priority."""
    has_workers = "workerSpec" in predictor
    for namespace in (metadata.namespace, ""):
        fitting = [
            (-each.formats[framework], each.name, each)
            for (where, _), each in world.runtimes.items()
            if where == namespace and each.formats.get(framework) and each.is_multi_host == has_workers and each.engine
        ]
        if framework and fitting:
            return min(fitting, key=lambda each: each[:2])[2]
    return None


def _foreign_engine(choice: _Choice) -> str:
    """By which the arguments are read."""
    if choice.original is not None:
        return choice.original.foreign_engine or choice.original.engine
    return "huggingfaceserver" if choice.engine == "vllm" and choice.runtime == "vllm" else choice.engine


def _model(
    predictor: Reading, serving: Reading | None, framework: str, pod: Pod, metadata: Metadata, world: World,
    trained: Json | None,
) -> Json:  # fmt: skip
    lifted, engine = pod.container.lifted, pod.container.engine
    uri, at = storage_uri(predictor, serving, metadata.namespace, world)
    if trained is not None:
        uri, at = trained["storageUri"], "spec.model.storageUri"
    if not uri and pod.container.storage_uri:
        uri, at = pod.container.storage_uri, "spec.predictor.containers: STORAGE_URI"
    if not uri and lifted.source:
        source = lifted.source if "://" in lifted.source or lifted.source.startswith("/") else f"hf://{lifted.source}"
        uri, at = (f"{source}@{lifted.revision}" if lifted.revision else source), "spec.predictor: arguments"
    if not uri and engine != "simulated":
        raise Unconvertible(
            "spec.predictor", sorted(predictor.value), "it does not say where the model is (storageUri): if the image "
            "has it, write model.source with the path in the image",
        )  # fmt: skip
    where = place(uri, at) if uri else Place("")
    predictor.losses += [Loss(at, uri, severity, why) for severity, why in where.said]
    names = [model_name(each, "spec.predictor: arguments", predictor.losses) for each in lifted.names]
    made: Json = {"name": names[0] if names else metadata.name}
    if where.source:
        made |= where.to_json()
    if len(set(names)) > 1:
        made["aliases"] = [each for each in dict.fromkeys(names) if each != made["name"]][:16]
    name = our_format(framework, engine) if framework else ""
    if name and engine != "simulated" and not (speaks_openai(engine) and name == "safetensors"):
        made["format"] = name
    if lifted.max_context_tokens:
        made["maxContextTokens"] = lifted.max_context_tokens
    secret = credentials(
        where, pod.container, pod.account, pod.pull_secrets, world, metadata.namespace,
        "spec.predictor.serviceAccountName", predictor.losses,
    )  # fmt: skip
    if secret:
        made["pullSecret"] = secret
    if uri and world.is_cached(uri):
        made["pinned"] = True
    return made


def _details(
    predictor: Reading, serving: Reading | None, framework: str, choice: _Choice, pod: Pod, made: Json,
    metadata: Metadata,
) -> None:  # fmt: skip
    container = pod.container
    if container.lifted.kv_transfer_args:
        made["args"] = [*made.get("args", ()), *container.lifted.kv_transfer_args]
    if container.lifted.kv_cache:
        made["kvCache"] = container.lifted.kv_cache
    if container.lifted.adapters or container.lifted.serves_adapters:
        made["adapters"] = container.lifted.adapters
    labels = {**metadata.labels, **predictor.text_map("labels")}
    annotations = {**metadata.annotations, **predictor.text_map("annotations")}
    _parallelism(predictor, choice, pod, made, labels, annotations)
    if container.engine == "mlserver" and implementation(framework):
        _settings_of_mlserver(framework, container, pod, made, predictor.losses)
    if serving is not None:
        _protocol(serving, container)
        _version(serving, choice, container, pod)
    overlay = pod.overlay(labels, annotations, whole=False)
    if overlay:
        made["podTemplate"] = overlay


def _parallelism(
    predictor: Reading, choice: _Choice, pod: Pod, made: Json, labels: dict[str, str], annotations: dict[str, str]
) -> None:
    has_workers = "workerSpec" in predictor
    worker = predictor.child("workerSpec")
    known = choice.original
    sizes = Sizes(
        worker.integer("tensorParallelSize", 1, 1024) or (known.tensor if known and has_workers else None),
        worker.integer("pipelineParallelSize", 1, 1024) or (known.pipeline if known and has_workers else None),
    )
    lifted = pod.container.lifted
    sizes, problems = with_arguments(sizes, lifted.parallelism, expert=lifted.expert)
    made_of, more = spread(sizes, is_group=has_workers)
    if has_workers:
        workers = worker_overlay(worker, ("worker-container",), pod, labels, annotations, Wanted(pod.container.engine))
        if workers:
            made["workerTemplate"] = workers
    predictor.losses += [
        Loss(predictor.path("workerSpec"), predictor.peek("workerSpec"), Severity.ATTENTION, why)
        for why in (*problems, *more)
    ]
    if made_of:
        made["parallelism"] = made_of


def _settings_of_mlserver(framework: str, container: Container, pod: Pod, made: Json, losses: list[Loss]) -> None:
    """MLServer reads model-settings.json beside the weights; where there is none, these variables."""
    named = {var["name"] for var in made.get("env", ())}
    if "MLSERVER_MODEL_IMPLEMENTATION" not in named:
        variable = {"name": "MLSERVER_MODEL_IMPLEMENTATION", "value": implementation(framework)}
        made["env"] = [*made.get("env", ()), variable]
    engine = next((each for each in pod.spec.get("containers", ()) if each["name"] == "engine"), None)
    if engine is None:
        engine = {"name": "engine"}
        pod.spec["containers"] = [engine, *pod.spec.get("containers", ())]
    if all(var["name"] != "MLSERVER_MODEL_URI" for var in engine.get("env", ())):
        engine["env"] = [*engine.get("env", ()), {"name": "MLSERVER_MODEL_URI", "value": "${model.path}"}]
    why = "MLServer serves it: where it does not find the model's file by itself, put a model-settings.json beside it"
    losses.append(Loss("spec.predictor", framework, Severity.ATTENTION, why))


def _protocol(serving: Reading, container: Container) -> None:
    said = serving.text("protocolVersion")
    openai = speaks_openai(container.engine)
    speaks = "OpenAI's API (/v1/…)" if openai else "the Open Inference Protocol (/v2/models/…)"
    if said == "v2" and not openai:
        severity, why = Severity.NOTE, f"the engine speaks it: {speaks}"
    elif openai:
        severity, why = Severity.CHANGED, f"the engine speaks {speaks}; there is no /openai before it"
    else:
        why = f"the engine speaks {speaks}, over HTTP: clients of {said or 'v1, the default,'} have to be changed"
        severity = Severity.ATTENTION
    if said or not openai:
        serving.losses.append(Loss(serving.path("protocolVersion"), said or None, severity, why))


def _version(serving: Reading, choice: _Choice, container: Container, pod: Pod) -> None:
    version = serving.text("runtimeVersion")
    if not version:
        return
    image = choice.original.image if choice.original else ""
    same = choice.original is not None and choice.original.foreign_engine in ("", choice.engine)
    if not image or not same or container.overlay.get("image"):
        why = "say it with the image: podTemplate.spec.containers[engine].image"
        serving.losses.append(Loss(serving.path("runtimeVersion"), version, Severity.LOST, why))
        return
    base = image.partition("@")[0]
    name, colon, tag = base.rpartition(":")
    tagged = f"{name if colon and '/' not in tag else base}:{version}"
    engine = next((each for each in pod.spec.get("containers", ()) if each["name"] == "engine"), None)
    if engine is None:
        engine = {"name": "engine"}
        pod.spec["containers"] = [engine, *pod.spec.get("containers", ())]
    engine["image"] = tagged
    serving.losses.append(
        Loss(serving.path("runtimeVersion"), version, Severity.CHANGED, f"it is the image {tagged} now")
    )  # fmt: skip


def _operation(predictor: Reading, metadata: Metadata, made: Json, pod: Pod) -> None:
    least = predictor.integer("minReplicas", 0, 10_000)
    most = predictor.integer("maxReplicas", 0, 10_000)
    made["replicas"] = 1
    if least is not None or most is not None:
        made["replicas"], made["scaling"] = bounded(None, least, most)
    notes = metadata.foreign
    if notes.text(f"{KSERVE}/stop").lower() == "true":
        made["replicas"] = 0
        if "scaling" in made:
            made["scaling"]["minReplicas"] = 0
        why = "the service has no replicas: scale it up to start it"
        notes.losses.append(Loss(notes.path(f"{KSERVE}/stop"), "true", Severity.CHANGED, why))
    if pod.grace_s is not None:
        made["terminationGracePeriodSeconds"] = pod.grace_s
    if pod.priority_class:
        made["priorityClassName"] = pod.priority_class
    predictor.say("name", Severity.NOTE, "pods are named after the service and its role")
    rollout = _rollout(predictor, pod.container.engine)
    if rollout:
        made["rollout"] = rollout


def _rollout(predictor: Reading, engine: str) -> Json:
    strategy = predictor.child("deploymentStrategy")
    rollout: Json = {}
    if strategy.peek("type") == "Recreate":
        strategy.say("type", Severity.CHANGED, "replicas are replaced one by one, without a gap")
    elif strategy.text("type") not in ("", "RollingUpdate"):
        raise BadManifest(strategy.path("type"), strategy.peek("type"), "expected RollingUpdate or Recreate")
    rollout |= rolling(strategy.child("rollingUpdate"))
    weight = predictor.integer("canaryTrafficPercent", 0, 100)
    if weight is not None and weight < 100 and not speaks_openai(engine):
        rollout["strategy"] = "BlueGreen"
        why = (
            "this engine has one name only, so that no share of the requests can be sent to a new version by name: "
            "all traffic moves at once; for a share, take strategy Canary with canary.httpRoute and a gateway"
        )
        predictor.losses.append(Loss(predictor.path("canaryTrafficPercent"), weight, Severity.LOST, why))
    elif weight is not None and weight < 100:
        rollout["strategy"] = "Canary"
        rollout["canary"] = {"steps": [{"weight": weight, "pause": True}]}
        why = (
            "the next change of the service gets this share, is compared with what serves, and waits for "
            "`fairlead rollout resume`; what serves now cannot be told from one object: apply the former version first"
        )
        predictor.losses.append(Loss(predictor.path("canaryTrafficPercent"), weight, Severity.CHANGED, why))
    elif weight == 100:
        why = "all of the traffic goes to what is applied, as it does by itself"
        predictor.losses.append(Loss(predictor.path("canaryTrafficPercent"), weight, Severity.NOTE, why))
    return rollout
