"""Pools from the Kubernetes API: InferencePools, the pods they select, and what else names them, followed by informers.

A change of a pod touches only the pools that select it, before or after the change, and does not look at others;
changes that arrive together are taken together. Kinds that the server does not have are done without until it has them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection

from fairlead.api.inference_pool import VERSION_OF_ANNOTATION
from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.endpoints import Pool, Registry
from fairlead.gateway.membership import (
    ModelRewrite,
    Objective,
    SelectorIndex,
    ServingPod,
    ServingPool,
    compute_pool,
    config_key,
    pairs_of,
    selects,
)
from fairlead.gateway.sources.config_maps import ConfigMaps
from fairlead.gateway.sources.followed import LOOK_INTERVAL_S, Followed
from fairlead.kube.client import Client
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.resources import ObjectKey, Resource, key_of

PODS = Resource.of("v1", "pods", "Pod", ServingPod)
INFERENCE_POOLS = Resource.of("inference.networking.k8s.io/v1", "inferencepools", "InferencePool", ServingPool)
_GROUPS = ("llm-d.ai/v1alpha2", "inference.networking.x-k8s.io/v1alpha2")
"""llm-d's, and the one before; where both are installed only the newer is read."""
OBJECTIVES = tuple(Resource.of(g, "inferenceobjectives", "InferenceObjective", Objective) for g in _GROUPS)
REWRITES = tuple(Resource.of(g, "inferencemodelrewrites", "InferenceModelRewrite", ModelRewrite) for g in _GROUPS)

SYNC_TIMEOUT_S = 3600.0
"""Without the API there is nothing to serve; the informers keep trying and say why."""


class KubeSource:
    """Pools of one namespace or of all, or the one pool of a name; closes the client in the end."""

    def __init__(
        self,
        client: Client,
        namespace: str | None = None,
        name: str | None = None,
        *,
        look_interval_s: float = LOOK_INTERVAL_S,
        clock: Clock = SYSTEM,
    ) -> None:
        """`look_interval_s` is the time between looks for kinds that may be installed or removed."""
        self._client = client
        self._name = name
        self._dirty: set[ObjectKey] = set()
        self._changed = asyncio.Event()
        self._selectors = SelectorIndex()
        self._pods = Informer(client, PODS, namespace, indexes={"label": _labels_of_pod}, clock=clock)
        self._pods.add_handler(Handler(self._pod_added, self._pod_updated, self._pod_deleted))
        self._pods_with: Counter[str] = Counter()  # label -> pods that have it; to look where there are fewest
        by_pool = {"pool": _pool_of}
        self._pools = Followed(
            client, [INFERENCE_POOLS], namespace, self._pool_changed,
            indexes={"version-of": _version_of}, look_interval_s=look_interval_s, clock=clock,
        )  # fmt: skip
        self._rewrites = Followed(
            client, REWRITES, namespace, self._names_pool,
            indexes=by_pool, look_interval_s=look_interval_s, clock=clock,
        )  # fmt: skip
        self._objectives = Followed(
            client, OBJECTIVES, namespace, self._names_pool,
            indexes=by_pool, look_interval_s=look_interval_s, clock=clock,
        )  # fmt: skip

    async def run(self, registry: Registry) -> None:
        """Fill the registry until cancelled."""
        async with self._client as client:
            configs = ConfigMaps(client, registry)
            kinds = (self._pools, self._rewrites, self._objectives)
            tasks = [asyncio.create_task(part.run()) for part in (self._pods, *kinds)]
            try:
                await self._pods.wait_synced(SYNC_TIMEOUT_S)
                await asyncio.gather(*(kind.settled.wait() for kind in kinds))
                while True:
                    self._update(registry, configs)
                    registry.mark_synced()
                    await self._changed.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await configs.close()

    def _mark(self, key: ObjectKey) -> None:
        if self._name is not None and key.name != self._name:
            return
        self._dirty.add(key)
        self._changed.set()

    def _pool_changed(self, pool: ServingPool) -> None:
        self._mark(key_of(pool))

    def _names_pool(self, obj: ModelRewrite | Objective) -> None:
        key = ObjectKey(obj.metadata.namespace, obj.spec.pool_ref.name)
        self._mark(key)
        for version in self._pools.store.by_index("version-of", str(key)):
            self._mark(key_of(version))

    def _pod_changed(self, pod: ServingPod) -> None:
        for text in self._selectors.candidates(pod):
            namespace, _, name = text.partition("/")
            key = ObjectKey(namespace, name)
            pool = self._pools.store.get_key(key)
            if pool is not None and selects(pool, pod):
                self._mark(key)

    def _pod_added(self, pod: ServingPod) -> None:
        self._pods_with.update(_labels_of_pod(pod))
        self._pod_changed(pod)

    def _pod_updated(self, old: ServingPod, new: ServingPod) -> None:
        if old.metadata.labels != new.metadata.labels:
            self._pod_deleted(old)
            self._pod_added(new)
        else:
            self._pod_changed(new)

    def _pod_deleted(self, pod: ServingPod) -> None:
        for pair in _labels_of_pod(pod):
            if self._pods_with[pair] > 1:
                self._pods_with[pair] -= 1
            else:
                del self._pods_with[pair]
        self._pod_changed(pod)

    def _update(self, registry: Registry, configs: ConfigMaps) -> None:
        self._changed.clear()
        dirty, self._dirty = self._dirty, set()
        # A name that moves from one pool to another is served all the time if the pool that gets it comes first.
        gone = [key for key in dirty if self._pools.store.get_key(key) is None]
        pools = [pool for key in dirty.difference(gone) if (pool := self._computed(configs, key)) is not None]
        # And a pod that moves is known all the time if the pool that it leaves comes last.
        for pool in sorted(pools, key=lambda p: _loses_any(registry.pools.get(p.key), p)):
            registry.set_pool(pool)
        for key in gone:
            self._selectors.drop(str(key))
            configs.use(str(key), "")
            registry.remove_pool(str(key))

    def _computed(self, configs: ConfigMaps, key: ObjectKey) -> Pool | None:
        pool = self._pools.store.get_key(key)
        if pool is None:
            return None
        text = str(key)
        self._selectors.put(text, pool)
        configs.use(text, config_key(pool))
        rewrites = self._rewrites.store.by_index("pool", text)
        # The pool's own come last: of two with one name they count.
        objectives = [o for of in (*_version_of(pool), text) for o in self._objectives.store.by_index("pool", of)]
        return compute_pool(pool, self._candidates(pool), rewrites, objectives)

    def _candidates(self, pool: ServingPool) -> Collection[ServingPod]:
        """Pods that have at least the rarest label of the selector."""
        pairs = pairs_of(pool.metadata.namespace, pool.spec.selector.match_labels)
        if not pairs:
            return ()
        return self._pods.store.by_index("label", min(pairs, key=lambda pair: self._pods_with[pair]))


def _loses_any(before: Pool | None, now: Pool) -> bool:
    """Whether endpoints have left it."""
    return before is not None and not set(before.addresses).issubset(now.addresses)


def _labels_of_pod(pod: ServingPod) -> Collection[str]:
    return pairs_of(pod.metadata.namespace, pod.metadata.labels)


def _version_of(pool: ServingPool) -> Collection[str]:
    of = pool.metadata.annotations.get(VERSION_OF_ANNOTATION, "").strip()
    return (str(ObjectKey(pool.metadata.namespace, of)),) if of else ()


def _pool_of(obj: ModelRewrite | Objective) -> Collection[str]:
    return (str(ObjectKey(obj.metadata.namespace, obj.spec.pool_ref.name)),)
