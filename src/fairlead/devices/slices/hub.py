"""All pools that a process publishes: one client, one watch per driver, few writes at a time.

hub = SlicePublisherHub(client, node="node-1")
publisher = hub.add("gpu.example.com", "node-1")
...                                                  # beside: await hub.run()
publisher.want(view.inventory, view.taints)          # at once; or `await publisher.publish(...)` until it is stored
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Final, Literal

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.slices.features import ALL_FEATURES, Features, discover
from fairlead.devices.slices.plan import Pool
from fairlead.devices.slices.pool_view import INDEX, by_pool
from fairlead.devices.slices.precedence import Mark
from fairlead.devices.slices.publisher import FEATURES_AGE_S, PoolPublisher
from fairlead.devices.slices.rules import check_pool
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.errors import NotFound
from fairlead.kube.informer import Informer, Informers
from fairlead.kube.kinds import NODES, RESOURCE_SLICES
from fairlead.kube.objects import OwnerReference, ResourceSlice
from fairlead.kube.resources import ObjectKey
from fairlead.kube.selectors import escape_field_value

MissingNode = Literal["wait", "orphan"]
_BACKOFF: Final = Backoff(first_s=0.1, max_s=30.0)
_UNSYNCED_RETRY_S: Final = 0.05


class SlicePublisherHub:
    """All pools that a process publishes."""

    def __init__(
        self,
        client: Client,
        *,
        node: str = "",
        instance: str = "",
        missing_node: MissingNode = "wait",
        concurrency: int = 8,
        clock: Clock = SYSTEM,
    ) -> None:
        """`node`: all pools are of this node, so nothing else need be watched. `instance` tells this process from
        others (a pod's uid). `missing_node`: wait for a Node that does not exist, or publish without it as the owner.
        """
        self.mark = Mark(clock.wall_s(), instance or uuid.uuid4().hex[:12])
        self._client = client
        self._node = node
        self._missing_node = missing_node
        self._clock = clock
        self._informers = Informers(client, clock=clock)
        self._watched: dict[str, Informer[ResourceSlice]] = {}
        self._pools: dict[ObjectKey, PoolPublisher] = {}
        self._controller = Controller(
            "device-slices", self._reconcile, concurrency=concurrency, backoff=_BACKOFF, clock=clock
        )
        self._features: Features | None = None
        self._features_at_s = 0.0
        self._discovering = asyncio.Lock()

    def add(self, driver: str, node: str, pool: str = "") -> PoolPublisher:
        """A pool to publish; its name is the node's unless given. Raises InventoryError for a bad name, ValueError
        where the hub has the pool already or is one of another node."""
        pool = pool or node
        check_pool(driver, pool)
        if self._node and node != self._node:
            raise ValueError(f'this hub publishes pools of node "{self._node}", not of "{node}"')
        key = ObjectKey(driver, pool)
        if key in self._pools:
            raise ValueError(f'pool "{pool}" of driver "{driver}" is published twice: two drivers for one name')
        publisher = PoolPublisher(self, Pool(driver, pool, node), self._informer(driver), self._clock)
        self._pools[key] = publisher
        return publisher

    def remove(self, publisher: PoolPublisher) -> None:
        """Let go of a pool; what is published of it stays."""
        self._pools.pop(ObjectKey(publisher.pool.driver, publisher.pool.name), None)

    async def run(self) -> None:
        """Keep all pools in step until cancelled; what is published stays."""
        async with self._informers:
            await self._controller.run()

    def wake(self, publisher: PoolPublisher) -> None:
        self._controller.enqueue(ObjectKey(publisher.pool.driver, publisher.pool.name))

    async def features(self, pool: Pool, doubted: Features | None = None) -> Features:
        """What the server stores. Asked once; again after a while where something is missing, and where an answer of
        before is `doubted`."""
        async with self._discovering:
            now_s = self._clock.monotonic_s()
            is_old = self._features not in (None, ALL_FEATURES) and now_s - self._features_at_s >= FEATURES_AGE_S
            if self._features is None or is_old or self._features is doubted:
                self._features = await discover(self._client, pool.driver, pool.node)
                self._features_at_s = now_s
            return self._features

    async def owner(self, node: str) -> OwnerReference | None:
        """The Node as owner of its slices. Raises NotFound where it does not exist and must."""
        try:
            found = await self._client.get(NODES, node)
        except NotFound:
            if self._missing_node == "orphan":
                return None
            raise
        return NODES.owner_reference(found, block_deletion=False)

    async def _reconcile(self, key: ObjectKey) -> Result | None:
        publisher = self._pools.get(key)
        if publisher is None:
            return None
        if not self._watched[key.namespace].synced.is_set():
            return Result(_UNSYNCED_RETRY_S)
        return await publisher.reconcile(self._client)

    def _informer(self, driver: str) -> Informer[ResourceSlice]:
        informer = self._watched.get(driver)
        if informer is None:
            selector = f"spec.driver={escape_field_value(driver)}"
            if self._node:
                selector += f",spec.nodeName={escape_field_value(self._node)}"
            informer = self._informers.informer(RESOURCE_SLICES, field_selector=selector, indexes={INDEX: by_pool})
            self._watched[driver] = informer
            self._controller.watch(informer, _keys)
        return informer


def _keys(s: ResourceSlice) -> Sequence[ObjectKey]:
    return (ObjectKey(s.spec.driver, s.spec.pool.name),) if s.spec.pool else ()
