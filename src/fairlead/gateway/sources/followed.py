"""A kind that the API server may or may not have: followed from the moment it is there, under the newest of its names.

Custom kinds come and go with their definitions. One that is missing must not keep the picker from serving, nor be
asked for in vain every second; one that was moved to another group is read from the new group once that is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.resources import Resource
from fairlead.kube.store import IndexFunction, Store
from fairlead.kube.transport import Unreachable

LOOK_INTERVAL_S = 15.0
"""Between looks for the kind; one request of a kilobyte."""

RETRY_INTERVAL_S = 1.0
SETTLE_POLL_S = 0.02

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Followed(Generic[T]):
    """The objects of the first of several resources that the server has."""

    def __init__(
        self,
        client: Client,
        resources: Sequence[Resource[T]],
        namespace: str | None,
        changed: Callable[[T], None],
        *,
        indexes: Mapping[str, IndexFunction[T]] | None = None,
        look_interval_s: float = LOOK_INTERVAL_S,
        clock: Clock = SYSTEM,
    ) -> None:
        """`changed` is called with every object that came, changed (both versions) or went."""
        self._client = client
        self._resources = resources
        self._namespace = namespace
        self._changed = changed
        self._indexes = indexes or {}
        self._look_interval_s = look_interval_s
        self._clock = clock
        self._informer: Informer[T] | None = None
        self.store = self._empty()
        self.settled = asyncio.Event()
        """Set once the copy is whole, or the server is known not to have (or not to show) the kind."""

    async def run(self) -> None:
        """Follow until cancelled."""
        task: asyncio.Task[None] | None = None
        following: Resource[T] | None = None
        try:
            while True:
                try:
                    found = await self._find()
                except (ApiError, Unreachable, CredentialsError, TimeoutError) as error:
                    _log.info("%s: %s; trying again", self._resources[0], error)
                    await self._clock.sleep(RETRY_INTERVAL_S)
                    continue
                if found is not following:
                    await _end(task)
                    task = self._follow(found)
                    following = found
                await self._settle()
                await self._clock.sleep(self._look_interval_s)
        finally:
            await _end(task)

    async def _find(self) -> Resource[T] | None:
        discovery = Discovery(self._client)
        for resource in self._resources:
            with contextlib.suppress(NotFound):
                served = await discovery.resources(resource.api_version)
                if any(one.name == resource.plural for one in served):
                    return resource
        return None

    def _follow(self, resource: Resource[T] | None) -> asyncio.Task[None] | None:
        before, self._informer = self.store, None
        if resource is None:
            _log.info("%s: the API server does not have the kind", self._resources[0])
            self.store = self._empty()
            task = None
        else:
            informer = Informer(self._client, resource, self._namespace, indexes=self._indexes, clock=self._clock)
            self._informer, self.store = informer, informer.store
            informer.add_handler(Handler(self._changed, self._both, self._changed))
            task = asyncio.create_task(informer.run(), name=f"informer {resource}")
        for obj in before:
            self._changed(obj)
        return task

    def _both(self, old: T, new: T) -> None:
        self._changed(old)
        self._changed(new)

    async def _settle(self) -> None:
        informer = self._informer
        while informer is not None and not (informer.synced.is_set() or isinstance(informer.last_error, ApiError)):
            await self._clock.sleep(SETTLE_POLL_S)
        self.settled.set()

    def _empty(self) -> Store[T]:
        store: Store[T] = Store()
        for name, function in self._indexes.items():
            store.add_index(name, function)
        return store


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
