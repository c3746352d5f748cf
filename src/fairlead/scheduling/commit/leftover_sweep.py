"""Gives back what pending pods hold: claims that a commit which was cut short has reserved for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.errors import ApiError
from fairlead.kube.objects import ResourceClaim
from fairlead.kube.store import Store
from fairlead.scheduling.commit.claim_writer import ClaimWriter
from fairlead.scheduling.commit.faults import CommitFailedError
from fairlead.scheduling.commit.leftovers import Leftover, leftovers
from fairlead.scheduling.snapshot import PodView

_LOG = logging.getLogger("fairlead.scheduling")

UNTOUCHED_S: Final = 5.0
"""How long a claim must not have changed: a second scheduler of the same name may be at work on it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    version: str
    at_s: float


class LeftoverSweep:
    """Claims that refused pods hold, until they are given back or turn out to be used."""

    def __init__(
        self,
        writer: ClaimWriter,
        claims: Store[ResourceClaim],
        is_pending: Callable[[PodView], bool],
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        """`is_pending`: whether a pod still has no node and nobody is about to bind it."""
        self._writer = writer
        self._claims = claims
        self._is_pending = is_pending
        self._clock = clock
        self._pods: dict[str, PodView] = {}
        self._seen: dict[str, _Seen] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def refused(self, pods: Iterable[PodView]) -> None:
        """Pods stay pending."""
        for pod in pods:
            if leftovers([pod], self._claims_of([pod])):
                self._pods[pod.uid] = pod

    @property
    def is_empty(self) -> bool:
        return not self._pods

    def step(self) -> None:
        """Give back what has been lying about for long enough. To be called about once a second while not empty."""
        self._pods = {uid: pod for uid, pod in self._pods.items() if self._is_pending(pod)}
        now_s = self._clock.monotonic_s()
        found = leftovers(self._pods.values(), self._claims_of(self._pods.values()))
        seen = {}
        for left in found:
            version = self._version(left)
            before = self._seen.get(left.claim.uid)
            if before is not None and before.version == version and now_s >= before.at_s + UNTOUCHED_S:
                self._start(left)
            else:
                kept = before is not None and before.version == version
                seen[left.claim.uid] = before if before is not None and kept else _Seen(version, now_s)
        self._seen = seen
        if not found:
            self._pods.clear()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, left: Leftover) -> None:
        task = asyncio.create_task(self._give_back(left))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_back(self, left: Leftover) -> None:
        try:
            await self._writer.leave(left.claim, left.uids, left.devices)
            _LOG.info("%s: what was reserved for pods that stay pending is given back", left.claim)
        except (CommitFailedError, ApiError) as error:
            _LOG.warning("%s: what was reserved for pods that stay pending is not given back: %s", left.claim, error)

    def _version(self, left: Leftover) -> str:
        claim = self._claims.get(left.claim.name, left.claim.namespace)
        return claim.metadata.resource_version if claim is not None else ""

    def _claims_of(self, pods: Collection[PodView]) -> list[ResourceClaim]:
        found = (self._claims.get(name, pod.namespace) for pod in pods for name in pod.claims)
        return [claim for claim in found if claim is not None]
