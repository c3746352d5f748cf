"""What the objects of the API make of a pool: pools, pods, rewrites and objectives in, the picker's pools out. Pure.

A pod is an endpoint when it has the pool's labels, an address and the condition Ready, and is neither being deleted
nor being drained. Each target port of the pool is an endpoint of its own; a pod may name those of them that it uses.

Protocol: InferencePool v1 of the Gateway API Inference Extension; InferenceObjective, InferenceModelRewrite, the labels
and annotations `llm-d.ai/…` of llm-d, and the names that these had before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairlead.api.inference_pool import (
    ADAPTER_LABEL,
    ADAPTER_PLACEMENT_ANNOTATION,
    ADAPTER_STARTS_ANNOTATION,
    ADAPTERS_ANNOTATION,
    KNOWN_NAMES_ANNOTATION,
    MODELS_ANNOTATION,
)
from fairlead.api.traffic_report import REPORT_ANNOTATION
from fairlead.engines import ENGINES, RUNTIME_LABEL
from fairlead.gateway.endpoints import Endpoint, Pool, Rewrite
from fairlead.kube.objects.meta import KubernetesObject, ObjectMeta, Part

CONFIG_ANNOTATION = "fairlead.dev/picker-config"
"""On an InferencePool: `name` or `name/key` of a ConfigMap of its namespace with an EndpointPickerConfig."""

SCALE_TARGET_ANNOTATION = "fairlead.dev/scale-target"
"""On an InferencePool: `Kind/name` of what is to be scaled up when a request comes and no replica is there."""

TOKENIZER_ANNOTATION = "fairlead.dev/tokenizer"
"""On an InferencePool: path of a tokenizer.json, as the picker sees it."""

DRAINING_ANNOTATION = "fairlead.dev/draining"
"""On a pod, any value but "false": it finishes what it has and gets nothing new."""

ROLE_LABELS = ("llm-d.ai/role", "fairlead.dev/role")
ENGINE_LABELS = ("llm-d.ai/engine-type", "inference.networking.k8s.io/engine-type")
ACTIVE_PORTS_ANNOTATIONS = ("llm-d.ai/active-ports", "inference.networking.k8s.io/active-ports")
SERVICE_LABEL = "fairlead.dev/model-service"
REVISION_LABEL = "fairlead.dev/revision"
"""On a pod: which version of its service it is of. Prompts are computed by engines of the same one alone."""

DEFAULT_RUNTIME = "vllm"
"""Of pools that do not say: what most foreign pools run, and the names most other engines have copied."""

MAX_PORTS = 8
"""Target ports of a pool; each is an endpoint of every pod."""

MAX_PROBLEMS = 10

_ENGINE_TYPES = {"trtllm-serve": "tensorrt-llm", "triton-tensorrt-llm": "triton", "vllm-d": "vllm"}
"""llm-d's names of engines, where they are not ours."""

_ROLES = {
    "both": "both", "unified": "both", "prefill": "prefill", "decode": "decode", "encode": "encode",
    "prefill-decode": "prefill-decode", "encode-prefill": "encode-prefill", "encode-prefill-decode": "both",
}  # fmt: skip


class PodCondition(Part, frozen=True, gc=False):
    type: str = ""
    status: str = ""


class StartedContainer(Part, frozen=True, gc=False):
    restart_count: int = 0


class ServingPodStatus(Part, frozen=True, gc=False):
    pod_ip: str = ""
    conditions: Sequence[PodCondition] = ()
    container_statuses: Sequence[StartedContainer] = ()


class ServingPod(KubernetesObject, frozen=True, gc=False):
    """The fields of a Pod that decide whether it serves."""

    status: ServingPodStatus = ServingPodStatus()


class TargetPort(Part, frozen=True, gc=False):
    number: int = 0


class PoolSelector(Part, frozen=True, gc=False):
    match_labels: Mapping[str, str] = {}


class PickerRef(Part, frozen=True, gc=False):
    failure_mode: str = ""


class ServingPoolSpec(Part, frozen=True, gc=False):
    selector: PoolSelector = PoolSelector()
    target_ports: Sequence[TargetPort] = ()
    app_protocol: str = ""
    endpoint_picker_ref: PickerRef = PickerRef()


class ServingPool(KubernetesObject, frozen=True, gc=False):
    """The fields of an InferencePool that decide its endpoints."""

    spec: ServingPoolSpec = ServingPoolSpec()


class PoolRef(Part, frozen=True, gc=False):
    name: str = ""


class ObjectiveSpec(Part, frozen=True, gc=False):
    priority: int | None = None
    pool_ref: PoolRef = PoolRef()


class Objective(KubernetesObject, frozen=True, gc=False):
    """An InferenceObjective: how important a class of requests to a pool is."""

    spec: ObjectiveSpec = ObjectiveSpec()


class ModelMatch(Part, frozen=True, gc=False):
    value: str = ""


class RuleMatch(Part, frozen=True, gc=False):
    model: ModelMatch | None = None


class RuleTarget(Part, frozen=True, gc=False):
    model_rewrite: str = ""
    weight: int | None = None


class RewriteRule(Part, frozen=True, gc=False):
    matches: Sequence[RuleMatch] = ()
    targets: Sequence[RuleTarget] = ()


class RewriteSpec(Part, frozen=True, gc=False):
    pool_ref: PoolRef = PoolRef()
    rules: Sequence[RewriteRule] = ()


class ModelRewrite(KubernetesObject, frozen=True, gc=False):
    """An InferenceModelRewrite: which name the engines of a pool are asked for."""

    spec: RewriteSpec = RewriteSpec()


def compute_pool(
    pool: ServingPool,
    pods: Iterable[ServingPod],
    rewrites: Iterable[ModelRewrite] = (),
    objectives: Iterable[Objective] = (),
) -> Pool:
    """The picker's pool; `pods` are candidates, the others objects that name the pool. Endpoints are in order of pod
    name and port. What cannot be followed is left out and named in `problems`."""
    metadata, problems = pool.metadata, list[str]()
    annotations = metadata.annotations
    ports = list(dict.fromkeys(port.number for port in pool.spec.target_ports if 0 < port.number < 65536))
    if len(ports) > MAX_PORTS:
        problems.append(f"spec.targetPorts: {len(ports)} ports; the first {MAX_PORTS} are used")
    runtime = _runtime(metadata, problems) or DEFAULT_RUNTIME
    serving = sorted((p for p in pods if is_serving(p, pool)), key=lambda p: p.metadata.name)
    rewrites = tuple(rewrites)
    led = [
        t.model_rewrite for r in rewrites if ADAPTER_LABEL in r.metadata.labels for x in r.spec.rules for t in x.targets
    ]
    by_pod = bool(led) or annotations.get(ADAPTER_PLACEMENT_ANNOTATION) == "pods"
    endpoints = [e for pod in serving for e in _endpoints(pod, ports[:MAX_PORTS], runtime, by_pod, problems)]
    return Pool(
        key=f"{metadata.namespace}/{metadata.name}",
        models=_names(annotations.get(MODELS_ANNOTATION, "")),
        endpoints=tuple({e.address: e for e in endpoints}.values()),
        runtime=runtime,
        age_key=metadata.creation_timestamp or "",
        config=config_key(pool),
        rewrites=compute_rules(rewrites),
        objectives={o.metadata.name: o.spec.priority or 0 for o in objectives},
        scale_target=_scale_target(metadata, problems),
        tokenizer=annotations.get(TOKENIZER_ANNOTATION, ""),
        adapters=tuple(dict.fromkeys((*_names(annotations.get(ADAPTERS_ANNOTATION, "")), *led))),
        known_names=_names(annotations.get(KNOWN_NAMES_ANNOTATION, "")),
        h2c=pool.spec.app_protocol == "kubernetes.io/h2c",
        reports=annotations.get(REPORT_ANNOTATION, "").strip(),
        uid=metadata.uid,
        fails_open=pool.spec.endpoint_picker_ref.failure_mode == "FailOpen",
        problems=tuple(dict.fromkeys(problems))[:MAX_PROBLEMS],
    )


def selects(pool: ServingPool, pod: ServingPod) -> bool:
    """Whether the pod belongs to the pool, serving or not. An empty selector selects nothing."""
    wanted = pool.spec.selector.match_labels
    return (
        bool(wanted)
        and pod.metadata.namespace == pool.metadata.namespace
        and all(pod.metadata.labels.get(key) == value for key, value in wanted.items())
    )


def is_serving(pod: ServingPod, pool: ServingPool) -> bool:
    """Whether the pod may get requests of the pool."""
    metadata = pod.metadata
    return (
        selects(pool, pod)
        and metadata.deletion_timestamp is None
        and metadata.annotations.get(DRAINING_ANNOTATION, "false") == "false"
        and bool(pod.status.pod_ip)
        and any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    )


def compute_rules(rewrites: Iterable[ModelRewrite]) -> tuple[Rewrite, ...]:
    """The rules of one pool in order of precedence: exact names before any name, then the oldest object's, then as they
    are listed. A target without a weight gets nothing where others have one, and an equal share where none
    has. Matches that name no model, and rules without a target that can be chosen, are left out."""
    found = []
    for rewrite in sorted(rewrites, key=lambda r: (r.metadata.creation_timestamp or "", r.metadata.name)):
        name = f"{rewrite.metadata.namespace}/{rewrite.metadata.name}"
        for rule in rewrite.spec.rules:
            models = tuple(dict.fromkeys(m.model.value for m in rule.matches if m.model is not None and m.model.value))
            is_weighted = any(target.weight is not None for target in rule.targets)
            targets = tuple(
                (target.model_rewrite, weight)
                for target in rule.targets
                if target.model_rewrite and (weight := (target.weight or 0) if is_weighted else 1) > 0
            )
            if targets and (models or not rule.matches):
                found.append(Rewrite(models, targets, name))
    return tuple(sorted(found, key=lambda rule: not rule.models))


def config_key(pool: ServingPool) -> str:
    """Key of the pool's picker configuration in the registry: namespace/name or namespace/name/key of a ConfigMap."""
    name = pool.metadata.annotations.get(CONFIG_ANNOTATION, "").strip()
    return f"{pool.metadata.namespace}/{name}" if name else ""


def config_text(data: Mapping[str, str], key: str) -> str | None:
    """The text of a ConfigMap under a key; without one, what is under its only key, or under `config.yaml`."""
    if key:
        return data.get(key)
    return next(iter(data.values())) if len(data) == 1 else data.get("config.yaml")


def _led_to(rewrites: Iterable[ModelRewrite]) -> list[str]:
    """Adapters that rules of theirs lead to."""
    rules = [rule for rewrite in rewrites if ADAPTER_LABEL in rewrite.metadata.labels for rule in rewrite.spec.rules]
    return [target.model_rewrite for rule in rules for target in rule.targets if target.model_rewrite]


def loaded_adapters(pod: ServingPod) -> frozenset[str]:
    """Adapters that the pod says it has, unless a container was restarted since it said so."""
    said = pod.metadata.annotations.get(ADAPTERS_ANNOTATION, "")
    if not said:
        return frozenset()
    starts = sum([c.restart_count for c in pod.status.container_statuses])
    is_current = pod.metadata.annotations.get(ADAPTER_STARTS_ANNOTATION, "0") == str(starts)
    return frozenset(_names(said)) if is_current else frozenset()


def _endpoints(
    pod: ServingPod, ports: Sequence[int], pool_runtime: str, by_pod: bool, problems: list[str]
) -> Iterable[Endpoint]:
    metadata, ip = pod.metadata, pod.status.pod_ip
    name = f"{metadata.namespace}/{metadata.name}"
    active = next((metadata.annotations[a] for a in ACTIVE_PORTS_ANNOTATIONS if a in metadata.annotations), None)
    if active is not None:
        wanted = {part.strip() for part in active.split(",")}
        ports = [port for port in ports if str(port) in wanted]
    said = next((role for label in ROLE_LABELS if (role := metadata.labels.get(label))), "both")
    if said not in _ROLES:
        problems.append(f"pod {name}: unknown role {said!r}; it is taken for one that does everything")
    runtime = _runtime(metadata, problems)
    own = runtime if runtime and runtime != pool_runtime else ""
    adapters = loaded_adapters(pod) if by_pod else None
    for port in ports:
        address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        yield Endpoint(address, name, _ROLES.get(said, "both"), metadata.labels, own, adapters)


def _runtime(metadata: ObjectMeta, problems: list[str]) -> str:
    """What labels (or, of pools, an annotation) say of the engine; empty = nothing that is known."""
    said = metadata.labels.get(RUNTIME_LABEL) or metadata.annotations.get(RUNTIME_LABEL) or ""
    said = said or next((kind for label in ENGINE_LABELS if (kind := metadata.labels.get(label))), "")
    runtime = _ENGINE_TYPES.get(said, said)
    if runtime and runtime not in ENGINES:
        problems.append(f"{metadata.name}: unknown runtime {said!r}; its metrics are read like {DEFAULT_RUNTIME}'s")
        return ""
    return runtime


def _scale_target(metadata: ObjectMeta, problems: list[str]) -> str:
    said = metadata.annotations.get(SCALE_TARGET_ANNOTATION, "").strip()
    if said:
        kind, _, name = said.partition("/")
        if kind and name and "/" not in name:
            return f"{kind}/{metadata.namespace}/{name}"
        problems.append(f"annotation {SCALE_TARGET_ANNOTATION}: {said!r} is not Kind/name")
        return ""
    owner = metadata.controller
    if owner is not None and owner.kind == "ModelService":
        return f"{owner.kind}/{metadata.namespace}/{owner.name}"
    service = metadata.labels.get(SERVICE_LABEL, "")
    return f"ModelService/{metadata.namespace}/{service}" if service else ""


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


class SelectorIndex:
    """Which pools may select a pod, without asking all of them.

    A pool is kept under one pair of its selector, the one under which the fewest others are; a pod can only belong to
    pools under one of its own pairs.
    """

    def __init__(self) -> None:
        self._under: dict[str, set[str]] = {}  # pair -> keys of pools
        self._pair: dict[str, str] = {}  # key of a pool -> its pair

    def put(self, key: str, pool: ServingPool) -> None:
        """A pool is new or has changed."""
        self.drop(key)
        pairs = pairs_of(pool.metadata.namespace, pool.spec.selector.match_labels)
        if pairs:
            pair = min(pairs, key=lambda p: len(self._under.get(p, ())))
            self._under.setdefault(pair, set()).add(key)
            self._pair[key] = pair

    def drop(self, key: str) -> None:
        """A pool is gone."""
        pair = self._pair.pop(key, None)
        if pair is not None:
            keys = self._under[pair]
            keys.discard(key)
            if not keys:
                del self._under[pair]

    def candidates(self, pod: ServingPod) -> set[str]:
        """Keys of pools that may select the pod; `selects` says whether they do."""
        found: set[str] = set()
        for pair in pairs_of(pod.metadata.namespace, pod.metadata.labels):
            found |= self._under.get(pair, frozenset())
        return found


def pairs_of(namespace: str, labels: Mapping[str, str]) -> list[str]:
    """Each label of an object of the namespace as one text, for indexes."""
    return [f"{namespace}/{key}={value}" for key, value in labels.items()]
