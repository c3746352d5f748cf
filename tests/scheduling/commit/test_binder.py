"""Commits on a real API server: what is written, what happens when writes fail, and what a dead scheduler leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

import pytest

from fairlead.kube.kinds import NODES, PODS, RESOURCE_CLAIMS
from fairlead.kube.objects.devices import DELETE_PROTECTION
from fairlead.scheduling.controller import Scheduler
from patience import PATIENCE_S
from scheduling.commit.cluster import Cluster, eventually
from scheduling.commit.faulty_proxy import Seen


async def test_a_pod_gets_its_devices_before_its_node_in_three_requests(cluster: Cluster) -> None:
    await cluster.build(2, 2)
    async with cluster.proxy() as proxy, cluster.scheduling(proxy.url):
        await cluster.pod("a")
        await eventually(lambda: cluster.all_bound(["a"]))
        await cluster.check()
        steps = [seen.step for seen in proxy.writes if seen.step]
        assert steps == ["finalizer", "status", "binding"]
    claim = (await cluster.claims())["a-own"]
    assert DELETE_PROTECTION in claim.metadata.finalizers


async def test_a_claim_shared_by_a_gang_is_written_once_for_all(cluster: Cluster) -> None:
    await cluster.build(1, 2)
    await cluster.claim("shared", {"deviceClassName": cluster.driver})
    async with cluster.proxy() as proxy, cluster.scheduling(proxy.url):
        for i in range(5):
            await cluster.pod(f"w{i}", devices=0, gang="g", size=5, claims=["shared"])
        await eventually(lambda: cluster.all_bound([f"w{i}" for i in range(5)]))
        await cluster.check()
        steps = [seen.step for seen in proxy.writes if seen.step]
    assert steps == ["finalizer", "status", *["binding"] * 5]


@pytest.mark.parametrize("is_done", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("step", ["finalizer", "status", "binding"])
async def test_a_scheduler_that_dies_at_any_write_is_made_up_for(cluster: Cluster, step: str, is_done: bool) -> None:
    await cluster.build(2, 2)
    names = [f"w{i}" for i in range(4)]
    async with cluster.proxy() as proxy:
        died = asyncio.Event()
        seen_before = 0

        async def die(seen: Seen) -> str:
            nonlocal seen_before
            if died.is_set():
                return "refused"
            if seen.step == step:
                seen_before += 1
                if seen_before == 3:
                    died.set()
                    return "lost" if is_done else "refused"
            return ""

        proxy.fault = die
        async with cluster.scheduling(proxy.url):
            for name in names:
                await cluster.pod(name, gang="g", size=4)
            await asyncio.wait_for(died.wait(), PATIENCE_S)
    bound = [p.spec.node_name for p in (await cluster.pods()).values()]
    assert step == "binding" or not any(bound), "a pod was bound before all claims of its gang were written"
    async with cluster.scheduling():
        await eventually(lambda: cluster.all_bound(names))
        await cluster.check()


async def test_what_a_dead_scheduler_reserved_is_given_back_when_the_gang_fits_no_more(cluster: Cluster) -> None:
    await cluster.build(2, 2)
    async with cluster.proxy() as proxy:
        stop = asyncio.Event()

        async def no_bindings(seen: Seen) -> str:
            if seen.step == "binding":
                stop.set()
                return "refused"
            return ""

        proxy.fault = no_bindings
        async with cluster.scheduling(proxy.url):
            for i in range(4):
                await cluster.pod(f"w{i}", gang="g", size=4)
            await asyncio.wait_for(stop.wait(), PATIENCE_S)
    for node in cluster.nodes:
        await cluster.client.patch(NODES, node, {"spec": {"unschedulable": True}})
    async with cluster.scheduling():

        async def is_free() -> bool:
            claims = await cluster.claims()
            return all(c.status.allocation is None and not c.status.reserved_for for c in claims.values())

        await eventually(is_free, 20.0)
        for node in cluster.nodes:
            await cluster.client.patch(NODES, node, {"spec": {"unschedulable": None}})
        await eventually(lambda: cluster.all_bound([f"w{i}" for i in range(4)]), 20.0)
        await cluster.check()


async def test_storms_of_errors_and_lost_answers_allocate_nothing_twice(cluster: Cluster) -> None:
    await cluster.build(4, 4)
    dice = random.Random(7)
    async with cluster.proxy() as proxy:

        async def storm(seen: Seen) -> str:
            return dice.choice(["", "", "500", "503", "429", "lost", "refused"])

        proxy.fault = storm
        async with cluster.scheduling(proxy.url):
            names = [f"p{i}" for i in range(8)]
            for name in names:
                await cluster.pod(name)
            await eventually(lambda: cluster.all_bound(names), 40.0)
            await cluster.check()


async def test_conflicts_with_writers_of_the_same_claims_are_sat_out(cluster: Cluster) -> None:
    await cluster.build(2, 4)
    names = [f"p{i}" for i in range(8)]
    async with cluster.proxy() as proxy:
        rounds: dict[str, int] = {}

        async def touch_first(seen: Seen) -> str:
            if seen.step in ("finalizer", "status"):
                name = seen.path.split("/resourceclaims/")[1].split("/")[0]
                rounds[name] = rounds.get(name, 0) + 1
                if rounds[name] <= 4:
                    body = {"metadata": {"labels": {"round": str(rounds[name])}}}
                    await cluster.client.patch(RESOURCE_CLAIMS, name, body, cluster.namespace)
            return ""

        proxy.fault = touch_first
        async with cluster.scheduling(proxy.url):
            for name in names:
                await cluster.pod(name)
            await eventually(lambda: cluster.all_bound(names))
            await cluster.check()
    assert all(c.metadata.labels["round"] == "4" for c in (await cluster.claims()).values())


async def test_a_gang_whose_member_is_deleted_while_claims_are_written_lets_all_go(cluster: Cluster) -> None:
    await cluster.build(2, 2)
    async with cluster.proxy() as proxy:

        async def delete_one(seen: Seen) -> str:
            if seen.step == "status" and "w3-own" in seen.path:
                await cluster.client.delete(PODS, "w3", cluster.namespace, grace_period_s=0)
                await asyncio.sleep(0.2)
            return ""

        proxy.fault = delete_one
        async with cluster.scheduling(proxy.url):
            for i in range(4):
                await cluster.pod(f"w{i}", gang="g", size=4)

            async def all_free() -> bool:
                pods, claims = await cluster.pods(), await cluster.claims()
                return "w3" not in pods and all(c.status.allocation is None for c in claims.values())

            await eventually(all_free)
            assert not any(p.spec.node_name for p in (await cluster.pods()).values())
            proxy.fault = _pass
            await cluster.client.delete(RESOURCE_CLAIMS, "w3-own", cluster.namespace)
            await cluster.pod("w4", gang="g", size=4)
            await eventually(lambda: cluster.all_bound(["w0", "w1", "w2", "w4"]))


async def test_half_a_gang_that_was_bound_leaves_again(cluster: Cluster) -> None:
    await cluster.build(2, 2)
    async with cluster.proxy() as proxy:

        async def delete_last(seen: Seen) -> str:
            if seen.step == "binding" and "/w3/" in seen.path:
                await eventually(lambda: _bindings(proxy.writes, 3))
                await cluster.client.delete(PODS, "w3", cluster.namespace, grace_period_s=0)
            return ""

        proxy.fault = delete_last
        async with cluster.scheduling(proxy.url):
            for i in range(4):
                await cluster.pod(f"w{i}", gang="g", size=4)

            async def all_gone() -> bool:
                claims = await cluster.claims()
                return not await cluster.pods() and all(c.status.allocation is None for c in claims.values())

            await eventually(all_gone)


async def test_two_schedulers_of_one_name_do_not_harm_each_other(cluster: Cluster) -> None:
    await cluster.build(3, 4)
    names = [f"p{i}" for i in range(12)]
    for name in names:
        await cluster.pod(name)
    async with cluster.scheduling(), cluster.scheduling():
        await eventually(lambda: cluster.all_bound(names), 20.0)
        await eventually(lambda: _holds(cluster), 5.0)


async def test_of_two_schedulers_that_want_the_same_devices_one_gives_way(cluster: Cluster) -> None:
    await cluster.build(3, 4)
    for scheduler in ("one", "other"):
        for i in range(10):
            await cluster.pod(f"{scheduler}-{i}", scheduler=f"{scheduler}-{cluster.namespace}")
    one, other = (cluster.scheduling(name=f"{name}-{cluster.namespace}") for name in ("one", "other"))
    gave_way = 0
    async with one as first, other as second:
        count = _counting_failures(first), _counting_failures(second)

        async def all_devices_are_used() -> bool:
            return sum(bool(p.spec.node_name) for p in (await cluster.pods()).values()) == 12

        await eventually(all_devices_are_used, 30.0)
        await eventually(lambda: _holds(cluster), 10.0)
        gave_way = sum(len(failures) for failures in count)
    assert gave_way, "the schedulers never met: the test shows nothing"


def _counting_failures(scheduler: Scheduler) -> list[str]:
    """Reasons for which what the scheduler decided was taken back."""
    reasons: list[str] = []
    told = scheduler.planner.failed

    def failed(uids: Iterable[str], now_s: float) -> None:
        reasons.append("failed")
        told(uids, now_s)

    scheduler.planner.failed = failed  # type: ignore[method-assign]
    return reasons


async def _holds(cluster: Cluster) -> bool:
    await cluster.check()
    return True


async def _bindings(writes: list[Seen], count: int) -> bool:
    return sum(seen.step == "binding" for seen in writes) >= count


async def _pass(seen: Seen) -> str:
    return ""
