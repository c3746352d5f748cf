"""Pools published to a real API server, through whatever others do to them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from devices.slices.slice_inventories import partitioned, plain, taint
from devices.slices.slice_model import INCOMPLETE, ModelApi, told_of
from embedded.apiserver.server_process import ServerProcess
from fairlead.clock import SystemClock
from fairlead.devices.errors import InventoryError
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.slices import precedence
from fairlead.devices.slices import publisher as publisher_module
from fairlead.devices.slices.convert import inventory_of
from fairlead.devices.slices.hub import SlicePublisherHub
from fairlead.devices.slices.layout import SliceContent, compute_layout
from fairlead.devices.slices.names import FIRST, slice_name
from fairlead.devices.slices.plan import PUBLISHER
from fairlead.devices.slices.precedence import Mark, newer_publisher, should_stand_back
from fairlead.devices.slices.publisher import PoolPublisher
from fairlead.devices.slices.refusal import explained
from fairlead.kube.client import Client
from fairlead.kube.errors import Invalid, NotFound
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.kinds import NODES, RESOURCE_SLICES
from fairlead.kube.objects import Device as ApiDevice
from fairlead.kube.objects import (
    DeviceAttribute,
    Node,
    ObjectMeta,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)

WAIT_S = 30.0


@pytest.fixture
def driver() -> str:
    return f"gpu-{secrets.token_hex(4)}.example.com"


@pytest.fixture
async def node(client: Client) -> AsyncIterator[str]:
    name = f"slices-{secrets.token_hex(4)}"
    await client.create(NODES, Node(metadata=ObjectMeta(name=name)))
    yield name
    with suppress(NotFound):
        await client.delete(NODES, name)


@asynccontextmanager
async def running(hub: SlicePublisherHub) -> AsyncIterator[SlicePublisherHub]:
    task = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def slices(client: Client, driver: str) -> list[ResourceSlice]:
    found = (await client.list(RESOURCE_SLICES, field_selector=f"spec.driver={driver}")).items
    return sorted(found, key=lambda s: s.metadata.name)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


async def clear(client: Client, driver: str) -> None:
    for found in await slices(client, driver):
        with suppress(NotFound):
            await client.delete(RESOURCE_SLICES, found.metadata.name)


async def test_a_kubelet_that_clears_the_node_is_no_cause_for_alarm(
    client: Client, driver: str, node: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        await publisher.publish(partitioned(8), timeout_s=WAIT_S)
        for n in range(1, 6):
            # The update is sent before the watch has told of the deletion, most times.
            await clear(client, driver)
            await publisher.publish(partitioned(8), {f"npu-{n}": (taint(),)}, timeout_s=WAIT_S)
            await until(lambda: _has_all(client, driver), "all slices to be there again")
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


async def _has_all(client: Client, driver: str) -> bool:
    found = await slices(client, driver)
    return sum(len(s.spec.devices) for s in found) == 120 and len({s.spec.pool.generation for s in found}) == 1


async def test_publish_change_and_withdraw(client: Client, driver: str, node: str) -> None:
    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        inventory = partitioned(8)
        await publisher.publish(inventory, timeout_s=WAIT_S)
        found = await slices(client, driver)
        assert [len(s.spec.devices) for s in found] == [0, 64, 56]
        assert inventory_of(s.spec for s in found).devices == tuple(replace(d, parent="") for d in inventory.devices)
        uid = (await client.get(NODES, node)).metadata.uid
        for s in found:
            (owner,) = s.metadata.owner_references
            assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Node", node, uid, True)
            assert s.spec.node_name == node
            assert s.spec.pool == ResourcePool(generation=1, name=node, resource_slice_count=3)
        await publisher.publish(inventory, {"npu-3": (taint(),)}, timeout_s=WAIT_S)
        assert (publisher.status.generation, publisher.status.is_in_step) == (1, True)
        tainted = [d for s in await slices(client, driver) for d in s.spec.devices if d.taints]
        assert [(d.name, d.taints[0].effect, bool(d.taints[0].time_added)) for d in tainted] == [
            ("npu-3", "NoExecute", True)
        ]
        await publisher.withdraw(timeout_s=WAIT_S)
        assert await slices(client, driver) == []


async def test_what_others_do_is_put_right(client: Client, driver: str, node: str) -> None:
    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        await publisher.publish(plain(3), {"dev-1": (taint(),)}, timeout_s=WAIT_S)
        (first,) = await slices(client, driver)
        await client.delete(RESOURCE_SLICES, first.metadata.name)

        async def is_back() -> bool:
            return [s.metadata.uid != first.metadata.uid for s in await slices(client, driver)] == [True]

        await until(is_back, "the slice to come back")
        (second,) = await slices(client, driver)
        untainted = [structs.replace(d, taints=()) for d in second.spec.devices[:2]]
        changed = structs.replace(second, spec=structs.replace(second.spec, devices=untainted))
        await client.replace(RESOURCE_SLICES, changed)

        async def is_right() -> bool:
            (now,) = await slices(client, driver)
            return [bool(d.taints) for d in now.spec.devices] == [False, True, False]

        await until(is_right, "the change to be undone")
        await clear(client, driver)


async def test_a_new_process_takes_over_what_is_there_without_a_write(client: Client, driver: str, node: str) -> None:
    inventory, taints = partitioned(8), {"npu-0": (taint(),)}
    async with running(SlicePublisherHub(client, node=node, instance="first")) as hub:
        await hub.add(driver, node).publish(inventory, taints, timeout_s=WAIT_S)
    before = await slices(client, driver)
    async with running(SlicePublisherHub(client, node=node, instance="second")) as hub:
        publisher = hub.add(driver, node)
        await publisher.publish(inventory, taints, timeout_s=WAIT_S)
        assert publisher.status.generation == 1
    assert await slices(client, driver) == before
    await clear(client, driver)


async def test_two_processes_of_one_pool_do_not_fight(client: Client, driver: str, node: str) -> None:
    old = SlicePublisherHub(client, node=node, instance="old")
    async with running(old):
        former = old.add(driver, node)
        await former.publish(partitioned(8), timeout_s=WAIT_S)
        new = SlicePublisherHub(client, node=node, instance="new")
        async with running(new):
            latter = new.add(driver, node)
            await latter.publish(partitioned(9), timeout_s=WAIT_S)
            # Both see a fault; the older one leaves it to the newer one to tell.
            former.want(partitioned(8), {"npu-1": (taint(),)})
            await latter.publish(partitioned(9), {"npu-1": (taint(),)}, timeout_s=WAIT_S)
            await former.settled(WAIT_S)
            assert former.status.is_standing_back
            writers = {s.metadata.annotations[PUBLISHER].split()[1] for s in await slices(client, driver)}
            assert writers == {"new"}
            versions = [s.metadata.resource_version for s in await slices(client, driver)]
            await asyncio.sleep(0.5)
            assert [s.metadata.resource_version for s in await slices(client, driver)] == versions
        # An old process that ends takes nothing of the new one's with it.
        await former.withdraw(timeout_s=WAIT_S)
        assert len(await slices(client, driver)) == len(versions)
    await clear(client, driver)


class _Behind(SystemClock):
    """A clock that was set back, as after a reboot without a battery."""

    def wall_s(self) -> float:
        return super().wall_s() - 3600


async def test_slices_of_a_process_that_is_gone_and_was_ahead_in_time_are_taken_over(
    client: Client, driver: str, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (precedence, publisher_module):
        monkeypatch.setattr(module, "STAND_BACK_S", 0.3)
    async with running(SlicePublisherHub(client, node=node, instance="gone")) as hub:
        await hub.add(driver, node).publish(plain(2), timeout_s=WAIT_S)
    async with running(SlicePublisherHub(client, node=node, instance="here", clock=_Behind())) as hub:
        publisher = hub.add(driver, node)
        publisher.want(plain(3))

        async def is_ours() -> bool:
            return [len(s.spec.devices) for s in await slices(client, driver)] == [3]

        async def has_said_so() -> bool:
            return not publisher.status.is_standing_back

        await until(is_ours, "the slice to be taken over")
        await until(has_said_so, "the publisher to know it")
    await clear(client, driver)


async def test_a_node_that_is_not_there_yet(client: Client, driver: str) -> None:
    name = f"late-{secrets.token_hex(4)}"
    async with running(SlicePublisherHub(client, node=name)) as hub:
        publisher = hub.add(driver, name)
        with pytest.raises(TimeoutError, match=f'node "{name}" does not exist'):
            await publisher.publish(plain(2), timeout_s=0.5)
        await client.create(NODES, Node(metadata=ObjectMeta(name=name)))
        await publisher.settled(WAIT_S)
        (found,) = await slices(client, driver)
        assert found.metadata.owner_references
    await client.delete(NODES, name)
    await clear(client, driver)


async def test_orphans_where_nodes_are_not_waited_for(client: Client, driver: str) -> None:
    name = f"never-{secrets.token_hex(4)}"
    async with running(SlicePublisherHub(client, node=name, missing_node="orphan")) as hub:
        await hub.add(driver, name).publish(plain(2), timeout_s=WAIT_S)
        (found,) = await slices(client, driver)
        assert not found.metadata.owner_references
        await clear(client, driver)


async def test_a_name_that_another_pool_has_is_an_error_that_says_so(client: Client, driver: str, node: str) -> None:
    name = slice_name(driver, node, FIRST)
    pool = ResourcePool(generation=1, name="theirs", resource_slice_count=1)
    theirs = ResourceSlice(
        metadata=ObjectMeta(name=name), spec=ResourceSliceSpec(driver="other.example.com", node_name=node, pool=pool)
    )
    await client.create(RESOURCE_SLICES, theirs)
    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        with pytest.raises(TimeoutError, match=r"belongs to pool other\.example\.com/theirs"):
            await publisher.publish(plain(1), timeout_s=1.0)
        await client.delete(RESOURCE_SLICES, name)
        await publisher.settled(WAIT_S)
        await clear(client, driver)


async def test_one_name_is_not_published_twice(client: Client, driver: str, node: str) -> None:
    hub = SlicePublisherHub(client, node=node)
    hub.add(driver, node)
    with pytest.raises(ValueError, match="two drivers for one name"):
        hub.add(driver, node)
    with pytest.raises(ValueError, match="not of"):
        hub.add(driver, "elsewhere")


async def test_an_invalid_inventory_changes_nothing(client: Client, driver: str, node: str) -> None:
    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        await publisher.publish(plain(2), timeout_s=WAIT_S)
        twice = Inventory((Device("a"), Device("a")))
        with pytest.raises(InventoryError, match='device "a"'):
            await publisher.publish(twice)
        assert publisher.status.is_in_step
        (found,) = await slices(client, driver)
        assert len(found.spec.devices) == 2
        await clear(client, driver)


async def test_a_refusal_of_the_server_names_the_device(client: Client, driver: str, node: str) -> None:
    wrong = ApiDevice(name="npu-7", attributes={"model": DeviceAttribute(string="x" * 65)})
    pool = ResourcePool(generation=1, name=node, resource_slice_count=1)
    spec = ResourceSliceSpec(driver=driver, node_name=node, pool=pool, devices=[ApiDevice(name="npu-6"), wrong])
    sent = ResourceSlice(metadata=ObjectMeta(name=slice_name(driver, node, FIRST)), spec=spec)
    with pytest.raises(Invalid) as raised:
        await client.create(RESOURCE_SLICES, sent)
    error = explained(raised.value, sent)
    assert error.device == "npu-7"
    assert 'device "npu-7" at attributes[model]' in str(error)


async def test_a_watching_reader_never_sees_a_torn_pool(client: Client, driver: str, node: str) -> None:
    """The allocator's view, looked at with each event of its own watch, while states follow one another at random."""
    chance = random.Random(5)
    seen: list[object] = []
    reader = Informer(client, RESOURCE_SLICES, field_selector=f"spec.driver={driver}")

    def look(*_: ResourceSlice) -> None:
        model = ModelApi({s.metadata.name: s for s in reader.store})
        seen.append(model.read())

    task = asyncio.create_task(reader.run())
    await reader.wait_synced()
    reader.add_handler(Handler(look, look, look))
    allowed: set[object] = {None, INCOMPLETE}
    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        for _ in range(25):
            base = chance.choice([plain(0), plain(3), plain(200), partitioned(2), partitioned(9)])
            taints = {d.name: (taint(),) for d in base.devices if chance.random() < 0.02}
            allowed.add(told_of([_as_slice(c) for c in compute_layout(base, taints)]))
            publisher.want(base, taints)
            if chance.random() < 0.5:
                await publisher.settled(WAIT_S)
        await publisher.settled(WAIT_S)
        await publisher.withdraw(timeout_s=WAIT_S)
        await until(lambda: _is(not len(reader.store)), "the reader to catch up")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert set(seen) <= allowed
    assert INCOMPLETE in seen
    assert len(set(seen)) > 5


async def _is(what: bool) -> bool:
    return what


def _as_slice(content: SliceContent) -> ResourceSlice:
    return ResourceSlice(spec=ResourceSliceSpec(devices=content.devices, shared_counters=content.counter_sets))


async def test_what_is_wanted_while_the_server_is_down_is_published_once_it_is_back(
    own_server: ServerProcess, driver: str
) -> None:
    async with Client.load(own_server.data / "kubeconfig") as client:
        await client.create(NODES, Node(metadata=ObjectMeta(name="n")))
        async with running(SlicePublisherHub(client, node="n")) as hub:
            publisher = hub.add(driver, "n")
            await publisher.publish(plain(3), timeout_s=WAIT_S)
            own_server.kill()
            publisher.want(partitioned(9), {"npu-2": (taint(),)})
            with pytest.raises(TimeoutError):
                await publisher.settled(0.5)
            own_server.start()
            await publisher.settled(60)
            found = await slices(client, driver)
            assert sum(len(s.spec.devices) for s in found) == 9 * 15
            assert len({s.spec.pool.generation for s in found}) == 1


async def test_a_server_killed_at_any_moment_leaves_a_pool_that_is_whole_in_the_end(
    own_server: ServerProcess, driver: str
) -> None:
    async with Client.load(own_server.data / "kubeconfig") as client:
        await client.create(NODES, Node(metadata=ObjectMeta(name="n")))
        async with running(SlicePublisherHub(client, node="n")) as hub:
            publisher = hub.add(driver, "n")
            for number, pause_s in enumerate((0.0, 0.005, 0.02)):
                publisher.want(partitioned(9 + number))
                await asyncio.sleep(pause_s)
                own_server.kill()
                own_server.start()
            await publisher.settled(60)
            model = ModelApi({s.metadata.name: s for s in await slices(client, driver)})
            assert model.read() == told_of([_as_slice(c) for c in compute_layout(partitioned(11), {})])


async def test_many_pools_share_one_client_and_one_watch(client: Client, driver: str) -> None:
    count = 60
    async with running(SlicePublisherHub(client, missing_node="orphan")) as hub:
        publishers: list[PoolPublisher] = [hub.add(driver, f"many-{n}") for n in range(count)]
        for publisher in publishers:
            publisher.want(plain(8))
        await asyncio.gather(*(publisher.settled(WAIT_S) for publisher in publishers))
        found = await slices(client, driver)
        assert sorted(s.spec.node_name for s in found) == sorted(f"many-{n}" for n in range(count))
        assert all(s.spec.pool.generation == 1 for s in found)
        await asyncio.gather(*(publisher.withdraw(timeout_s=WAIT_S) for publisher in publishers))
    assert await slices(client, driver) == []


async def test_a_server_that_lost_its_gates_is_not_told_of_overlapping_partitions(
    client: Client, driver: str, node: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    are_gates_on = True
    create, change = client.create, client.replace

    def without(sent: ResourceSlice) -> ResourceSlice:
        devices = tuple(structs.replace(d, taints=(), consumes_counters=()) for d in sent.spec.devices)
        return structs.replace(sent, spec=structs.replace(sent.spec, devices=devices, shared_counters=()))

    async def created(resource: Any, obj: Any, *args: Any, **options: Any) -> Any:
        return await create(resource, obj if are_gates_on else without(obj), *args, **options)

    async def changed(resource: Any, obj: Any, *args: Any, **options: Any) -> Any:
        return await change(resource, obj if are_gates_on else without(obj), *args, **options)

    async def devices() -> list[str]:
        return sorted(d.name for s in await slices(client, driver) for d in s.spec.devices)

    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        await publisher.publish(partitioned(2), {"npu-0": (taint(),)}, timeout_s=WAIT_S)
        assert len(await devices()) > 2
        monkeypatch.setattr(client, "create", created)
        monkeypatch.setattr(client, "replace", changed)
        are_gates_on = False
        await clear(client, driver)
        await publisher.publish(partitioned(2), {"npu-0": (taint(value="Other"),)}, timeout_s=WAIT_S)

        async def is_safe() -> bool:
            return await devices() == ["npu-1"] and publisher.status.is_in_step

        await until(is_safe, "only what is true without counters and taints")
        assert {"DRAPartitionableDevices", "DRADeviceTaints"} <= set(publisher.status.left_out)
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len([message for message in told if "DRAPartitionableDevices" in message]) == 1


async def test_lists_are_left_out_where_the_server_has_none(client: Client, driver: str, node: str) -> None:
    async with running(SlicePublisherHub(client, node=node)) as hub:
        publisher = hub.add(driver, node)
        await publisher.publish(Inventory((Device("a", {"numa": (0, 1), "model": "m"}),)), timeout_s=WAIT_S)
        (found,) = await slices(client, driver)
        if "DRAListTypeAttributes" in publisher.status.left_out:
            assert set(found.spec.devices[0].attributes) == {"model"}
        else:
            assert found.spec.devices[0].attributes["numa"].ints == [0, 1]
        await clear(client, driver)


def test_marks_order_processes_by_their_start() -> None:
    marks = [Mark(1_700_000_000.5, "b"), Mark(1_700_000_001.0, "a")]
    for mark in marks:
        assert Mark.parse(str(mark)) == mark
    written = [ResourceSlice(metadata=ObjectMeta(name=m.instance, annotations={PUBLISHER: str(m)})) for m in marks] + [
        ResourceSlice(metadata=ObjectMeta(name="x", annotations={PUBLISHER: "rubbish"}))
    ]
    assert newer_publisher(written, marks[0]) == marks[1]
    assert newer_publisher(written, marks[1]) is None
    for others_wrote_s, now_s in itertools.product((0.0, 5.0, 20.0), (10.0, 69.0, 71.0)):
        expected = others_wrote_s >= 10.0 or now_s < 70.0
        assert should_stand_back(marks[1], 10.0, others_wrote_s, now_s) == expected
    assert not should_stand_back(None, 10.0, 20.0, 11.0)
