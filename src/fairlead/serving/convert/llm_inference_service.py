"""`LLMInferenceService` (v1alpha1, v1alpha2) → ModelService, and a ModelAdapter for each of its LoRA adapters.

Source: `pkg/apis/serving/v1alpha{1,2}/llm_inference_service_types.go`, `config/llmisvcconfig` of KServe 0.20.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd
from typing import Any, Final

from fairlead.serving.convert import llm_configs
from fairlead.serving.convert.containers import Container, Wanted
from fairlead.serving.convert.flags import Lifted
from fairlead.serving.convert.metadata import (
    ANNOTATIONS,
    KSERVE,
    Metadata,
    model_name,
    own,
    read_metadata,
    service_metadata,
    short_name,
)
from fairlead.serving.convert.parallelism import Sizes, spread, with_arguments
from fairlead.serving.convert.pods import Pod, read_pod
from fairlead.serving.convert.reading import Reading, Reasons
from fairlead.serving.convert.replicas import bounded, rolling
from fairlead.serving.convert.report import BadManifest, Loss, Severity
from fairlead.serving.convert.sources import place
from fairlead.serving.convert.workers import worker_overlay
from fairlead.serving.convert.world import World, credentials

Json = dict[str, Any]

MAIN: Final = "main"
_PRIORITIES: Final = {"Critical": 10, "Standard": 0, "Sheddable": -10}
_SCALER = (
    "Fairlead does not scale by itself yet, the bounds are kept: point an HPA or a ScaledObject at the ModelService"
)
_REASONS: Final[Reasons] = {
    "wva": (Severity.LOST, _SCALER),
    "keda": (Severity.LOST, _SCALER),
    "route": (
        Severity.LOST,
        "Fairlead's gateway routes by the name of the model without a route; for another gateway, write an HTTPRoute "
        "whose backend is the InferencePool with the service's name",
    ),
    "gateway": (
        Severity.LOST,
        "requests come through Fairlead's gateway; docs/other-gateways.md has how to keep this one in front of it",
    ),
    "ingress": (Severity.LOST, "requests come through Fairlead's gateway: point the Ingress at it"),
    "scheduler": (
        Severity.LOST,
        "Fairlead's gateway picks endpoints; `fairlead epp --config-file` takes an EndpointPickerConfig, where one "
        "has to be kept",
    ),
    "confidential": (Severity.LOST, "weights are not decrypted: keep them out of the clear by other means"),
    "evictionPolicy": (Severity.LOST, "the engine chooses what leaves the host's memory"),
    "secondary": (Severity.LOST, "blocks are kept in host memory only: set the engine's own connector with kvTransfer"),
    "dataRPCPort": (Severity.LOST, "the ranks of several hosts meet on the engine's own port"),
    "criticality": (Severity.LOST, "adapters have no priority of their own: write objectives of the service"),
    "lora": (Severity.LOST, "an adapter has no adapters"),
    **ANNOTATIONS,
}


@dataclass(slots=True)
class _Role:
    """One of the service's roles. `fields` are those of a workload."""

    name: str
    pod: Pod
    fields: Json
    replicas: int
    scaling: Json | None
    rollout: Json


def convert(obj: Json, world: World) -> tuple[list[Json], list[Loss]]:
    """Raises BadManifest, Unconvertible."""
    losses: list[Loss] = []
    merged = llm_configs.merged(obj, world, losses)
    root = Reading(merged, "", losses)
    metadata = read_metadata(root)
    spec = root.child("spec")
    model = spec.child("model")
    name = model_name(model.text("name") or metadata.name, "spec.model.name", losses)
    roles = _roles(spec, metadata, world)
    main = roles[0]
    made: Json = {"model": _model(spec, model, name, main.pod, metadata, world), "runtime": main.pod.container.engine}
    if world.runtime:
        made["runtime"] = world.runtime
    made |= _arrangement(roles, spec)
    adapters = _adapters(model.child("lora"), made, main.pod.container.lifted, metadata)
    _criticality(model, made)
    spec.child("router")
    _tracing(spec.child("tracing"), roles, made)
    if main.rollout:
        made["rollout"] = main.rollout
    if len(roles) > 1 and roles[1].rollout and roles[1].rollout != main.rollout:
        why = "all roles of a service roll together, by the rolloutStrategy of the whole"
        losses.append(Loss("spec.prefill.rolloutStrategy", roles[1].rollout, Severity.LOST, why))
    service = own("ModelService", service_metadata(root, metadata), made)
    root.close(_REASONS)
    metadata.foreign.close(_REASONS)
    return [service, *adapters], losses


def _model(spec: Reading, model: Reading, name: str, pod: Pod, metadata: Metadata, world: World) -> Json:
    uri = model.text("uri")
    if not uri:
        raise BadManifest("spec.model.uri", None, "expected where the weights are, such as hf://owner/name")
    where = place(uri, "spec.model.uri")
    for severity, why in where.said:
        spec.losses.append(Loss("spec.model.uri", uri, severity, why))
    made: Json = {"name": name, **where.to_json()}
    lifted = pod.container.lifted
    aliases = [each for each in dict.fromkeys(lifted.names) if each != name]
    if aliases:
        at = "spec.template: --served-model-name"
        made["aliases"] = list(dict.fromkeys(model_name(each, at, spec.losses) for each in aliases))[:16]
    if lifted.max_context_tokens:
        made["maxContextTokens"] = lifted.max_context_tokens
    initializer = spec.child("storageInitializer")
    is_on = initializer.boolean("enabled")
    if is_on is False and where.source.startswith("hf://"):
        made["delivery"] = "Engine"
    elif is_on is False:
        why = "no engine loads this source by itself: it is delivered as model.delivery says"
        spec.losses.append(Loss("spec.storageInitializer.enabled", False, Severity.CHANGED, why))
    elif is_on:
        why = "it is so wherever the engine cannot load the source by itself (model.delivery)"
        spec.losses.append(Loss("spec.storageInitializer.enabled", True, Severity.NOTE, why))
    secret = credentials(
        where, pod.container, pod.account, pod.pull_secrets, world, metadata.namespace,
        "spec.template.serviceAccountName", spec.losses,
    )  # fmt: skip
    if secret:
        made["pullSecret"] = secret
    if world.is_cached(uri):
        made["pinned"] = True
    return made


def _roles(spec: Reading, metadata: Metadata, world: World) -> list[_Role]:
    has_prefill = "prefill" in spec
    roles = [_role(spec, "decode" if has_prefill else "unified", metadata, world)]
    prefill = spec.child("prefill")
    if has_prefill:
        roles.append(_role(prefill, "prefill", metadata, world))
    return roles


def _role(reading: Reading, name: str, metadata: Metadata, world: World) -> _Role:
    other = world.engine if world.runtime else ""
    wanted = Wanted(other=other, default="vllm", appends=True)
    pod = read_pod(reading.child("template"), (MAIN,), wanted)
    fields = dict(pod.workload)
    _accelerators(metadata, fields, pod.container)
    labels = {**metadata.labels, **reading.text_map("labels")}
    annotations = {**metadata.annotations, **reading.text_map("annotations")}
    is_whole = name != "unified"
    overlay = pod.overlay(labels, annotations, whole=is_whole)
    if overlay:
        fields["podTemplate"] = overlay
    lifted = pod.container.lifted
    sizes, problems = with_arguments(
        _sizes(reading.child("parallelism")), lifted.parallelism, expert=lifted.expert
    )  # fmt: skip
    has_workers = "worker" in reading
    worker = reading.child("worker")
    parallelism, more = spread(sizes, is_group=has_workers)
    reading.losses += [
        Loss(reading.path("parallelism"), reading.peek("parallelism"), Severity.ATTENTION, why)
        for why in (*problems, *more)
    ]
    if parallelism:
        fields["parallelism"] = parallelism
    if has_workers:
        workers = worker_overlay(worker, (MAIN,), pod, labels, annotations, wanted)
        if workers:
            fields["workerTemplate"] = workers
    cache = dict(lifted.kv_cache)
    offload = reading.child("kvCacheOffloading")
    amount = offload.take("cpu")
    if amount is not None:
        cache["offload"] = str(amount)
    if cache:
        fields["kvCache"] = cache
    replicas, scaling = _scale(reading)
    return _Role(name, pod, fields, replicas, scaling, rolling(reading.child("rolloutStrategy")))


def _sizes(reading: Reading) -> Sizes:
    return Sizes(
        reading.integer("tensor", 1, 1024),
        reading.integer("pipeline", 1, 1024),
        reading.integer("data", 1, 1024),
        reading.integer("dataLocal", 1, 1024),
        bool(reading.boolean("expert")),
    )


def _scale(reading: Reading) -> tuple[int, Json | None]:
    replicas = reading.integer("replicas", 0, 10_000)
    if "scaling" not in reading:
        return 1 if replicas is None else replicas, None
    scaling = reading.child("scaling")
    least, most = scaling.integer("minReplicas", 0, 10_000), scaling.integer("maxReplicas", 0, 10_000)
    start, bounds = bounded(replicas, least, most)
    if replicas not in (None, start):
        why = f"it is outside of scaling's bounds: the service starts with {start}"
        reading.losses.append(Loss(reading.path("replicas"), replicas, Severity.CHANGED, why))
    return start, bounds


def _arrangement(roles: list[_Role], spec: Reading) -> Json:
    """Replicas and roles, and what all roles have in common."""
    main = roles[0]
    transfers = [role.pod.container.lifted.kv_transfer for role in roles]
    if len(roles) == 1:
        _keep_transfer(roles)
        made: Json = {**main.fields, "replicas": main.replicas}
        if main.pod.grace_s is not None:
            made["terminationGracePeriodSeconds"] = main.pod.grace_s
        if main.pod.priority_class:
            made["priorityClassName"] = main.pod.priority_class
        return made | ({"scaling": main.scaling} if main.scaling else {})
    made = {}
    if transfers[0] is not None and transfers[0] == transfers[1]:
        made["kvTransfer"] = transfers[0]
        for role in roles:
            text, why = " ".join(role.pod.container.lifted.kv_transfer_args), "it is kvTransfer of the service now"
            spec.losses.append(Loss(f"spec ({role.name}): arguments", text, Severity.NOTE, why))
    else:
        _keep_transfer(roles)
    sets = gcd(*(role.replicas for role in roles)) or 1
    sets = sets if all(role.replicas for role in roles) else 1
    made["replicas"] = sets
    made["roles"] = [
        {"name": role.name, "replicas": role.replicas // sets, **role.fields}
        | ({"scaling": role.scaling} if role.scaling else {})
        for role in sorted(roles, key=lambda role: role.name, reverse=True)
    ]
    return made


def _keep_transfer(roles: list[_Role]) -> None:
    """The connector stays an argument where the service has none for all."""
    for role in roles:
        text = role.pod.container.lifted.kv_transfer_args
        if text:
            role.fields["args"] = [*role.fields.get("args", ()), *text]


def _accelerators(metadata: Metadata, fields: Json, container: Container) -> None:
    """Devices of a claim, which annotations ask for in KServe."""
    notes = metadata.foreign
    device_class = notes.text(f"{KSERVE}/exp-dra-device-class").strip()
    if not device_class:
        return
    count = notes.text(f"{KSERVE}/exp-dra-device-count").strip() or "1"
    if not re.fullmatch(r"[0-9]{1,2}", count) or not 1 <= int(count) <= 64:
        raise BadManifest(notes.path(f"{KSERVE}/exp-dra-device-count"), count, "expected 1 to 64 devices")
    selectors = [line.strip() for line in notes.text(f"{KSERVE}/exp-dra-cel-selector").splitlines() if line.strip()]
    named = notes.text(f"{KSERVE}/exp-dra-container-name").strip()
    if named and named != MAIN:
        why = "the devices are the engine's"
        notes.losses.append(
            Loss(notes.path(f"{KSERVE}/exp-dra-container-name"), named, Severity.CHANGED, why)
        )  # fmt: skip
    entry: Json = {"name": "claimed", "deviceClass": device_class, "count": int(count)}
    if selectors:
        entry["selectors"] = selectors[:32]
    if "accelerators" in fields:
        dropped = fields["accelerators"]
        why = "a replica takes either a claim's devices or an extended resource: the claim is kept"
        notes.losses.append(Loss("spec.template: resources", dropped, Severity.LOST, why))
    fields["accelerators"] = [entry]
    container.devices = int(count)


def _adapters(lora: Reading, made: Json, lifted: Lifted, metadata: Metadata) -> list[Json]:
    losses, policy = lora.losses, dict(lifted.adapters)
    rank, slots, on_host = (lora.integer(key, 1, 1024) for key in ("maxRank", "maxAdapters", "maxCpuAdapters"))
    for key, value in (("slots", slots), ("maxRank", rank)):
        if value is not None:
            policy[key] = value
    if on_host is not None:
        targets = made.get("roles", [made])
        for target in targets:
            target["args"] = [*target.get("args", ()), "--max-cpu-loras", str(on_host)]
    service = short_name(metadata.name)
    objects: list[Json] = []
    taken: set[str] = set()
    for each in lora.children("adapters"):
        name = model_name(each.text("name") or f"adapter-{len(objects)}", each.path("name"), losses)[:200]
        where = place(each.text("uri"), each.path("uri"))
        plain = re.sub(r"[^a-z0-9]+", "-", f"{service}-{name}".lower()).strip("-")
        object_name = short_name(plain, 63)
        while object_name in taken:
            object_name = short_name(f"{object_name}-{len(objects)}", 63)
        taken.add(object_name)
        if not where.source.startswith(("hf://", "/", "file://", "pvc://")):
            policy["fetch"] = True
        spec = {"service": service, "source": where.source, "name": name, "baseModel": _base(made["model"]["source"])}
        meta = {"name": object_name, **({"namespace": metadata.namespace} if metadata.namespace else {})}
        objects.append(own("ModelAdapter", meta, {key: value for key, value in spec.items() if value}))
        why = f"it is the ModelAdapter {object_name}: loaded, replaced and taken away while the engines run"
        losses.append(Loss(each.field, name, Severity.CHANGED, why))
    if policy or objects or lifted.serves_adapters:
        made["adapters"] = policy
    return objects


def _base(source: str) -> str:
    """The base model as adapters' own files name it; empty where the source does not say."""
    name = source.removeprefix("hf://").partition("@")[0] if source.startswith("hf://") else ""
    return name if len(name) <= 253 else ""


def _criticality(model: Reading, made: Json) -> None:
    said = model.text("criticality")
    if not said:
        return
    if said not in _PRIORITIES:
        raise BadManifest("spec.model.criticality", said, f"expected one of {', '.join(_PRIORITIES)}")
    made["objectives"] = [{"name": said.lower(), "priority": _PRIORITIES[said]}]
    why = (
        f"it is an objective now: requests that name it in x-gateway-inference-objective ({said.lower()}) have the "
        f"priority {_PRIORITIES[said]}, others 0"
    )
    model.losses.append(Loss("spec.model.criticality", said, Severity.CHANGED, why))


def _tracing(tracing: Reading, roles: list[_Role], made: Json) -> None:
    """What KServe tells vLLM: its argument, and OpenTelemetry's own variables."""
    endpoint = tracing.text("exporterEndpoint")
    if not endpoint:
        return
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_EXPORTER": tracing.text("exporter"),
        "OTEL_TRACES_SAMPLER": tracing.text("sampler"),
        "OTEL_TRACES_SAMPLER_ARG": tracing.text("samplerArg"),
    }
    for target, role in zip(
        made.get("roles") or [made], sorted(roles, key=lambda r: r.name, reverse=True), strict=True
    ):
        if role.pod.container.engine == "vllm":
            target["args"] = [*target.get("args", ()), "--otlp-traces-endpoint", endpoint]
        named = {var["name"] for var in target.get("env", ())}
        added = [{"name": k, "value": v} for k, v in variables.items() if v and k not in named]
        target["env"] = [*target.get("env", ()), *added]
    why = "it is told to the engines; for spans of the gateway, start `fairlead gateway` with --tracing"
    tracing.losses.append(Loss("spec.tracing.exporterEndpoint", endpoint, Severity.CHANGED, why))
