"""`ServingRuntime` and `ClusterServingRuntime` v1alpha1 → ServingRuntime, which is of the whole cluster.

Source: `pkg/apis/serving/v1alpha1/servingruntime_types.go`, `config/runtimes` of KServe 0.20.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from fairlead.api.serving_runtime import ENGINES
from fairlead.serving.convert.containers import Container, Wanted, each_text, pod_text
from fairlead.serving.convert.flags import options
from fairlead.serving.convert.formats import SAME_PROGRAM, SERVER_TYPES, SHIPPED, our_format, speaks_openai
from fairlead.serving.convert.go_templates import fill_fields
from fairlead.serving.convert.metadata import KSERVE, Metadata, own, read_metadata
from fairlead.serving.convert.pods import Pod, read_pod
from fairlead.serving.convert.reading import Reading, Reasons
from fairlead.serving.convert.report import Loss, Severity, Unconvertible
from fairlead.serving.convert.world import Key, KnownRuntime
from fairlead.serving.render.container import ENGINE

Json = dict[str, Any]

MAIN: Final = ("kserve-container", "kfserving-container")
_OPEN, _CLOSE = "\ue000", "\ue001"
"""Stand for the braces of an expression until `${` of the original is escaped."""
_MESH = (Severity.LOST, "the gateway routes, and engines hold several models by themselves (multiModel)")
_REASONS: Final[Reasons] = {
    "grpcEndpoint": _MESH,
    "grpcDataEndpoint": _MESH,
    "httpDataEndpoint": _MESH,
    "storageHelper": (Severity.LOST, "Fairlead's own fetcher brings models to nodes"),
    "builtInAdapter": (Severity.LOST, "Fairlead's adapter of the engine does this"),
    "replicas": (Severity.LOST, "services say how many they are"),
}


def name_of(obj: Json, others: frozenset[str]) -> str:
    """The name of ours: runtimes are of the whole cluster, where Fairlead has some of its own. `others` are names
    that are taken."""
    metadata = obj.get("metadata") or {}
    name, namespace = str(metadata.get("name")), str(metadata.get("namespace") or "")
    is_taken = name in ENGINES or name in others
    return f"kserve-{namespace}-{name}".replace("--", "-")[:253] if is_taken else name


def known(obj: Json, name: str) -> KnownRuntime:
    """What services have to know of it. Raises BadManifest."""
    root = Reading(obj, "", [])
    spec = root.child("spec")
    metadata = read_metadata(root)
    foreign, engine = _engines(spec, metadata)
    worker = spec.child("workerSpec")
    formats: dict[str, int] = {}
    for each in spec.children("supportedModelFormats"):
        chosen = each.boolean("autoSelect") or False
        formats[each.text("name")] = (each.integer("priority", 0, 2**31 - 1) or 1) if chosen else 0
    if spec.boolean("disabled"):
        formats = dict.fromkeys(formats, 0)
    return KnownRuntime(
        name, engine, formats, foreign, _image(spec), worker.integer("tensorParallelSize", 1, 1024),
        worker.integer("pipelineParallelSize", 1, 1024), "workerSpec" in spec, tuple(spec.texts("protocolVersions")),
    )  # fmt: skip


def key_of(obj: Json) -> Key:
    """Where services find it."""
    metadata = obj.get("metadata") or {}
    namespace = "" if obj.get("kind") == "ClusterServingRuntime" else str(metadata.get("namespace") or "")
    return namespace, str(metadata.get("name"))


def convert(obj: Json, name: str) -> tuple[list[Json], list[Loss]]:
    """Raises BadManifest, Unconvertible."""
    losses: list[Loss] = []
    marked = {**obj, "spec": fill_fields(obj.get("spec"), "spec", _expression, losses)}
    root = Reading(marked, "", losses)
    metadata = read_metadata(root)
    spec = root.child("spec")
    foreign, engine = _engines(spec, metadata)
    server_type = metadata.foreign.text(f"{KSERVE}/server-type")
    if not engine:
        raise Unconvertible(
            "spec.containers", _image(spec) or metadata.name, "no engine that Fairlead speaks to is in there: serve "
            "its models with one of `fairlead engines`",
        )  # fmt: skip
    is_same = not server_type or server_type in SAME_PROGRAM
    pod = read_pod(spec, MAIN, Wanted(foreign, keeps_image=is_same))
    made: Json = {"engine": engine, **_formats(spec, engine)}
    _say_protocols(spec, engine)
    if spec.boolean("multiModel"):
        made["multiModel"] = True
    if spec.boolean("disabled"):
        made["disabled"] = True
    _container(pod, made, losses)
    overlay = pod.overlay(spec.text_map("labels"), spec.text_map("annotations"), whole=True)
    if "nodeSelector" in pod.workload:
        overlay.setdefault("spec", {})["nodeSelector"] = pod.workload["nodeSelector"]
    if overlay:
        made["template"] = overlay
    _workers(spec, losses)
    kept = {"name": name, "labels": metadata.labels, "annotations": metadata.annotations}
    if name != metadata.name:
        why = f"a runtime of this name is there already: it is {name} now, also for services that are converted with it"
        losses.append(Loss("metadata.name", metadata.name, Severity.CHANGED, why))
    if metadata.namespace:
        why = "runtimes are there for all namespaces"
        losses.append(Loss("metadata.namespace", metadata.namespace, Severity.CHANGED, why))
    root.close(_REASONS)
    metadata.foreign.close(_REASONS)
    made_object = own("ServingRuntime", {key: value for key, value in kept.items() if value}, _in_runtime(made))
    return [made_object], [replace(loss, value=each_text(loss.value, _unmarked)) for loss in losses]


def _engines(spec: Reading, metadata: Metadata) -> tuple[str, str]:
    """The engine by which arguments are read, and that of ours in its place; empty where there is none."""
    said = metadata.foreign.peek(f"{KSERVE}/server-type") or (spec.peek("builtInAdapter") or {}).get("serverType")
    foreign = SERVER_TYPES.get(said or "") if said in SERVER_TYPES else SHIPPED.get(metadata.name)
    if foreign is None:
        copied = Reading(spec.value, spec.field, [])
        foreign = read_pod(copied, MAIN, Wanted()).container.engine
        # The reading above takes KServe's server for what replaces it; its arguments are those of the original.
        if foreign == "vllm" and "huggingfaceserver" in _image(spec):
            foreign = "huggingfaceserver"
    return foreign, "vllm" if foreign == "huggingfaceserver" else foreign


def _image(spec: Reading) -> str:
    containers = spec.peek("containers")
    listed = [each for each in containers if isinstance(each, dict)] if isinstance(containers, list) else []
    main = next((each for each in listed if each.get("name") in MAIN), listed[0] if listed else {})
    return str(main.get("image") or "")


def _expression(path: str) -> str | None:
    """A field of the service in KServe's templates, as an expression of ours."""
    head, _, rest = path.removeprefix("ObjectMeta.").partition(".")
    if head in ("Name", "Namespace") and not rest:
        return f"{_OPEN}service.{head.lower()}{_CLOSE}"
    if head in ("Labels", "Annotations") and rest and "'" not in rest and "\\" not in rest:
        return f"{_OPEN}service.{head.lower()}['{rest}']{_CLOSE}"
    return None


def _formats(spec: Reading, engine: str) -> Json:
    formats: dict[str, list[tuple[str, int]]] = {}
    for each in spec.children("supportedModelFormats"):
        each.say("version", Severity.LOST, "formats have no versions: name the runtime where it matters")
        name = our_format(each.text("name"), engine)
        chosen, priority = each.boolean("autoSelect"), each.integer("priority", 0, 2**31 - 1)
        mine = min(priority or 1, 1000) if chosen else 0
        if not chosen and priority:
            why = "without autoSelect it is only taken by services that name it"
            each.losses.append(Loss(each.path("priority"), priority, Severity.NOTE, why))
        if priority and priority > 1000:
            why = "priorities end at 1000"
            each.losses.append(Loss(each.path("priority"), priority, Severity.CHANGED, why))
        if name != each.text("name"):
            why = f"Fairlead calls it {name}"
            each.losses.append(Loss(each.path("name"), each.text("name"), Severity.CHANGED, why))
        if name:
            formats.setdefault(name, []).append((each.text("name"), mine))
    for name, same in formats.items():
        if len(same) > 1:
            why = f"all of these are {name} here: the highest priority counts"
            spec.losses.append(
                Loss(
                    spec.path("supportedModelFormats"),
                    [{"name": n, "priority": p} for n, p in same],
                    Severity.CHANGED,
                    why,
                )
            )
    priorities = {name: max(priority for _, priority in same) for name, same in formats.items()}
    listed = [{"name": name, **({"priority": priority} if priority else {})} for name, priority in priorities.items()]
    return {"formats": listed[:32]} if listed else {}


def _say_protocols(spec: Reading, engine: str) -> None:
    api = "OpenAI's API" if speaks_openai(engine) else "the Open Inference Protocol (v2) over HTTP"
    spec.say("protocolVersions", Severity.CHANGED, f"the engine speaks {api}")


def _container(pod: Pod, made: Json, losses: list[Loss]) -> None:
    """The engine's container as the runtime's own fields; the rest stays in the template."""
    container: Container = pod.container
    workload = pod.workload
    if "args" in workload:
        made["defaultArgs"] = [text for group in options(workload["args"]) for text in _texts(group)][:256]
    if "command" in workload:
        made["command"] = workload["command"]
    for key in ("env", "resources"):
        if key in workload:
            made[key] = workload[key]
    listed = pod.spec.get("containers", [])
    image = container.overlay.get("image")
    if image:
        made["image"] = image
    for each in listed:
        if each["name"] == ENGINE:
            each.pop("image", None)
    pod.spec["containers"] = [each for each in listed if each != {"name": ENGINE}]
    if not pod.spec["containers"]:
        del pod.spec["containers"]
    _say_what_services_say(container, losses)


def _say_what_services_say(container: Container, losses: list[Loss]) -> None:
    devices = container.workload.get("accelerators")
    if devices:
        why = "services say which accelerators they want: write accelerators[] there"
        losses.append(Loss("spec.containers: resources", devices, Severity.LOST, why))
    lifted = container.lifted
    said: Json = {
        "parallelism": lifted.parallelism, "expert": lifted.expert, "kvCache": lifted.kv_cache,
        "maxContextTokens": lifted.max_context_tokens, "adapters": lifted.adapters, "kvTransfer": lifted.kv_transfer,
    }  # fmt: skip
    for name, value in said.items():
        if value:
            why = f"services say this with a field of their own ({name}): write it there"
            losses.append(Loss(f"spec.containers: {name}", value, Severity.LOST, why))


def _texts(group: list[str]) -> list[str]:
    """One flag, with its value, in each text."""
    return [group[0]] if len(group) == 1 else [f"{group[0]} {group[1]}", *group[2:]]


def _in_runtime(made: Json) -> Json:
    """With KServe's folder of the weights as the model's path, and what templates named as expressions."""
    for key in ("command", "defaultArgs", "env"):
        if key in made:
            made[key] = pod_text(made[key], model_path="${model.path}")
    whole: Json = each_text(made, _unmarked)
    return whole


def _unmarked(text: str) -> str:
    return text.replace(_OPEN, "${").replace(_CLOSE, "}")


def _workers(spec: Reading, losses: list[Loss]) -> None:
    if "workerSpec" not in spec:
        return
    worker = spec.child("workerSpec")
    sizes = {key: worker.take(key) for key in ("tensorParallelSize", "pipelineParallelSize") if key in worker}
    if sizes:
        why = "services say it with parallelism; those that are converted together with the runtime do"
        losses.append(Loss(worker.field, sizes, Severity.CHANGED, why))
    rest = {key: worker.take(key) for key in worker.keys() if key not in sizes}  # noqa: SIM118
    if rest:
        why = "workers run as the engine's adapter starts them, in pods like the leader's: else write workerTemplate"
        losses.append(Loss(f"{worker.field} (pod)", rest, Severity.LOST, why))
