"""The whole driver against a real API server, with a kubelet's calls over its sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from devices.driver.driver_rig import (
    DRIVER,
    Result,
    WidgetVendor,
    allocate,
    config,
    create_claim,
    deallocate,
    get_claim,
    kubelet_of,
    widgets,
)
from fairlead.devices.cdi import SpecCache
from fairlead.devices.cdi.spec import ContainerEdits, Hook
from fairlead.devices.driver.node_driver import DriverOptions, DriverSpec
from fairlead.devices.driver.run import run
from fairlead.devices.driver.watch import WatchSettings
from fairlead.devices.errors import ServeError, TwoDrivers
from fairlead.devices.health import unhealthy
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import DeviceReport, NetworkData, Preparation
from fairlead.kube import Client
from fairlead.kube.kinds import EVENTS, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.kubelet import DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1
from fairlead.kube.kubelet.messages import HEALTHY, UNHEALTHY
from fairlead.kube.objects import Node, ObjectMeta
from patience import PATIENCE_S


class Running:
    """One driver process, as a task: what it serves and where."""

    def __init__(self, client: Client, root: Path, node: str, vendor: WidgetVendor, options: DriverOptions) -> None:
        self.root = root
        self.node = node
        self.vendor = vendor
        self.cdi = root / "cdi"
        part = f"-{options.instance_id}" if options.instance_id else ""
        self.registration = root / "plugins_registry" / f"{DRIVER}{part}-reg.sock"
        self.folder = root / "plugins" / DRIVER
        spec = DriverSpec(vendor, node, root, self.cdi)
        self._ready = asyncio.Event()
        self.task = asyncio.ensure_future(run(client, [spec], options, on_ready=self._ready.set))

    async def ready(self) -> None:
        waiter = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait((waiter, self.task), timeout=30, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if self.task.done():
            await self.task
        assert self._ready.is_set()

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


FAST = WatchSettings(probe_period_s=0.2, health_period_s=0.05)


@asynccontextmanager
async def running(
    client: Client, root: Path, *, vendor: WidgetVendor | None = None, node: str = "", **options: Any
) -> AsyncIterator[Running]:
    driver = Running(
        client,
        root,
        node or f"node-{uuid.uuid4().hex[:8]}",
        vendor or WidgetVendor(),
        DriverOptions(watch=FAST, **options),
    )
    try:
        await driver.ready()
        yield driver
    finally:
        await driver.stop()


@pytest.fixture
async def node(dra_client: Client) -> str:
    name = f"node-{uuid.uuid4().hex[:8]}"
    await dra_client.create(NODES, Node(metadata=ObjectMeta(name=name)))
    return name


async def eventually(what: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = what()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


async def test_a_kubelet_registers_prepares_and_unprepares(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        info = await kubelet.info()
        assert (info.type, info.name) == ("DRAPlugin", DRIVER)
        assert list(info.supported_versions) == [
            "v1.DRAPlugin", "v1beta1.DRAPlugin", "v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth",
        ]  # fmt: skip
        claim = await create_claim(dra_client, dra_namespace, "one", [Result("widget-1", "gpu/big", pool=node)])
        answer = (await kubelet.prepare(claim))[claim.uid]
        assert answer.error == ""
        (device,) = answer.devices
        assert (device.pool_name, device.device_name, list(device.request_names)) == (node, "widget-1", ["gpu"])
        assert list(device.cdi_device_ids) == ["example.com/widget=widget-1"]
        assert not device.HasField("share_id")
        edits = SpecCache([driver.cdi]).resolve(list(device.cdi_device_ids))
        assert "WIDGET_WIDGET_1=1" in edits.env
        labels = {"driver": DRIVER, "node": node, "phase": "prepared"}
        assert REGISTRY.get_sample_value("fairlead_dra_prepared_claims", labels) == 1
        assert (await kubelet.unprepare(claim))[claim.uid].error == ""
        assert REGISTRY.get_sample_value("fairlead_dra_prepared_claims", labels) == 0
        assert driver.vendor.prepared == {}
        assert (await kubelet.unprepare(claim))[claim.uid].error == "", "twice is as good as once"
    assert not driver.registration.exists()
    assert not (driver.folder / "dra.sock").exists()


async def test_the_pool_is_published_and_stays_when_the_driver_ends(
    dra_client: Client, short_path: Path, node: str
) -> None:
    async def slices() -> list[Any]:
        found = await dra_client.list(RESOURCE_SLICES)
        return [s for s in found.items if s.spec.node_name == node]

    async with running(dra_client, short_path, node=node):
        await eventually(slices)
    assert {d.name for s in await slices() for d in s.spec.devices} == {f"widget-{n}" for n in range(4)} | {"hub-0"}
    async with running(dra_client, short_path, node=node, withdraw_on_exit=True):
        pass
    assert await slices() == []


async def test_a_claims_errors_do_not_touch_the_others(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        good = await create_claim(dra_client, dra_namespace, "good", [Result("widget-0", pool=node)])
        unallocated = await create_claim(dra_client, dra_namespace, "unallocated", [])
        foreign = await create_claim(dra_client, dra_namespace, "foreign", [Result("gpu-0", driver="gpu.other.com")])
        gone = await create_claim(dra_client, dra_namespace, "gone", [Result("widget-9", pool=node)])
        elsewhere = await create_claim(dra_client, dra_namespace, "elsewhere", [Result("widget-2", pool="node-z")])
        bad = await create_claim(
            dra_client, dra_namespace, "bad", [Result("widget-3", pool=node)],
            configs=[config(DRIVER, {"mode": "sideways"}, source="FromClaim")],
        )  # fmt: skip
        former = type(good)(good.namespace, good.name, "00000000-0000-0000-0000-000000000000")
        unknown = type(good)(dra_namespace, "never-made", "11111111-0000-0000-0000-000000000000")
        answers = await kubelet.prepare(good, unallocated, foreign, gone, elsewhere, bad, former, unknown)
        assert len(answers) == 8
        assert answers[good.uid].error == ""
        assert "not allocated" in answers[unallocated.uid].error
        assert "gpu.other.com" in answers[foreign.uid].error
        assert '"widget-9"' in answers[gone.uid].error and "vanished" in answers[gone.uid].error
        assert '"node-z"' in answers[elsewhere.uid].error
        assert '"sideways"' in answers[bad.uid].error
        assert "made again" in answers[former.uid].error
        assert "not there any more" in answers[unknown.uid].error
        assert all(not answer.devices for uid, answer in answers.items() if uid != good.uid)


async def test_configuration_reaches_the_vendor_classes_first(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    configs = [
        config(DRIVER, {"mode": "slow", "n": 1}, requests=["main"], source="FromClass"),
        config(DRIVER, {"n": 2}, requests=["other"], source="FromClaim"),
        config("gpu.other.com", {"n": 3}, source="FromClaim"),
        config(DRIVER, {"n": 4}, source="FromClaim"),
    ]
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        results = [Result("widget-0", pool=node), Result("widget-1", "other", pool=node)]
        claim = await create_claim(dra_client, dra_namespace, "configured", results, configs=configs)
        assert (await kubelet.prepare(claim))[claim.uid].error == ""
    first, second = driver.vendor.configs
    assert [c["n"] for c in first] == [1, 4]
    assert [c["n"] for c in second] == [2, 4]


async def test_the_older_service_has_no_share_ids(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    share = "5b7e7a3e-1c1e-4a4e-9c1e-000000000001"
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        result = Result("hub-0", pool=node, share_id=share, consumed={"lanes": "1"})
        claim = await create_claim(dra_client, dra_namespace, "share", [result])
        newer = (await kubelet.prepare(claim))[claim.uid]
        older = (await kubelet.prepare(claim, service=DRA_V1BETA1))[claim.uid]
    assert newer.devices[0].share_id == share
    assert older.devices[0].device_name == "hub-0"
    assert driver.vendor.calls == [("prepare", claim.uid)], "the second answer comes from the record"


async def test_edits_of_a_claim_become_a_spec_of_its_own(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    vendor = WidgetVendor()
    vendor.preparation = Preparation(
        edits=ContainerEdits(env=("ALL=0,1",), hooks=(Hook("createContainer", "/bin/true"),)),
        device_edits={"widget-0": ContainerEdits(env=("SHARE=half",))},
    )
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):
        results = [Result("widget-0", pool=node), Result("widget-1", pool=node)]
        claim = await create_claim(dra_client, dra_namespace, "edited", results)
        answer = (await kubelet.prepare(claim))[claim.uid]
        assert [list(d.cdi_device_ids) for d in answer.devices] == [
            [f"example.com/widget={name}", f"{DRIVER}/claim={claim.uid}-{name}"] for name in ("widget-0", "widget-1")
        ]
        edits = SpecCache([driver.cdi]).resolve([i for d in answer.devices for i in d.cdi_device_ids])
        assert {"ALL=0,1", "SHARE=half", "WIDGET_WIDGET_1=1"} <= set(edits.env)
        assert len(edits.hooks) == 1
        spec = driver.cdi / f"{DRIVER}-claim_{claim.uid}.json"
        assert spec.exists()
        spec.unlink()
        assert (await kubelet.prepare(claim))[claim.uid].error == ""
        assert spec.exists(), "what someone removed is written again before it is promised"
        await kubelet.unprepare(claim)
        assert not spec.exists()


async def test_specs_that_someone_removes_come_back_unasked(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.devices.driver.node_driver._FILES_PERIOD_S", 0.05)
    vendor = WidgetVendor()
    vendor.preparation = Preparation(edits=ContainerEdits(env=("A=1",)))
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):
        claim = await create_claim(dra_client, dra_namespace, "lasting", [Result("widget-0", pool=node)])
        ids = (await kubelet.prepare(claim))[claim.uid].devices[0].cdi_device_ids
        written = {path: path.read_bytes() for path in driver.cdi.iterdir()}
        assert len(written) == 2
        for path in written:
            path.unlink()
        await eventually(lambda: all(path.exists() for path in written))
        assert {path: path.read_bytes() for path in driver.cdi.iterdir()} == written
        assert (await kubelet.prepare(claim))[claim.uid].devices[0].cdi_device_ids == ids
        assert (await kubelet.unprepare(claim))[claim.uid].error == ""
        assert len(list(driver.cdi.iterdir())) == 1


async def test_reports_reach_the_claims_status(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    vendor = WidgetVendor()
    network = NetworkData("eth7", "02:00:00:00:00:01", ("10.0.0.7/24",))
    vendor.preparation = Preparation(reports={"widget-0": DeviceReport(network=network, data={"vf": 3})})
    other = {"driver": "gpu.other.com", "pool": "p", "device": "gpu-0", "data": {"kept": True}}
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):
        results = [Result("widget-0", pool=node), Result("gpu-0", "gpu", driver="gpu.other.com", pool="p")]
        claim = await create_claim(dra_client, dra_namespace, "told", results)
        body = {"status": {"devices": [other]}}
        await dra_client.patch(RESOURCE_CLAIMS, claim.name, body, claim.namespace, subresource="status")
        assert (await kubelet.prepare(claim))[claim.uid].error == ""

        async def told() -> Any:
            devices = {d.device: d for d in (await get_claim(dra_client, claim)).status.devices}
            return devices if "widget-0" in devices else None

        devices = await eventually(told)
        assert devices["gpu-0"].data == {"kept": True}
        mine = devices["widget-0"]
        assert mine.network_data is not None
        assert (mine.network_data.interface_name, list(mine.network_data.ips)) == ("eth7", ["10.0.0.7/24"])
        assert mine.data == {"vf": 3}
        assert [(c.type, c.status, c.reason) for c in mine.conditions] == [("Ready", "True", "Prepared")]
        await deallocate(dra_client, claim)
        assert not (await get_claim(dra_client, claim)).status.devices


async def test_a_reallocated_claim_gives_back_what_it_had(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        claim = await create_claim(dra_client, dra_namespace, "moved", [Result("widget-0", pool=node)])
        await kubelet.prepare(claim)
        await deallocate(dra_client, claim)
        await allocate(dra_client, claim, [Result("widget-2", pool=node)])
        answer = (await kubelet.prepare(claim))[claim.uid]
        assert [d.device_name for d in answer.devices] == ["widget-2"]
        assert driver.vendor.calls == [(what, claim.uid) for what in ("prepare", "release", "prepare")]
        heir = await create_claim(dra_client, dra_namespace, "heir", [Result("widget-0", pool=node)])
        assert (await kubelet.prepare(heir))[heir.uid].error == ""


async def test_a_device_is_never_given_to_two_claims(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        first = await create_claim(dra_client, dra_namespace, "first", [Result("widget-0", pool=node)])
        second = await create_claim(dra_client, dra_namespace, "second", [Result("widget-0", pool=node)])
        answers = await kubelet.prepare(first, second)
        assert answers[first.uid].error == ""
        assert f"{dra_namespace}/first" in answers[second.uid].error
        admin = await create_claim(dra_client, dra_namespace, "admin", [Result("widget-0", pool=node, admin=True)])
        assert (await kubelet.prepare(admin))[admin.uid].error == ""
        await kubelet.unprepare(first)
        assert (await kubelet.prepare(second))[second.uid].error == ""
    assert driver.vendor.prepared.keys() == {admin.uid, second.uid}


async def test_a_call_whose_kubelet_went_away_is_finished_and_answered_later(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    vendor = WidgetVendor()
    vendor.gate = threading.Event()
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):
        claim = await create_claim(dra_client, dra_namespace, "interrupted", [Result("widget-0", pool=node)])
        call = asyncio.ensure_future(kubelet.prepare(claim))
        await asyncio.to_thread(vendor.begun.wait, 10)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        with pytest.raises(grpc.aio.AioRpcError):
            await kubelet.prepare(claim, timeout=0.2)
        vendor.gate.set()
        assert (await kubelet.prepare(claim))[claim.uid].error == ""
        assert vendor.calls == [("prepare", claim.uid)]


async def test_ending_waits_for_the_calls_in_progress(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    vendor = WidgetVendor()
    vendor.gate = threading.Event()
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):
        claim = await create_claim(dra_client, dra_namespace, "late", [Result("widget-0", pool=node)])
        call = asyncio.ensure_future(kubelet.prepare(claim))
        await asyncio.to_thread(vendor.begun.wait, 10)
        stopping = asyncio.ensure_future(driver.stop())
        await eventually(lambda: not driver.registration.exists())
        vendor.gate.set()
        assert (await call)[claim.uid].error == ""
        await stopping
    assert claim.uid in (driver.folder / "checkpoint.json").read_text()


async def test_health_is_told_in_full_first_and_with_each_change(
    dra_client: Client, short_path: Path, node: str
) -> None:
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        streams = [kubelet.health(service) for service in (HEALTH_V1, HEALTH_V1ALPHA1)]
        for stream in streams:
            first = await asyncio.wait_for(stream.read(), PATIENCE_S)
            assert {d.device.device_name for d in first.devices} == {d.name for d in driver.vendor.inventory.devices}
            assert all(d.device.pool_name == node and d.health_check_timeout_seconds == 30 for d in first.devices)
            assert all(d.health == HEALTHY for d in first.devices)
        driver.vendor.states["widget-1"] = unhealthy("XidError", "XID 79: it fell off the bus")
        for stream in streams:
            change = await asyncio.wait_for(stream.read(), PATIENCE_S)
            sick = {d.device.device_name: d for d in change.devices if d.health == UNHEALTHY}
            assert sick.keys() == {"widget-1"}
            assert sick["widget-1"].message == "XidError: XID 79: it fell off the bus"
            stream.cancel()


async def test_a_refusal_of_the_kubelet_is_an_event_on_the_node(
    dra_client: Client, short_path: Path, node: str
) -> None:
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        await kubelet.notify(registered=False, error="endpoint already registered")

        async def told() -> Any:
            events = (await dra_client.list(EVENTS, "default")).items
            return [e for e in events if e.involved_object.name == node and e.reason == "DriverRefused"]

        (event,) = await eventually(told)
        assert "endpoint already registered" in event.message
        await kubelet.notify(registered=True)


async def test_two_drivers_for_one_name(dra_client: Client, short_path: Path, node: str) -> None:
    async with running(dra_client, short_path, node=node):
        second = Running(dra_client, short_path, node, WidgetVendor(), DriverOptions(watch=FAST))
        with pytest.raises(TwoDrivers, match=f"process {os.getpid()} serves driver") as raised:
            await second.ready()
        assert raised.value.pid == os.getpid()


async def test_a_foreign_listener_on_the_socket_is_not_pushed_aside(
    dra_client: Client, short_path: Path, node: str
) -> None:
    folder = short_path / "plugins" / DRIVER
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(folder / "dra.sock"))
        foreign.listen()
        with pytest.raises(TwoDrivers):
            await Running(dra_client, short_path, node, WidgetVendor(), DriverOptions(watch=FAST)).ready()
        assert (folder / "dra.sock").is_socket()
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        assert (await kubelet.info()).name == DRIVER, "a socket that nobody listens on is replaced"


async def test_removed_sockets_come_back(
    dra_client: Client, short_path: Path, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead.devices.driver.node_driver._SOCKETS_PERIOD_S", 0.05)
    async with running(dra_client, short_path, node=node) as driver:
        (driver.folder / "dra.sock").unlink()
        driver.registration.unlink()
        await eventually(lambda: driver.registration.exists())
        async with kubelet_of(driver.registration) as kubelet:
            assert (await kubelet.info()).name == DRIVER


async def test_two_instances_side_by_side_share_what_is_prepared(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    old_vendor, new_vendor = WidgetVendor(), WidgetVendor()
    claim = await create_claim(dra_client, dra_namespace, "handed-over", [Result("widget-0", pool=node)])
    rival = await create_claim(dra_client, dra_namespace, "rival", [Result("widget-0", pool=node)])
    async with running(dra_client, short_path, vendor=new_vendor, node=node, instance_id="new") as new:
        async with running(dra_client, short_path, vendor=old_vendor, node=node, instance_id="old") as old:
            assert old.registration != new.registration
            async with kubelet_of(old.registration) as kubelet:
                assert (await kubelet.prepare(claim))[claim.uid].error == ""
            async with kubelet_of(new.registration) as kubelet:
                assert "handed-over" in (await kubelet.prepare(rival))[rival.uid].error
        async with kubelet_of(new.registration) as kubelet:
            assert (await kubelet.prepare(claim))[claim.uid].error == ""
            assert new_vendor.calls == []
            assert (await kubelet.unprepare(claim))[claim.uid].error == ""
            assert (await kubelet.prepare(rival))[rival.uid].error == ""
    assert new_vendor.calls == [("release", claim.uid), ("prepare", rival.uid)]


async def test_a_restart_remembers_and_tells_the_vendor(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    claim = await create_claim(dra_client, dra_namespace, "kept", [Result("widget-0", pool=node)])
    async with running(dra_client, short_path, node=node) as driver, kubelet_of(driver.registration) as kubelet:
        await kubelet.prepare(claim)
    orphan = driver.cdi / f"{DRIVER}-claim_22222222-0000-0000-0000-000000000000.json"
    orphan.write_text(json.dumps({"cdiVersion": "0.3.0", "kind": f"{DRIVER}/claim", "devices": []}))
    half_written = driver.cdi / f".{orphan.name}.0123456789abcdef.tmp"
    of_another = driver.cdi / ".gpu.other.com-claim_2.json.0123456789abcdef.tmp"
    for file in (half_written, of_another):
        file.write_text("{")
    vendor = WidgetVendor()
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):
        assert vendor.former == {claim.uid: ("widget-0",)}
        assert not orphan.exists()
        assert (half_written.exists(), of_another.exists()) == (False, True)
        assert (await kubelet.prepare(claim))[claim.uid].devices[0].device_name == "widget-0"
        assert vendor.calls == []
        assert (await kubelet.unprepare(claim))[claim.uid].error == ""
        assert vendor.calls == [("release", claim.uid)]


async def test_a_device_that_vanished_while_no_driver_ran_is_told_of(
    dra_client: Client, dra_namespace: str, short_path: Path, node: str
) -> None:
    claim = await create_claim(dra_client, dra_namespace, "bereft", [Result("widget-0-a", pool=node)])
    vendor = WidgetVendor(widgets(halves=True))
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):
        assert (await kubelet.prepare(claim))[claim.uid].error == ""
    left = [d for d in widgets(halves=True).devices if not d.name.startswith("widget-0")]
    vendor = WidgetVendor(Inventory(tuple(left), widgets(halves=True).counters))
    async with (
        running(dra_client, short_path, vendor=vendor, node=node) as driver,
        kubelet_of(driver.registration) as kubelet,
    ):

        async def published() -> dict[str, list[tuple[str, str]]] | None:
            found = (await dra_client.list(RESOURCE_SLICES, field_selector=f"spec.nodeName={node}")).items
            taints = {d.name: [(t.key, t.effect) for t in d.taints] for s in found for d in s.spec.devices}
            return taints if "widget-0" not in taints else None

        taints = await eventually(published)
        assert taints["widget-0-a"] == [(f"{DRIVER}/vanished", "NoExecute")]
        assert "widget-0-b" not in taints
        assert (await kubelet.unprepare(claim))[claim.uid].error == ""

        async def is_gone() -> bool:
            return set(await published() or ()) == {d.name for d in left}

        await eventually(is_gone)


async def test_a_path_too_long_for_a_socket_is_refused_with_its_length(dra_client: Client, tmp_path: Path) -> None:
    root = tmp_path / ("x" * 100)
    with pytest.raises(ServeError, match="at most 107"):
        await Running(dra_client, root, "node-a", WidgetVendor(), DriverOptions()).ready()


async def test_publish_only_opens_nothing(dra_client: Client, short_path: Path, node: str) -> None:
    async with running(dra_client, short_path, node=node, publish_only=True):
        assert os.listdir(short_path) == []


async def test_an_empty_node_has_no_spec(dra_client: Client, short_path: Path, node: str) -> None:
    vendor = WidgetVendor(Inventory((Device("widget-0"),)))
    async with running(dra_client, short_path, vendor=vendor, node=node) as driver:
        assert (driver.cdi / "example.com-widget.json").exists()
        vendor.inventory = Inventory()
        await eventually(lambda: not (driver.cdi / "example.com-widget.json").exists())
