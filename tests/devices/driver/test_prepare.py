"""Prepare and unprepare without sockets: odd vendors, damaged records, full disks, random histories with crashes."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devices.driver.driver_rig import DRIVER, Result, WidgetVendor, allocate, create_claim, deallocate, widgets
from fairlead.clock import SYSTEM, Clock
from fairlead.devices.cdi import ContainerEdits, read_spec
from fairlead.devices.driver.calls import VendorCalls
from fairlead.devices.driver.checkpoint import Checkpoint
from fairlead.devices.driver.claim_specs import ClaimSpecs, DeviceSpecs
from fairlead.devices.driver.claims import ClaimReader, ClaimUnreadable
from fairlead.devices.driver.damping import DampingSettings
from fairlead.devices.driver.prepare import ClaimPreparer, PrepareSettings
from fairlead.devices.driver.records import ClaimRecord
from fairlead.devices.driver.rolling import FileLock
from fairlead.devices.driver.state import NodeView, compute_view
from fairlead.devices.errors import CheckpointError, ClaimError, DeviceError, VendorTimeout
from fairlead.devices.inventory import Inventory
from fairlead.devices.vendor import ClaimReference, Preparation
from fairlead.kube import Client, Credentials, RetryPolicy
from fairlead.kube.kinds import RESOURCE_CLAIMS
from fairlead.kube.objects import ResourceClaim
from patience import PATIENCE_S


class LateClock:
    """The machine's time, moved ahead at will."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall_s(self) -> float:
        return SYSTEM.wall_s() + self.ahead_s

    def monotonic_s(self) -> float:
        return SYSTEM.monotonic_s() + self.ahead_s

    async def sleep(self, duration_s: float) -> None:
        await SYSTEM.sleep(duration_s)


class Bench:
    """A preparer with everything real but the sockets."""

    def __init__(
        self, folder: Path, reader: Any, vendor: WidgetVendor, *, node: str = "node-a", clock: Clock = SYSTEM,
        limits: PrepareSettings | None = None,
    ) -> None:  # fmt: skip
        self.vendor = vendor
        self.view: NodeView | None = None
        self.cdi = folder / "cdi"
        self.checkpoint = Checkpoint(folder)
        self.device_specs = DeviceSpecs(self.cdi, vendor)
        self.preparer = ClaimPreparer(
            vendor, VendorCalls(f"{DRIVER} on {node}"), driver=DRIVER, pool=node,
            view=lambda: self.view or NodeView(inventory=vendor.inventory, is_probed=True), claims=reader,
            checkpoint=self.checkpoint, lock=FileLock(folder / "serialize.lock"),
            device_specs=self.device_specs, claim_specs=ClaimSpecs(self.cdi, DRIVER),
            settings=limits, clock=clock,
        )  # fmt: skip

    async def start(self) -> Bench:
        await self.preparer.load()
        await self.preparer.settle()
        self.device_specs.update(self.vendor.inventory)
        return self

    async def prepare(self, claim: ClaimReference) -> ClaimRecord | DeviceError:
        return (await self.preparer.prepare([claim]))[claim.uid]


async def bench(client: Client, folder: Path, vendor: WidgetVendor | None = None, **options: Any) -> Bench:
    return await Bench(folder, ClaimReader(client), vendor or WidgetVendor(), **options).start()


async def test_a_slow_vendor_costs_its_own_claim_and_the_next_call_says_so(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    vendor = WidgetVendor()
    vendor.gate = threading.Event()
    found = await bench(dra_client, tmp_path, vendor, limits=PrepareSettings(vendor_limit_s=0.05))
    claim = await create_claim(dra_client, dra_namespace, "slow", [Result("widget-0")])
    rival = await create_claim(dra_client, dra_namespace, "rival", [Result("widget-0")])
    outcome = await found.prepare(claim)
    assert isinstance(outcome, VendorTimeout)
    assert "did not return within 0.05 s" in str(outcome)
    assert isinstance(await found.prepare(rival), ClaimError), "what may be half done is nobody else's"
    vendor.gate.set()
    async with asyncio.timeout(PATIENCE_S):
        while not isinstance(outcome, ClaimRecord):
            outcome = await found.prepare(claim)
    assert outcome.phase == "prepared"


async def test_a_vendor_that_raises_what_nobody_expects(dra_client: Client, dra_namespace: str, tmp_path: Path) -> None:
    vendor = WidgetVendor()
    found = await bench(dra_client, tmp_path, vendor)
    claim = await create_claim(dra_client, dra_namespace, "unlucky", [Result("widget-0")])
    vendor.error = ZeroDivisionError("lanes")
    outcome = await found.prepare(claim)
    assert isinstance(outcome, ClaimError)
    assert "prepare failed: ZeroDivisionError: lanes" in str(outcome)
    vendor.error = None
    assert isinstance(await found.prepare(claim), ClaimRecord)


async def test_one_claim_at_the_same_time_from_many_sides(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    found = await bench(dra_client, tmp_path)
    claim = await create_claim(dra_client, dra_namespace, "wanted", [Result("widget-0")])
    outcomes = await asyncio.gather(*(found.prepare(claim) for _ in range(10)))
    assert {isinstance(o, ClaimRecord) and tuple(o.devices[0].cdi_ids) for o in outcomes} == {
        ("example.com/widget=widget-0",)
    }
    assert found.vendor.calls == [("prepare", claim.uid)]
    both = await found.preparer.prepare([claim, claim])
    assert list(both) == [claim.uid]


async def test_an_api_server_that_is_away(dra_client: Client, dra_namespace: str, tmp_path: Path) -> None:
    found = await bench(dra_client, tmp_path)
    known = await create_claim(dra_client, dra_namespace, "known", [Result("widget-0")])
    unknown = await create_claim(dra_client, dra_namespace, "unknown", [Result("widget-1")])
    assert isinstance(await found.prepare(known), ClaimRecord)
    async with Client(Credentials("http://127.0.0.1:9"), retry=RetryPolicy(attempts=1)) as away:
        alone = await Bench(tmp_path, ClaimReader(away, limit_s=5), found.vendor).start()
        outcomes = await alone.preparer.prepare([known, unknown])
        assert isinstance(outcomes[known.uid], ClaimRecord), "a kubelet that restarts gets its answer"
        assert isinstance(outcomes[unknown.uid], ClaimUnreadable)
        assert await alone.preparer.unprepare([known]) == {known.uid: None}


async def test_a_shared_device_that_vanished_under_a_claim_is_given_to_no_other(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    found = await bench(dra_client, tmp_path)
    shares = [
        [Result("hub-0", share_id=f"{n}0000000-0000-4000-8000-000000000000", consumed={"lanes": "1"})] for n in range(2)
    ]
    first, second = [await create_claim(dra_client, dra_namespace, f"c{n}", share) for n, share in enumerate(shares)]
    assert isinstance(await found.prepare(first), ClaimRecord)
    before = NodeView(found.vendor.inventory, is_probed=True)
    rest = Inventory(tuple(d for d in found.vendor.inventory.devices if d.name != "hub-0"))
    held = found.checkpoint.held_devices()
    seen = compute_view(
        before, Inventory(found.vendor.inventory.devices), {}, held, 0.0, DampingSettings(), driver=DRIVER
    )
    found.view = compute_view(seen, rest, {}, held, 1.0, DampingSettings(), driver=DRIVER)
    assert found.view.inventory.find("hub-0"), "it is held"
    outcome = await found.prepare(second)
    assert isinstance(outcome, ClaimError)
    assert 'device "hub-0" vanished from this node' in str(outcome)
    assert isinstance(await found.prepare(first), ClaimRecord), "its holder keeps what it has"


async def test_a_prepared_claim_that_was_deleted_is_not_answered_from_the_record(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    found = await bench(dra_client, tmp_path)
    claim = await create_claim(dra_client, dra_namespace, "claim", [Result("widget-0")])
    assert isinstance(await found.prepare(claim), ClaimRecord)
    await dra_client.delete(RESOURCE_CLAIMS, claim.name, claim.namespace)
    outcome = await found.prepare(claim)
    assert isinstance(outcome, ClaimError)
    assert "is not there any more" in str(outcome)
    assert not outcome.retry


@contextmanager
def full_disk(is_hit: Callable[[str], bool]) -> Iterator[None]:
    """Opening files for writing whose path is hit fails as on a full disk."""
    real = os.open

    def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and is_hit(str(path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, flags, *args, **kwargs)

    os.open = opened
    try:
        yield
    finally:
        os.open = real


@pytest.mark.parametrize("hit", ["checkpoint", "widgets.example.com-claim"])
async def test_a_full_disk_hands_out_nothing(dra_client: Client, dra_namespace: str, tmp_path: Path, hit: str) -> None:
    vendor = WidgetVendor()
    vendor.preparation = Preparation(edits=ContainerEdits(env=("A=1",)))
    found = await bench(dra_client, tmp_path, vendor)
    claims = [await create_claim(dra_client, dra_namespace, f"c-{n}", [Result(f"widget-{n}")]) for n in range(2)]
    with full_disk(lambda path: hit in path):
        outcomes = await found.preparer.prepare(claims)
    assert all("No space left on device" in str(o) and isinstance(o, DeviceError) for o in outcomes.values())
    for file in (tmp_path / "cdi").glob("*.json"):
        read_spec(file)
    if hit == "checkpoint":
        assert vendor.calls == [], "nothing is begun that cannot be recorded"
    outcomes = await found.preparer.prepare(claims)
    assert all(isinstance(o, ClaimRecord) for o in outcomes.values())
    with full_disk(lambda path: "checkpoint" in path):
        given_back = await found.preparer.unprepare(claims)
    assert all(isinstance(o, CheckpointError) for o in given_back.values())
    assert set((await found.preparer.unprepare(claims)).values()) == {None}


async def test_a_damaged_record_is_put_together_from_its_copy_and_the_api(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    node = f"node-{dra_namespace}"
    vendor = WidgetVendor()
    found = await bench(dra_client, tmp_path, vendor, node=node)

    async def make(name: str, device: str, pod: str) -> ClaimReference:
        return await create_claim(dra_client, dra_namespace, name, [Result(device, pool=node)], reserved_for=pod)

    kept = await make("kept", "widget-0", "pod-0")
    gone = await make("gone", "widget-1", "pod-1")
    for claim in (kept, gone):
        assert isinstance(await found.prepare(claim), ClaimRecord)
    last = await make("last", "widget-2", "pod-2")
    assert isinstance(await found.prepare(last), ClaimRecord)
    await deallocate(dra_client, gone)
    (tmp_path / "checkpoint.json").write_bytes(b'{"version":1,"checks')
    again = await bench(dra_client, tmp_path, vendor, node=node)
    assert again.checkpoint.records.keys() == {kept.uid, last.uid}
    assert gone.uid not in vendor.prepared, "what the API no longer knows is released"
    thief = await make("thief", "widget-2", "pod-3")
    assert isinstance(await again.prepare(thief), ClaimError)
    assert isinstance(await again.prepare(last), ClaimRecord)


async def test_claims_that_everyone_forgot_are_released_in_time(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    vendor, clock = WidgetVendor(), LateClock()
    found = await bench(dra_client, tmp_path, vendor, clock=clock)
    prepared = await create_claim(dra_client, dra_namespace, "prepared", [Result("widget-0")])
    half = await create_claim(dra_client, dra_namespace, "half", [Result("widget-1")])
    alive = await create_claim(dra_client, dra_namespace, "alive", [Result("widget-2")])
    for claim in (prepared, alive):
        assert isinstance(await found.prepare(claim), ClaimRecord)
    vendor.error = ClaimError("not today")
    assert isinstance(await found.prepare(half), ClaimError)
    for claim in (prepared, half):
        await dra_client.delete(RESOURCE_CLAIMS, claim.name, claim.namespace)
    assert await found.preparer.tidy() == []
    clock.ahead_s += 61
    assert await found.preparer.tidy() == [half.uid]
    clock.ahead_s += 600
    assert await found.preparer.tidy() == [], "first seen missing now"
    clock.ahead_s += 601
    assert await found.preparer.tidy() == [prepared.uid]
    assert found.checkpoint.records.keys() == {alive.uid}


class HeldReader(ClaimReader):
    """Reads claims once `gate` is open."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def read(self, claim: ClaimReference) -> ResourceClaim | None:
        self.asked.set()
        await self.gate.wait()
        return await super().read(claim)


async def test_a_claim_that_is_given_back_while_its_spec_is_restored_stays_so(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    vendor, reader = WidgetVendor(), HeldReader(dra_client)
    vendor.preparation = Preparation(edits=ContainerEdits(env=("A=1",)))
    found = await Bench(tmp_path, reader, vendor).start()
    claim = await create_claim(dra_client, dra_namespace, "leaving", [Result("widget-0")])
    assert isinstance(await found.prepare(claim), ClaimRecord)
    spec = next(found.cdi.glob(f"*{claim.uid}*"))
    assert await found.preparer.restore() == {}
    spec.unlink()
    reader.gate.clear()
    reader.asked.clear()
    restoring = asyncio.create_task(found.preparer.restore())
    await reader.asked.wait()
    assert await found.preparer.unprepare([claim]) == {claim.uid: None}
    reader.gate.set()
    assert await restoring == {}
    assert (found.checkpoint.records, spec.exists(), vendor.prepared) == ({}, False, {})


async def test_a_half_prepared_claim_that_is_gone_is_in_nobodys_way(
    dra_client: Client, dra_namespace: str, tmp_path: Path
) -> None:
    vendor = WidgetVendor()
    found = await bench(dra_client, tmp_path, vendor)
    half = await create_claim(dra_client, dra_namespace, "half", [Result("widget-0")])
    vendor.error = ClaimError("not today")
    await found.prepare(half)
    vendor.error = None
    await deallocate(dra_client, half)
    heir = await create_claim(dra_client, dra_namespace, "heir", [Result("widget-0")])
    assert isinstance(await found.prepare(heir), ClaimRecord)
    assert vendor.calls[-2:] == [("release", half.uid), ("prepare", heir.uid)]
    await allocate(dra_client, half, [Result("widget-0")])
    assert isinstance(await found.prepare(half), ClaimError)


class Crash(BaseException):
    """The process is gone, as far as the preparer can tell."""


class Cluster:
    """Claims as an API server has them."""

    def __init__(self) -> None:
        self.claims: dict[str, ResourceClaim] = {}

    async def read(self, claim: ClaimReference) -> ResourceClaim | None:
        return self.claims.get(claim.name)

    async def is_ours(self, claim: ClaimReference, driver: str, pool: str) -> bool:
        found = self.claims.get(claim.name)
        return found is not None and found.metadata.uid == claim.uid and found.status.allocation is not None

    async def allocated_from(self, driver: str, pool: str) -> list[ResourceClaim]:
        return [c for c in self.claims.values() if c.status.allocation is not None]

    def put(self, name: str, uid: str, device: str) -> None:
        allocation = {"devices": {"results": [Result(device).wire()]}}
        wire = {"metadata": {"name": name, "namespace": "team", "uid": uid}, "status": {"allocation": allocation}}
        self.claims[name] = msgspec.convert(wire, ResourceClaim)


CLAIMS = st.sampled_from([f"claim-{n}" for n in range(3)])
DEVICES = st.sampled_from(["widget-0", "widget-0-a", "widget-0-b", "widget-1"])


class Histories(RuleBasedStateMachine):
    """Claims are made, allocated anew (to devices that are taken, too), prepared and given back; the process dies at
    any of its writes and starts again. `given` is what the kubelet was told and has not given back: what pods use."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.cluster = Cluster()
        self.vendor = WidgetVendor(widgets(2, halves=True))
        self.vendor.preparation = Preparation(edits=ContainerEdits(env=("A=1",)))
        self.given: dict[str, str] = {}
        self.serial = 0
        self.loop = asyncio.new_event_loop()
        self.start()

    def start(self) -> None:
        self.bench = Bench(self.root, self.cluster, self.vendor)
        self.loop.run_until_complete(self.bench.start())

    def teardown(self) -> None:
        self.loop.run_until_complete(self.bench.preparer.close())
        self.loop.close()
        self.folder.cleanup()

    def uid(self, name: str) -> str:
        found = self.cluster.claims.get(name)
        return found.metadata.uid if found else "00000000-none"

    def device(self, name: str) -> str:
        allocation = self.cluster.claims[name].status.allocation
        assert allocation is not None and allocation.devices is not None
        return allocation.devices.results[0].device

    @rule(name=CLAIMS, device=DEVICES)
    def make(self, name: str, device: str) -> None:
        if self.uid(name) in self.given:
            return  # a claim in use is not deleted
        self.serial += 1
        self.cluster.put(name, f"{self.serial:08d}-uid", device)

    @rule(name=CLAIMS, device=DEVICES)
    def reallocate(self, name: str, device: str) -> None:
        if name in self.cluster.claims and self.uid(name) not in self.given:
            self.cluster.put(name, self.uid(name), device)

    @rule(name=CLAIMS)
    def prepare(self, name: str) -> None:
        reference = ClaimReference("team", name, self.uid(name))
        outcome = self.loop.run_until_complete(self.bench.prepare(reference))
        if isinstance(outcome, ClaimRecord):
            assert [d.name for d in outcome.devices] == [self.device(name)]
            assert self.given.get(reference.uid, self.device(name)) == self.device(name)
            self.given[reference.uid] = self.device(name)
            for held in outcome.devices:
                assert len(held.cdi_ids) == 2
        else:
            assert reference.uid not in self.given, f"an answer once given is given again, not {outcome}"

    @rule(name=CLAIMS)
    def unprepare(self, name: str) -> None:
        reference = ClaimReference("team", name, self.uid(name))
        assert self.loop.run_until_complete(self.bench.preparer.unprepare([reference])) == {reference.uid: None}
        self.given.pop(reference.uid, None)

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.bench.preparer.close())
        self.start()

    @rule(name=CLAIMS, device=DEVICES, at=st.integers(1, 24), giving_back=st.booleans(), asks_again=st.booleans())
    def crash(self, name: str, device: str, at: int, giving_back: bool, asks_again: bool) -> None:
        if name not in self.cluster.claims:
            self.make(name, device)
        reference = ClaimReference("team", name, self.uid(name))
        call = self.bench.preparer.unprepare if giving_back else self.bench.preparer.prepare
        if giving_back:
            self.given.pop(reference.uid, None)  # its pod has ended
        with dying(at), suppress(Crash, RuntimeError):
            self.loop.run_until_complete(call([reference]))
        self.loop.run_until_complete(self.bench.preparer.close())
        self.start()
        if asks_again:
            self.prepare(name)

    @invariant()
    def nobody_overlaps(self) -> None:
        cores: dict[str, int] = {}
        for device in self.given.values():
            for card, counters in (self.vendor.inventory.find(device) or widgets().devices[0]).consumes.items():
                cores[card] = cores.get(card, 0) + int(counters["cores"])
        assert all(used <= 8 for used in cores.values()), self.given

    @invariant()
    def what_is_given_is_prepared(self) -> None:
        for uid, device in self.given.items():
            assert self.vendor.prepared.get(uid) == (device,), (uid, self.vendor.prepared)

    @invariant()
    def every_spec_is_whole(self) -> None:
        for file in (self.root / "cdi").glob("*.json"):
            read_spec(file)


@contextmanager
def dying(at: int) -> Iterator[None]:
    """The `at`-th change of the disk and all after it fail as if the process were gone."""
    left = at
    lock = threading.Lock()
    names = ("replace", "link", "unlink", "fsync", "write")
    real = {name: getattr(os, name) for name in names}

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            with lock:
                left -= 1
                if left <= 0:
                    raise Crash
            return function(*args, **kwargs)

        return wrapped

    for name in names:
        setattr(os, name, wrap(real[name]))
    try:
        yield
    finally:
        for name in names:
            setattr(os, name, real[name])


Histories.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
