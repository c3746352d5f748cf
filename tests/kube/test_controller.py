from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from prometheus_client import REGISTRY

from fairlead.clock import VirtualClock
from fairlead.kube.backoff import Backoff
from fairlead.kube.controller import Controller, Permanent, Result
from fairlead.kube.errors import Conflict
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import ObjectMeta, OwnerReference, Pod
from fairlead.kube.resources import ObjectKey
from fairlead.kube.run import run_controllers
from patience import PATIENCE_S

A, B = ObjectKey("default", "a"), ObjectKey("default", "b")
FAST = Backoff(first_s=0.01, max_s=0.02)


async def started(controller: Controller) -> asyncio.Task[None]:
    task = asyncio.create_task(controller.run())
    await asyncio.sleep(0)
    return task


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_errors_are_retried_with_growing_delays_and_results_are_kept() -> None:
    clock = VirtualClock()
    calls: list[tuple[str, float]] = []

    async def reconcile(key: ObjectKey) -> Result | None:
        calls.append((key.name, clock.monotonic_s()))
        if key == A and len(calls) <= 3:
            raise Conflict("changed meanwhile")
        return Result(requeue_after_s=100) if key == B else None

    controller = Controller("retry", reconcile, backoff=Backoff(1, 60, jitter=0), clock=clock)
    task = await started(controller)
    controller.enqueue(A)
    await clock.advance(50)
    assert calls == [("a", 0), ("a", 1), ("a", 3), ("a", 7)]
    controller.enqueue(B)
    await clock.advance(240)
    assert [at for name, at in calls if name == "b"] == [50, 150, 250]
    await stopped(task)


async def test_permanent_failures_wait_for_a_change() -> None:
    clock = VirtualClock()
    calls = Counter[str]()

    async def reconcile(key: ObjectKey) -> None:
        calls[key.name] += 1
        raise Permanent("no such model")

    controller = Controller("permanent", reconcile, clock=clock)
    task = await started(controller)
    controller.enqueue(A)
    await clock.advance(1000)
    assert calls["a"] == 1
    controller.enqueue(A)
    await clock.advance(1)
    assert calls["a"] == 2
    assert (
        REGISTRY.get_sample_value(
            "controller_runtime_reconcile_total", {"controller": "permanent", "result": "permanent"}
        )
        == 2
    )
    await stopped(task)


async def test_concurrency_is_bounded_and_a_key_never_overlaps_itself() -> None:
    clock = VirtualClock()
    running: list[ObjectKey] = []
    most = 0

    async def reconcile(key: ObjectKey) -> None:
        nonlocal most
        assert key not in running
        running.append(key)
        most = max(most, len(running))
        await clock.sleep(1)
        running.remove(key)

    controller = Controller("bounded", reconcile, concurrency=3, clock=clock)
    task = await started(controller)
    for round in range(3):
        for i in range(10):
            controller.enqueue(ObjectKey("", str(i)))
        await clock.advance(0.4 * round)
    await clock.advance(30)
    assert most == 3
    assert not running
    await stopped(task)


async def test_a_hung_reconcile_is_given_up_and_retried() -> None:
    calls = 0

    async def reconcile(key: ObjectKey) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()

    controller = Controller("hung", reconcile, timeout_s=0.05, backoff=FAST)
    task = await started(controller)
    controller.enqueue(A)
    async with asyncio.timeout(PATIENCE_S):
        while calls < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await stopped(task)


async def test_stopping_lets_a_running_reconcile_end() -> None:
    ended = False
    begun = asyncio.Event()

    async def reconcile(key: ObjectKey) -> None:
        nonlocal ended
        begun.set()
        await asyncio.sleep(0.05)
        ended = True

    controller = Controller("graceful", reconcile)
    task = await started(controller)
    controller.enqueue(A)
    await begun.wait()
    await stopped(task)
    assert ended


async def test_stopping_does_not_wait_for_ever() -> None:
    async def reconcile(key: ObjectKey) -> None:
        await asyncio.Event().wait()

    controller = Controller("stubborn", reconcile, grace_s=0.05)
    task = await started(controller)
    controller.enqueue(A)
    await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE_S):
        await stopped(task)


def test_concurrency_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Controller("none", None, concurrency=0)  # type: ignore[arg-type]


async def test_changes_wake_keys_and_owners(scripted: Any, scripted_client: Any) -> None:
    scripted.put("a")
    woken: list[str] = []

    async def reconcile(key: ObjectKey) -> None:
        woken.append(str(key))

    informers = Informers(scripted_client, backoff=FAST)
    controller = Controller("wired", reconcile)
    controller.watch(informers.informer(PODS))
    task = asyncio.create_task(run_controllers(informers, [controller]))
    async with asyncio.timeout(PATIENCE_S):
        while not woken:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        scripted.put("b", "other")
        while "other/b" not in woken:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await stopped(task)
    assert woken == ["default/a", "other/b"]


async def test_owner_is_woken_by_what_it_controls(scripted_client: Any) -> None:
    informers = Informers(scripted_client)
    pods = informers.informer(PODS)

    async def reconcile(key: ObjectKey) -> None: ...

    controller = Controller("owner", reconcile).owns(pods, "ReplicaSet", owner_group="apps")

    def pod(version: int, *owners: OwnerReference) -> Pod:
        metadata = ObjectMeta(name="p", namespace="ns", uid="u", resource_version=str(version), owner_references=owners)
        return Pod(metadata=metadata)

    web = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="web", uid="1", controller=True)
    api = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="api", uid="2", controller=True)
    foreign = OwnerReference(api_version="example.com/v1", kind="ReplicaSet", name="x", uid="3", controller=True)
    plain = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="y", uid="4")
    key = ObjectKey("ns", "p")
    pods._upsert(key, pod(1, web))
    pods._upsert(key, pod(2, api))
    pods._upsert(key, pod(3, foreign, plain))
    queued = set()
    while len(controller.queue):
        queued.add((await controller.queue.get()).key.name)
    assert queued == {"web", "api"}
