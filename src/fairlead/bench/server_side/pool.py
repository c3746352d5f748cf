"""The endpoints of an InferencePool, as the cluster has them at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fairlead.api.inference_pool import InferencePool
    from fairlead.kube.client import Client
    from fairlead.kube.objects import Pod


class Endpoint(NamedTuple):
    """A pod's address, and the runtime that its labels (or those of the pool) name."""

    pod: str
    host: str
    port: int
    runtime: str | None


class PoolMissing(ValueError):
    """There is no such pool."""


class PoolSource:
    """Looks a pool up by `namespace/name`, and closes its client in the end."""

    def __init__(self, name: str, client: Client) -> None:
        self.namespace, _, self.name = name.partition("/")
        self._client = client

    async def endpoints(self) -> list[Endpoint]:
        """Of the pods that are ready. Raises PoolMissing, and errors of `fairlead.kube` (Unreachable among them)."""
        from fairlead.api.inference_pool import InferencePool
        from fairlead.kube.errors import NotFound
        from fairlead.kube.kinds import PODS
        from fairlead.kube.resources import Resource

        pools = Resource.of("inference.networking.k8s.io/v1", "inferencepools", "InferencePool", InferencePool)
        try:
            pool = await self._client.get(pools, self.name, self.namespace)
        except NotFound:
            raise PoolMissing(
                f"server.pool is {self.namespace}/{self.name}: the cluster has no such InferencePool; "
                "`kubectl get inferencepools -A` lists them"
            ) from None
        labels = pool.spec.selector.match_labels
        selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        if not selector:
            return []
        pods = await self._client.list(PODS, self.namespace, label_selector=selector)
        return endpoints_of(pool, pods.items)

    async def close(self) -> None:
        await self._client.close()


def endpoints_of(pool: InferencePool, pods: Sequence[Pod]) -> list[Endpoint]:
    """One for each port of each ready pod, by name."""
    from fairlead.engines import RUNTIME_LABEL

    of_pool = (pool.metadata.get("labels") or {}).get(RUNTIME_LABEL)
    return [
        Endpoint(pod.metadata.name, pod.status.pod_ip, port.number, pod.metadata.labels.get(RUNTIME_LABEL) or of_pool)
        for pod in sorted(pods, key=lambda pod: pod.metadata.name)
        if _is_ready(pod)
        for port in pool.spec.target_ports
    ]


def _is_ready(pod: Pod) -> bool:
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    return ready and bool(pod.status.pod_ip) and pod.metadata.deletion_timestamp is None
