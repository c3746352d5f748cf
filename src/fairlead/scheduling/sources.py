"""The kinds that scheduling looks at, followed where an API server has them; kinds that come later are picked up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from fairlead.api.queue import QUEUES
from fairlead.clock import SYSTEM, Clock
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import ApiError, Forbidden, NotFound
from fairlead.kube.informer import Handler, Informer, Informers
from fairlead.kube.kinds import (
    COMPOSITE_POD_GROUPS,
    DEVICE_CLASSES,
    DEVICE_TAINT_RULES,
    JOBS,
    NAMESPACES,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    POD_GROUP_VERSIONS,
    PRIORITY_CLASSES,
    STORAGE_CLASSES,
)
from fairlead.kube.resources import Resource
from fairlead.kube.transport import Unreachable
from fairlead.scheduling.gangs.sources import RAW_RESOURCES

_LOG = logging.getLogger("fairlead.scheduling")

LOOK_AGAIN_S: Final = 30.0
"""How often kinds that were not there are looked for."""
_RETRY_S: Final = 1.0

OPTIONAL: Final[tuple[tuple[Resource[Any], ...], ...]] = (
    (DEVICE_CLASSES,),
    (DEVICE_TAINT_RULES,),
    (NAMESPACES,),
    (PRIORITY_CLASSES,),
    (PERSISTENT_VOLUMES,),
    (STORAGE_CLASSES,),
    (POD_DISRUPTION_BUDGETS,),
    (JOBS,),
    POD_GROUP_VERSIONS,
    (COMPOSITE_POD_GROUPS,),
    (QUEUES,),
    *((resource,) for resource in RAW_RESOURCES),
)
"""Versions of each kind, the best first: the first that is served is followed."""


class Audience(Protocol):
    """Who is told of the objects, as `Planner`."""

    def see(self, obj: Any) -> None: ...
    def lose(self, obj: Any) -> None: ...


class Sources:
    """Informers of the optional kinds. `find` once before the start, then `look_again` in a loop."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        audience: Audience,
        changed: Callable[[], None],
        *,
        kinds: Sequence[tuple[Resource[Any], ...]] = OPTIONAL,
        clock: Clock = SYSTEM,
    ) -> None:
        """`changed` is called after each change that the audience was told of."""
        self.followed: dict[Resource[Any], Informer[Any]] = {}
        self._client = client
        self._informers = informers
        self._audience = audience
        self._changed = changed
        self._missing = list(kinds)
        self._forbidden: set[Resource[Any]] = set()
        self._clock = clock

    def tell(self, informer: Informer[Any]) -> None:
        """Tell the audience of a kind from now on."""
        resource = informer.resource

        def see(obj: Any) -> None:
            # Items of a list do not say what they are, and for objects without a type only they can.
            self._audience.see(resource.identified(obj) if isinstance(obj, dict) else obj)
            self._changed()

        def lose(obj: Any) -> None:
            self._audience.lose(resource.identified(obj) if isinstance(obj, dict) else obj)
            self._changed()

        informer.add_handler(Handler(see, lambda _, new: see(new), lose))

    def _follow(self, resource: Resource[Any]) -> Informer[Any]:
        informer = self.followed[resource] = self._informers.informer(resource)
        self.tell(informer)
        return informer

    async def find(self) -> list[Informer[Any]]:
        """Follow the kinds that are served now and were not yet. Waits for an API server that does not answer."""
        discovery = Discovery(self._client)
        found, still_missing = [], []
        for versions, served in zip(
            self._missing, await asyncio.gather(*(self._served(discovery, v) for v in self._missing)), strict=True
        ):
            if served is None:
                still_missing.append(versions)
            else:
                found.append(self._follow(served))
        self._missing = still_missing
        return found

    async def look_again(self) -> None:
        """Wait a while, then follow what has come since."""
        await self._clock.sleep(LOOK_AGAIN_S)
        if self._missing:
            for informer in await self.find():
                _LOG.info("%s are served now: the scheduler looks at them", informer.resource)

    async def _served(self, discovery: Discovery, versions: Sequence[Resource[Any]]) -> Resource[Any] | None:
        for resource in versions:
            while True:
                try:
                    await self._look(discovery, resource)
                    return resource
                except NotFound:
                    break
                except Forbidden as error:
                    self._warn(resource, error)
                    break
                except (ApiError, Unreachable, TimeoutError, CredentialsError) as error:
                    _LOG.info("whether %s are served is not known: %s", resource, error)
                    await self._clock.sleep(_RETRY_S)
        return None

    def _warn(self, resource: Resource[Any], error: Forbidden) -> None:
        """Says once that a kind is served and yet not ours to see."""
        if resource not in self._forbidden:
            self._forbidden.add(resource)
            _LOG.warning("%s; until it may, scheduling goes on as if there were no %s", error, resource)

    async def _look(self, discovery: Discovery, resource: Resource[Any]) -> None:
        """Raises NotFound where it is not served, Forbidden where we may not list it."""
        await discovery.resource_for(resource.api_version, resource.kind)
        await self._client.request("GET", resource.path(), params={"limit": "1"})
