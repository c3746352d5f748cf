"""Which pods are endpoints of which pool: InferencePools and pods in, pools of the picker out. Pure.

A pod is an endpoint when it has the pool's labels, an address and the condition Ready, and is neither being deleted
nor being drained. Each target port of the pool is an endpoint of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fairlead.engines import ENGINES, RUNTIME_LABEL
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.kube.objects.meta import KubernetesObject, Part

MODELS_ANNOTATION = "fairlead.dev/models"
"""On an InferencePool: comma-separated names under which requests reach it, the model's own first."""

DRAINING_ANNOTATION = "fairlead.dev/draining"
"""On a pod, any value but "false": it finishes what it has and gets nothing new."""

DEFAULT_RUNTIME = "vllm"
"""Of pools that do not say: what most foreign pools run, and the names most other engines have copied."""


class PodCondition(Part, frozen=True, gc=False):
    type: str = ""
    status: str = ""


class ServingPodStatus(Part, frozen=True, gc=False):
    pod_ip: str = ""
    conditions: Sequence[PodCondition] = ()


class ServingPod(KubernetesObject, frozen=True, gc=False):
    """The fields of a Pod that decide whether it serves."""

    status: ServingPodStatus = ServingPodStatus()


class TargetPort(Part, frozen=True, gc=False):
    number: int = 0


class PoolSelector(Part, frozen=True, gc=False):
    match_labels: Mapping[str, str] = {}


class ServingPoolSpec(Part, frozen=True, gc=False):
    selector: PoolSelector = PoolSelector()
    target_ports: Sequence[TargetPort] = ()


class ServingPool(KubernetesObject, frozen=True, gc=False):
    """The fields of an InferencePool that decide its endpoints."""

    spec: ServingPoolSpec = ServingPoolSpec()


def compute_pool(pool: ServingPool, pods: Iterable[ServingPod]) -> Pool:
    """The picker's pool; `pods` are candidates of the pool's namespace. Endpoints are in order of pod name and port."""
    metadata = pool.metadata
    ports = [port.number for port in pool.spec.target_ports]
    serving = sorted((p for p in pods if is_serving(p, pool)), key=lambda p: p.metadata.name)
    endpoints = tuple(
        Endpoint(_address(pod.status.pod_ip, port), f"{pod.metadata.namespace}/{pod.metadata.name}")
        for pod in serving
        for port in ports
    )
    runtime = metadata.labels.get(RUNTIME_LABEL) or metadata.annotations.get(RUNTIME_LABEL) or DEFAULT_RUNTIME
    return Pool(
        key=f"{metadata.namespace}/{metadata.name}",
        models=_names(metadata.annotations.get(MODELS_ANNOTATION, "")),
        endpoints=endpoints,
        runtime=runtime if runtime in ENGINES else DEFAULT_RUNTIME,
        age_key=metadata.creation_timestamp or "",
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


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def _address(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
