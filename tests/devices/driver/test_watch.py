"""Watching hardware that hangs, raises, vanishes and comes back; calls made one at a time, in threads."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from fairlead.clock import SYSTEM, Clock, VirtualClock
from fairlead.devices.cdi.spec import NO_EDITS, ContainerEdits
from fairlead.devices.driver.calls import CallThreads, VendorCalls
from fairlead.devices.driver.damping import DampingSettings
from fairlead.devices.driver.state import NodeView
from fairlead.devices.driver.watch import NodeWatch, WatchSettings
from fairlead.devices.errors import ProbeError, VendorTimeout
from fairlead.devices.health import HEALTHY, Health, unhealthy
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import Vendor

WAIT_S = 20.0
FAST = WatchSettings(
    probe_period_s=0.05,
    health_period_s=0.01,
    probe_limit_s=0.3,
    health_limit_s=0.3,
    damping=DampingSettings(recovery_s=0.05, max_recovery_s=0.2),
)


class Hardware(Vendor):
    """A vendor whose calls do what the test says."""

    name = "test"
    driver = "npu.example.com"
    cdi_kind = "example.com/npu"

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.states: dict[str, Health] = {}
        self.probe_raises: Exception | None = None
        self.health_raises: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.probes = 0
        self.checks = 0
        self.at_once = 0
        self.most_at_once = 0
        self.look: Callable[[], None] = lambda: None

    def on_change(self, look: Callable[[], None]) -> None:
        self.look = look

    def probe(self) -> Inventory:
        self.probes += 1
        self._enter()
        try:
            self.gate.wait(30)
            if self.probe_raises:
                raise self.probe_raises
            return Inventory(tuple(Device(name) for name in self.names))
        finally:
            self.at_once -= 1

    def health(self) -> Mapping[str, Health]:
        self.checks += 1
        self._enter()
        try:
            self.gate.wait(30)
            if self.health_raises:
                raise self.health_raises
            return {name: HEALTHY for name in self.names} | self.states
        finally:
            self.at_once -= 1

    def edits(self, device: Device) -> ContainerEdits:
        return NO_EDITS

    def _enter(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)


class Quick(Hardware):
    is_quick = True


class Told:
    """Views as a listener gets them."""

    def __init__(self) -> None:
        self.views: list[NodeView] = []
        self._changed = asyncio.Event()

    def __call__(self, view: NodeView) -> None:
        self.views.append(view)
        self._changed.set()

    async def until(self, condition: Callable[[NodeView], bool]) -> NodeView:
        async with asyncio.timeout(WAIT_S):
            while not (self.views and condition(self.views[-1])):
                self._changed.clear()
                await self._changed.wait()
        return self.views[-1]


@asynccontextmanager
async def watching(
    vendor: Hardware, settings: WatchSettings = FAST, *, held: frozenset[str] = frozenset(), clock: Clock = SYSTEM
) -> AsyncIterator[tuple[NodeWatch, Told]]:
    watch, told = (
        NodeWatch(vendor, VendorCalls("test", clock=clock), held=lambda: held, settings=settings, clock=clock),
        Told(),
    )
    task = asyncio.create_task(watch.run(told))
    try:
        yield watch, told
    finally:
        vendor.gate.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def states(view: NodeView) -> dict[str, str]:
    return {device.name: view.health(device.name).state for device in view.inventory.devices}


async def test_faults_and_recoveries_are_told() -> None:
    vendor = Hardware("a", "b")
    async with watching(vendor) as (watch, told):
        await told.until(lambda view: states(view) == {"a": "healthy", "b": "healthy"})
        vendor.states["b"] = unhealthy("Xid", "79")
        view = await told.until(lambda view: states(view)["b"] == "unhealthy")
        assert view.taints["b"][0].key == "npu.example.com/unhealthy"
        assert watch.view.is_news_to(None)
        del vendor.states["b"]
        await told.until(lambda view: states(view)["b"] == "healthy" and not view.taints)
    assert vendor.most_at_once == 1


async def test_nothing_new_is_not_told() -> None:
    vendor = Hardware("a")
    async with watching(vendor) as (watch, told):
        await told.until(lambda view: True)
        for _ in range(5):
            await watch.looked()
        assert len(told.views) == 1
        assert vendor.checks >= 5


async def test_devices_that_come_and_go() -> None:
    vendor = Hardware("a", "b")
    async with watching(vendor, held=frozenset({"b"})) as (_, told):
        await told.until(lambda view: set(states(view)) == {"a", "b"})
        vendor.names = ["c"]
        view = await told.until(lambda view: set(states(view)) == {"b", "c"})
        assert view.taints["b"][0].key == "npu.example.com/vanished"


async def test_health_that_tells_of_a_vanished_device_asks_for_a_probe() -> None:
    vendor = Hardware("a", "b")
    seldom = WatchSettings(probe_period_s=3600, health_period_s=0.01)
    async with watching(vendor, seldom) as (_, told):
        await told.until(lambda view: set(states(view)) == {"a", "b"})
        vendor.names = ["a"]
        vendor.states["b"] = unhealthy("Vanished", "fell off the bus")
        await told.until(lambda view: set(states(view)) == {"a"})
        probes = vendor.probes
        await asyncio.sleep(0.1)
        assert vendor.probes == probes, "it goes on probing for a device that is known to be gone"
        vendor.states["c"] = HEALTHY
        vendor.names = ["a", "c"]
        await told.until(lambda view: set(states(view)) == {"a", "c"})


async def test_a_call_that_raises_makes_devices_unknown_and_ends_nothing() -> None:
    vendor = Hardware("a")
    async with watching(vendor) as (_, told):
        await told.until(lambda view: states(view) == {"a": "healthy"})
        vendor.health_raises = OSError("bad file")
        view = await told.until(lambda view: states(view) == {"a": "unknown"})
        assert "OSError: bad file" in view.health("a").message
        vendor.probe_raises = ZeroDivisionError("oops")
        view = await told.until(lambda view: bool(view.problem))
        assert "ZeroDivisionError: oops" in view.problem
        vendor.probe_raises = ProbeError("/sys/x: truncated")
        await told.until(lambda view: view.problem == "/sys/x: truncated")
        vendor.probe_raises = vendor.health_raises = None
        await told.until(lambda view: states(view) == {"a": "healthy"} and not view.problem)


async def test_a_call_that_hangs_makes_devices_unknown_and_holds_up_no_other_vendor() -> None:
    stuck, fine = Hardware("a"), Hardware("b")
    async with watching(stuck) as (_, told), watching(fine) as (_, others):
        await told.until(lambda view: states(view) == {"a": "healthy"})
        stuck.gate.clear()
        view = await told.until(lambda view: states(view) == {"a": "unknown"})
        assert "did not return within 0.3 s" in view.health("a").message or view.problem
        fine.states["b"] = unhealthy("Xid", "79")
        await others.until(lambda view: states(view) == {"b": "unhealthy"})
        probes, checks = stuck.probes, stuck.checks
        await asyncio.sleep(0.2)
        assert (stuck.probes, stuck.checks) == (probes, checks), "calls pile up behind one that hangs"
        stuck.gate.set()
        await told.until(lambda view: states(view) == {"a": "healthy"} and not view.problem)


async def test_a_listener_that_fails_does_not_end_the_watch() -> None:
    vendor, views = Hardware("a"), []

    def listen(view: NodeView) -> None:
        views.append(view)
        raise RuntimeError("no")

    watch = NodeWatch(vendor, VendorCalls("test"), settings=FAST)
    task = asyncio.create_task(watch.run(listen))
    await watch.looked()
    vendor.states["a"] = unhealthy("Xid", "79")
    await watch.looked()
    assert len(views) == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_look_is_taken_at_once_when_the_vendor_asks_from_its_thread() -> None:
    vendor = Hardware("a")
    async with watching(vendor, WatchSettings(probe_period_s=3600, health_period_s=3600)) as (_, told):
        await told.until(lambda view: set(states(view)) == {"a"})
        vendor.names = ["a", "b"]
        threading.Thread(target=vendor.look).start()
        await told.until(lambda view: set(states(view)) == {"a", "b"})


async def test_periods_are_those_of_the_settings() -> None:
    clock, vendor = VirtualClock(), Quick("a")
    async with watching(vendor, WatchSettings(), clock=clock) as (_, told):
        await told.until(lambda view: True)
        assert (vendor.probes, vendor.checks) == (1, 1)
        await clock.advance(4.9)
        assert (vendor.probes, vendor.checks) == (1, 10)
        await clock.advance(5.2)
        assert (vendor.probes, vendor.checks) == (3, 21)


async def test_a_claim_being_prepared_does_not_make_devices_unknown() -> None:
    vendor, calls = Hardware("a"), VendorCalls("test")
    watch, told = NodeWatch(vendor, calls, settings=FAST), Told()
    task = asyncio.create_task(watch.run(told))
    await told.until(lambda view: states(view) == {"a": "healthy"})
    release = threading.Event()
    prepare = asyncio.create_task(calls.call("prepare", lambda: release.wait(30), limit_s=30))
    await asyncio.sleep(0.5)
    assert (states(watch.view), watch.view.problem) == ({"a": "healthy"}, "")
    looked = asyncio.create_task(watch.looked())
    await asyncio.sleep(0.05)
    assert not looked.done()
    release.set()
    assert await prepare
    assert states(await looked) == {"a": "healthy"}
    await told.until(lambda view: states(view) == {"a": "healthy"} and not view.problem)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_calls_are_made_one_at_a_time_in_order() -> None:
    calls, order, running = VendorCalls("test"), [], []

    def call(number: int) -> int:
        running.append(number)
        assert len(running) == 1
        order.append(number)
        running.remove(number)
        return number

    results = await asyncio.gather(*(calls.call(f"call {n}", lambda n=n: call(n), limit_s=10) for n in range(50)))
    assert results == order == list(range(50))
    assert not calls.is_busy


async def test_a_call_that_is_stuck_is_named_to_those_after_it() -> None:
    calls, release = VendorCalls("gpu on n1"), threading.Event()
    with pytest.raises(VendorTimeout, match=r"gpu on n1: probe did not return within 0\.05 s"):
        await calls.call("probe", lambda: release.wait(30), limit_s=0.05)
    with pytest.raises(VendorTimeout, match=r"health is not tried: probe has not returned for 0 s"):
        await calls.call("health", lambda: 1, limit_s=10)
    assert "probe has not returned" in calls.stuck
    release.set()
    async with asyncio.timeout(WAIT_S):
        while True:
            if not calls.stuck:
                break
            await asyncio.sleep(0.01)
    assert await calls.call("health", lambda: 1, limit_s=10) == 1


async def test_a_machine_without_threads_left_blocks_no_vendor_for_good() -> None:
    calls = VendorCalls("gpu on n1", threads=CallThreads())
    size = threading.stack_size(2**46)  # more than an address space has: the thread cannot be started
    try:
        for _ in range(2):
            with pytest.raises(ProbeError, match="gpu on n1: probe has no thread to run in: can't start new thread"):
                await calls.call("probe", lambda: 1, limit_s=10)
    finally:
        threading.stack_size(size)
    assert (calls.stuck, calls.is_busy) == ("", False)
    assert await calls.call("probe", lambda: 1, limit_s=10) == 1


async def test_what_a_call_raises_comes_out() -> None:
    calls = VendorCalls("test")

    def stop() -> None:
        raise StopIteration

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(ProbeError, match="no"):
        await calls.call("a", lambda: (_ for _ in ()).throw(ProbeError("no")), limit_s=10)
    for ending in (stop, leave):
        with pytest.raises(RuntimeError, match="vendor call ended by"):
            await calls.call("b", ending, limit_s=10)
    assert await calls.call("c", lambda: 3, limit_s=10) == 3


async def test_a_call_that_nobody_waits_for_any_more_frees_its_turn() -> None:
    calls, release = VendorCalls("test"), threading.Event()
    waiting = asyncio.create_task(calls.call("slow", lambda: release.wait(30), limit_s=30))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert calls.is_busy
    release.set()
    assert await calls.call("next", lambda: 5, limit_s=10) == 5
    gc.collect()


@pytest.mark.parametrize("name", ["probe_period_s", "health_period_s", "probe_limit_s", "health_limit_s"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_settings_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"watch: {name}"):
        WatchSettings(**{name: value})
