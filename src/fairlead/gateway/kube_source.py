"""Pools from the Kubernetes API: InferencePools and the pods they select, followed by informers.

A change of a pod touches only the pools that select it, before or after the change; changes that arrive together are
taken together.
"""

from __future__ import annotations

import asyncio

from fairlead.gateway.endpoints import Registry
from fairlead.gateway.membership import ServingPod, ServingPool, compute_pool, selects
from fairlead.kube.client import Client
from fairlead.kube.informer import Handler, Informers
from fairlead.kube.resources import ObjectKey, Resource, key_of
from fairlead.kube.store import Store, by_namespace

PODS = Resource.of("v1", "pods", "Pod", ServingPod)
INFERENCE_POOLS = Resource.of("inference.networking.k8s.io/v1", "inferencepools", "InferencePool", ServingPool)

SYNC_TIMEOUT_S = 3600.0
"""Without the API there is nothing to serve; the informers keep trying and say why."""


class KubeSource:
    """Pools of one namespace or of all; closes the client in the end."""

    def __init__(self, client: Client, namespace: str | None = None) -> None:
        self._client = client
        self._namespace = namespace
        self._dirty: set[ObjectKey] = set()
        self._changed = asyncio.Event()

    async def run(self, registry: Registry) -> None:
        """Fill the registry until cancelled."""
        async with self._client as client:
            informers = Informers(client)
            pools = informers.informer(INFERENCE_POOLS, self._namespace, indexes={"namespace": by_namespace})
            pods = informers.informer(PODS, self._namespace, indexes={"namespace": by_namespace})

            def pod_changed(*versions: ServingPod) -> None:
                self._mark_pools_of(versions, pools.store)

            pools.add_handler(Handler.every(lambda pool: self._mark(key_of(pool))))
            pods.add_handler(Handler(pod_changed, pod_changed, pod_changed))
            async with informers:
                await informers.wait_synced(SYNC_TIMEOUT_S)
                while True:
                    self._update(registry, pools.store, pods.store)
                    registry.mark_synced()
                    await self._changed.wait()

    def _mark(self, key: ObjectKey) -> None:
        self._dirty.add(key)
        self._changed.set()

    def _mark_pools_of(self, versions: tuple[ServingPod, ...], pools: Store[ServingPool]) -> None:
        for pool in pools.by_index("namespace", versions[0].metadata.namespace):
            if any(selects(pool, pod) for pod in versions):
                self._mark(key_of(pool))

    def _update(self, registry: Registry, pools: Store[ServingPool], pods: Store[ServingPod]) -> None:
        self._changed.clear()
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            pool = pools.get_key(key)
            if pool is None:
                registry.remove_pool(str(key))
            else:
                registry.set_pool(compute_pool(pool, pods.by_index("namespace", key.namespace)))
