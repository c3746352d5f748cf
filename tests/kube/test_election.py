from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fairlead.clock import VirtualClock
from fairlead.kube.client import Client
from fairlead.kube.election import LeaderElection
from fairlead.kube.errors import AlreadyExists, Conflict, NotFound
from fairlead.kube.kinds import LEASES
from fairlead.kube.objects import Lease
from fairlead.kube.transport import Unreachable
from patience import PATIENCE_S


class LeaseApi:
    """The API as far as an election needs it, in memory, with a switch to cut single candidates off."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.version = 0
        self.cut_off: set[str] = set()

    def client(self, who: str) -> Any:
        api = self

        class Candidate:
            async def get(self, resource: Any, name: str, namespace: str) -> Lease:
                api.check(who)
                if api.lease is None:
                    raise NotFound("no lease")
                return api.lease

            async def create(self, resource: Any, lease: Lease, namespace: str) -> Lease:
                api.check(who)
                if api.lease is not None:
                    raise AlreadyExists("there is a lease")
                return api.store(lease)

            async def replace(self, resource: Any, lease: Lease) -> Lease:
                api.check(who)
                assert api.lease is not None
                if lease.metadata.resource_version != api.lease.metadata.resource_version:
                    raise Conflict("stale")
                return api.store(lease)

        return Candidate()

    def check(self, who: str) -> None:
        if who in self.cut_off:
            raise Unreachable("cut off")

    def store(self, lease: Lease) -> Lease:
        from msgspec.structs import replace

        self.version += 1
        self.lease = replace(lease, metadata=replace(lease.metadata, resource_version=str(self.version)))
        return self.lease


class Candidates:
    def __init__(self, names: str) -> None:
        self.clock = VirtualClock()
        self.api = LeaseApi()
        self.working: set[str] = set()
        self.terms: list[tuple[str, int]] = []
        self.elections = {
            name: LeaderElection(self.api.client(name), "l", "ns", identity=name, clock=self.clock) for name in names
        }
        self.tasks = {
            name: asyncio.create_task(election.lead(self._work(name))) for name, election in self.elections.items()
        }

    def _work(self, name: str) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            self.working.add(name)
            self.terms.append((name, self.elections[name].term))
            try:
                await asyncio.Event().wait()
            finally:
                self.working.discard(name)

        return work

    async def advance(self, duration_s: float) -> None:
        while duration_s > 0:
            await self.clock.advance(min(0.5, duration_s))
            duration_s -= 0.5
            leaders = [name for name, election in self.elections.items() if election.is_leader]
            assert len(leaders) <= 1
            assert self.working <= set(leaders)

    async def stop(self, name: str) -> None:
        self.tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.tasks[name]

    async def close(self) -> None:
        for name in self.tasks:
            await self.stop(name)


async def test_one_leads_and_keeps_the_lead() -> None:
    candidates = Candidates("ab")
    await candidates.advance(100)
    assert candidates.working == {"a"}
    assert candidates.terms == [("a", 0)]
    assert candidates.elections["b"].leader == "a"
    await candidates.close()


async def test_leader_that_is_cut_off_stops_before_another_starts() -> None:
    candidates = Candidates("ab")
    await candidates.advance(10)
    candidates.api.cut_off.add("a")
    await candidates.advance(11)
    assert candidates.working == set()
    await candidates.advance(10)
    assert candidates.working == {"b"}
    candidates.api.cut_off.clear()
    await candidates.advance(60)
    assert candidates.terms == [("a", 0), ("b", 1)]
    await candidates.close()


async def test_leader_that_stops_gives_the_lease_up() -> None:
    candidates = Candidates("ab")
    await candidates.advance(10)
    await candidates.stop("a")
    assert candidates.api.lease is not None
    assert candidates.api.lease.spec.holder_identity == ""
    await candidates.advance(3)
    assert candidates.working == {"b"}
    await candidates.close()


async def test_a_lost_api_leaves_nobody_leading_and_everybody_returns() -> None:
    candidates = Candidates("abc")
    await candidates.advance(10)
    candidates.api.cut_off = set("abc")
    await candidates.advance(60)
    assert candidates.working == set()
    candidates.api.cut_off = set()
    await candidates.advance(20)
    assert len(candidates.working) == 1
    await candidates.close()


async def test_work_that_ends_ends_the_term() -> None:
    clock = VirtualClock()
    api = LeaseApi()
    election = LeaderElection(api.client("a"), "l", "ns", identity="a", clock=clock)

    async def work() -> None:
        await clock.sleep(30)

    task = asyncio.create_task(election.lead(work))
    for _ in range(70):
        await clock.advance(0.5)
    await asyncio.wait_for(task, 1)
    assert api.lease is not None
    assert api.lease.spec.holder_identity == ""


def test_times_must_make_sense() -> None:
    with pytest.raises(ValueError, match="need lease"):
        LeaderElection(None, "l", "ns", lease_s=5, renew_deadline_s=10)  # type: ignore[arg-type]


async def test_against_a_real_server(client: Client, namespace: str) -> None:
    worked: list[str] = []

    async def run(name: str) -> None:
        election = LeaderElection(client, "real", namespace, identity=name, lease_s=15, renew_deadline_s=10, retry_s=1)

        async def work() -> None:
            assert election.is_leader
            worked.append(name)
            await asyncio.sleep(0.3)

        await election.lead(work)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(run("a"), run("b"))
    assert sorted(worked) == ["a", "b"]
    lease = await client.get(LEASES, "real", namespace)
    assert lease.spec.holder_identity == ""
    assert lease.spec.lease_transitions == 1
