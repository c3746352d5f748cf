"""Leader election on a Lease, as client-go does it: one process works, the others stand by.

Times of other machines are never compared with ours: a lease counts as expired when it has not changed for its
duration as we observed it. A leader trusts itself only for `renew_deadline_s` after its last successful renewal,
which ends before others may take over; so there are never two leaders by a sound clock, whatever the network does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable

import msgspec

from fairlead.clock import SYSTEM, Clock, format_micro_time
from fairlead.kube import metrics
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from fairlead.kube.kinds import LEASES
from fairlead.kube.objects import Lease, LeaseSpec, ObjectMeta
from fairlead.kube.transport import Unreachable

_LOG = logging.getLogger("fairlead.kube.election")


def default_identity() -> str:
    """Host, process and a random part: unique even when a process restarts within a lease."""
    return f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"


class LeaderElection:
    """A candidate for a lease."""

    def __init__(
        self,
        client: Client,
        name: str,
        namespace: str,
        *,
        identity: str | None = None,
        lease_s: float = 15.0,
        renew_deadline_s: float = 10.0,
        retry_s: float = 2.0,
        clock: Clock = SYSTEM,
    ) -> None:
        if not lease_s > renew_deadline_s > retry_s > 0:
            raise ValueError(f"need lease {lease_s} s > renew deadline {renew_deadline_s} s > retry {retry_s} s > 0")
        self.identity = identity or default_identity()
        self._client = client
        self._name = name
        self._namespace = namespace
        self._lease_s = lease_s
        self._renew_deadline_s = renew_deadline_s
        self._retry_s = retry_s
        self._clock = clock
        self._observed: Lease | None = None
        self._observed_at_s = float("-inf")
        self._trusted_until_s = float("-inf")
        self._is_leader = metrics.LEADER.labels(name)

    @property
    def is_leader(self) -> bool:
        """Whether we lead at this moment, by our own clock: ask before each act that must not happen twice."""
        return self._clock.monotonic_s() < self._trusted_until_s

    @property
    def term(self) -> int:
        """A number that grows with each change of leader: a fencing token for systems that can check one."""
        return (self._observed.spec.lease_transitions or 0) if self._observed is not None else 0

    @property
    def leader(self) -> str:
        """The identity in the lease as last seen, "" for none."""
        return self._observed.spec.holder_identity if self._observed is not None else ""

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Stand for election; while leading, run `work`. Losing the lead cancels `work`, and we stand again.

        Returns when `work` does. The lease is given up on the way out, so that another takes over at once.
        """
        try:
            while True:
                await self._acquire()
                _LOG.info("%s leads %s/%s, term %d", self.identity, self._namespace, self._name, self.term)
                self._is_leader.set(1)
                try:
                    if await self._work_while_leading(work):
                        return
                finally:
                    self._is_leader.set(0)
                _LOG.warning("%s no longer leads %s/%s", self.identity, self._namespace, self._name)
        finally:
            await self._release()

    async def _acquire(self) -> None:
        while not await self._try_acquire_or_renew():
            await self._clock.sleep(self._retry_s)

    async def _work_while_leading(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether `work` came to its end before leadership did."""
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._renew(), name=f"renew lease {self._name}")
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return True
            return False
        finally:
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)

    async def _renew(self) -> None:
        """Renew until leadership is lost."""
        while self.is_leader:
            await self._clock.sleep(self._retry_s)
            remaining_s = self._trusted_until_s - self._clock.monotonic_s()
            if remaining_s <= 0:
                return
            renewal = asyncio.ensure_future(self._try_acquire_or_renew())
            deadline = asyncio.ensure_future(self._clock.sleep(remaining_s))
            try:
                await asyncio.wait({renewal, deadline}, return_when=asyncio.FIRST_COMPLETED)
                if renewal.done() and not renewal.result() and self.leader not in ("", self.identity):
                    self._trusted_until_s = float("-inf")
            finally:
                renewal.cancel()
                deadline.cancel()
                await asyncio.gather(renewal, deadline, return_exceptions=True)

    async def _try_acquire_or_renew(self) -> bool:
        started_s = self._clock.monotonic_s()
        try:
            lease = await self._read()
            if lease is None:
                stored = await self._client.create(LEASES, self._new_lease(), self._namespace)
            elif lease.spec.holder_identity in ("", self.identity) or self._has_expired(lease):
                stored = await self._client.replace(LEASES, self._claimed(lease))
            else:
                return False
        except (AlreadyExists, Conflict):
            return False
        except (ApiError, Unreachable, CredentialsError) as error:
            _LOG.warning("lease %s/%s: %s", self._namespace, self._name, error)
            return False
        self._observe(stored)
        # Counted from before the request: others cannot have seen the renewal earlier.
        self._trusted_until_s = started_s + self._renew_deadline_s
        return True

    async def _read(self) -> Lease | None:
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            return None
        if self._observed is None or lease.metadata.resource_version != self._observed.metadata.resource_version:
            self._observe(lease)
        return lease

    def _observe(self, lease: Lease) -> None:
        self._observed = lease
        self._observed_at_s = self._clock.monotonic_s()

    def _has_expired(self, lease: Lease) -> bool:
        duration_s = lease.spec.lease_duration_seconds or self._lease_s
        return self._clock.monotonic_s() >= self._observed_at_s + duration_s

    def _new_lease(self) -> Lease:
        now = format_micro_time(self._clock.wall_s())
        spec = LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=int(self._lease_s) or 1,
            acquire_time=now,
            renew_time=now,
            lease_transitions=0,
        )
        return Lease(metadata=ObjectMeta(name=self._name, namespace=self._namespace), spec=spec)

    def _claimed(self, lease: Lease) -> Lease:
        """The lease with us as its holder."""
        now = format_micro_time(self._clock.wall_s())
        is_renewal = lease.spec.holder_identity == self.identity
        spec = msgspec.structs.replace(
            lease.spec,
            holder_identity=self.identity,
            lease_duration_seconds=int(self._lease_s) or 1,
            acquire_time=lease.spec.acquire_time if is_renewal else now,
            renew_time=now,
            lease_transitions=(lease.spec.lease_transitions or 0) + (0 if is_renewal else 1),
        )
        return msgspec.structs.replace(lease, spec=spec)

    async def _release(self) -> None:
        """Give the lease up, if it is ours; what goes wrong only makes others wait for it to expire."""
        was_leader, self._trusted_until_s = self.is_leader, float("-inf")
        if not was_leader or self._observed is None:
            return
        now = format_micro_time(self._clock.wall_s())
        spec = msgspec.structs.replace(
            self._observed.spec, holder_identity="", lease_duration_seconds=1, renew_time=now, acquire_time=now
        )
        try:
            async with asyncio.timeout(self._retry_s):
                await self._client.replace(LEASES, msgspec.structs.replace(self._observed, spec=spec))
        except (ApiError, Unreachable, CredentialsError, TimeoutError) as error:
            _LOG.info("lease %s/%s not given up: %s", self._namespace, self._name, error)
