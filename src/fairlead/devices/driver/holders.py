"""Who holds a device: the claims that it is allocated to, and the pods they are reserved for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.vendor import ClaimReference
from fairlead.kube.client import Client
from fairlead.kube.errors import Forbidden, NotFound
from fairlead.kube.event_correlation import Subject
from fairlead.kube.events import subject_of
from fairlead.kube.kinds import RESOURCE_CLAIMS
from fairlead.kube.objects import ResourceClaim


@dataclass(frozen=True, slots=True)
class Holder:
    """A claim that has the device, and what it is reserved for."""

    claim: Subject
    pods: tuple[Subject, ...] = ()


def holders_of(claims: Iterable[ResourceClaim], driver: str, pool: str, device: str) -> tuple[Holder, ...]:
    """The holders among some claims."""
    found = []
    for claim in claims:
        allocation = claim.status.allocation
        results = allocation.devices.results if allocation and allocation.devices else ()
        if any((r.driver, r.pool, r.device) == (driver, pool, device) for r in results):
            namespace = claim.metadata.namespace
            pods = tuple(
                Subject("v1", "Pod", namespace, reference.name, reference.uid)
                for reference in claim.status.reserved_for
                if reference.resource == "pods" and not reference.api_group
            )
            found.append(Holder(subject_of(RESOURCE_CLAIMS, claim), pods))
    return tuple(found)


class ClaimLookup:
    """The cluster's claims, listed when a device's state changes and not more often than every `max_age_s`, however
    many nodes a process hosts. Shared by all of them."""

    def __init__(self, client: Client, *, max_age_s: float = 1.0, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._max_age_s = max_age_s
        self._clock = clock
        self._listing = asyncio.Lock()
        self._listed_s: float | None = None
        self._claims: Sequence[ResourceClaim] = ()

    async def claims(self, prepared: Collection[ClaimReference] = ()) -> Sequence[ResourceClaim]:
        """All claims; where listing is forbidden, those of `prepared`. Raises ApiError, Unreachable."""
        async with self._listing:
            now_s = self._clock.monotonic_s()
            if self._listed_s is not None and now_s - self._listed_s < self._max_age_s:
                return self._claims
            try:
                self._claims = (await self._client.list(RESOURCE_CLAIMS)).items
            except Forbidden:
                return await self._prepared(prepared)
            self._listed_s = now_s
            return self._claims

    async def _prepared(self, prepared: Iterable[ClaimReference]) -> Sequence[ResourceClaim]:
        found = []
        for reference in prepared:
            try:
                claim = await self._client.get(RESOURCE_CLAIMS, reference.name, reference.namespace)
            except NotFound:
                continue
            if claim.metadata.uid == reference.uid:
                found.append(claim)
        return found
