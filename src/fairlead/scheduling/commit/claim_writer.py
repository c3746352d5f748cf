"""Writes to ResourceClaims: from the copy that is at hand, one writer per claim at a time, again after a conflict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.errors import Conflict, Invalid, NotFound
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.kinds import RESOURCE_CLAIMS
from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.scheduling.commit import claim_edits
from fairlead.scheduling.commit.claim_edits import Consumer, Patch
from fairlead.scheduling.commit.faults import CommitFailedError, Requests

ClaimKey = tuple[str, str]
"""Namespace and name."""

_CONFLICTS: Final = 20
"""Rounds with a claim that others keep changing."""
_CONFLICT_BACKOFF: Final = Backoff(first_s=0.01, max_s=0.5)


class ClaimGoneError(CommitFailedError):
    """The claim does not exist, or another one has its name."""


@dataclass(frozen=True, slots=True)
class ClaimRef:
    """A claim, and which of those that had its name."""

    namespace: str
    name: str
    uid: str

    @property
    def key(self) -> ClaimKey:
        return self.namespace, self.name

    def __str__(self) -> str:
        return f'claim "{self.namespace}/{self.name}"'


@dataclass(slots=True)
class _Desk:
    """Where the writers of one claim wait for each other."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class ClaimWriter:
    """All of a scheduler's writes to claims."""

    def __init__(
        self, client: Client, copies: Informer[ResourceClaim], requests: Requests, *, clock: Clock = SYSTEM
    ) -> None:
        self._client = client
        self._copies = copies.store
        self._requests = requests
        self._clock = clock
        self._desks: dict[ClaimKey, _Desk] = {}
        self._answers: dict[ClaimKey, ResourceClaim] = {}
        """What the API server answered, until the watch has shown it."""
        self._doubtful: set[ClaimKey] = set()
        """Claims with a write of which nobody knows whether it arrived."""
        copies.add_handler(Handler(None, lambda _, new: self._shown(new), self._shown))

    async def reserve(
        self, claim: ClaimRef, allocation: AllocationResult | None, consumers: Sequence[Consumer]
    ) -> ResourceClaim:
        """The claim with its devices, reserved for the consumers. `allocation` is None where it has devices already.

        Raises AllocatedOtherwiseError, ClaimGoneError, CommitFailedError.
        """
        async with self._desk(claim.key):
            if allocation is not None:
                await self._change(claim, claim_edits.protection, None)
            return await self._change(
                claim, lambda found: claim_edits.reservation(found, allocation, consumers), "status"
            )

    async def leave(self, claim: ClaimRef, uids: Sequence[str], frees: AllocationResult | None) -> None:
        """Take consumers out of a claim, and its devices too where they are those of `frees` and nobody else uses them.

        A claim that is gone is left. Raises CommitFailedError.
        """
        async with self._desk(claim.key):
            try:
                await self._change(claim, lambda found: claim_edits.departure(found, uids, frees), "status")
            except ClaimGoneError:
                return

    async def _change(
        self, claim: ClaimRef, change: Callable[[ResourceClaim], Patch | None], subresource: str | None
    ) -> ResourceClaim:
        found = self._current(claim.key) or await self._read(claim)
        for attempt in range(_CONFLICTS):
            if found.metadata.uid != claim.uid:
                raise ClaimGoneError(f"{claim} was deleted; another one has its name")
            patch = change(found)
            if patch is None:
                return found
            try:
                return await self._patch(claim, patch, subresource)
            except Conflict:
                if attempt:
                    await self._clock.sleep(_CONFLICT_BACKOFF.delay_s(attempt))
                found = await self._read(claim)
        raise CommitFailedError(f"{claim} is changed by others all the time")

    async def _patch(self, claim: ClaimRef, patch: Patch, subresource: str | None) -> ResourceClaim:
        """Raises Conflict, and what else `_change` does."""

        async def send() -> ResourceClaim:
            return await self._client.patch(
                RESOURCE_CLAIMS, claim.name, patch, claim.namespace, subresource=subresource
            )

        try:
            answer = await self._requests.send(send, str(claim))
        except NotFound as error:
            raise ClaimGoneError(f"{claim} is gone") from error
        except Invalid as error:
            raise CommitFailedError(f"{claim}: {error}") from error
        except (CommitFailedError, asyncio.CancelledError):
            self._doubtful.add(claim.key)
            raise
        self._answers[claim.key] = answer
        return answer

    async def _read(self, claim: ClaimRef) -> ResourceClaim:
        try:
            found = await self._requests.send(
                lambda: self._client.get(RESOURCE_CLAIMS, claim.name, claim.namespace), str(claim)
            )
        except NotFound as error:
            raise ClaimGoneError(f"{claim} is gone") from error
        self._doubtful.discard(claim.key)
        self._answers[claim.key] = found
        return found

    def _current(self, key: ClaimKey) -> ResourceClaim | None:
        """The newest state, where it is at hand."""
        if key in self._doubtful:
            return None
        return self._answers.get(key) or self._copies.get(key[1], key[0])

    def _shown(self, claim: ResourceClaim) -> None:
        """The watch has shown a claim, or its last state."""
        key = (claim.metadata.namespace, claim.metadata.name)
        answer = self._answers.get(key)
        if answer is not None and not is_newer(answer.metadata.resource_version, claim.metadata.resource_version):
            del self._answers[key]

    @asynccontextmanager
    async def _desk(self, key: ClaimKey) -> AsyncIterator[None]:
        desk = self._desks.setdefault(key, _Desk())
        desk.users += 1
        try:
            async with desk.lock:
                yield
        finally:
            desk.users -= 1
            if not desk.users:
                del self._desks[key]


def is_newer(version: str, than: str) -> bool:
    """Whether a resourceVersion is above another. Kubernetes' are decimal numbers that grow; others only differ."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
