"""Every device of every built-in fleet is taken by a real API server as it is, and its failures reach the vendor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from embedded.apiserver.server_process import ServerProcess
from fairlead.clock import SYSTEM, format_micro_time
from fairlead.devices.slices.convert import inventory_of
from fairlead.devices.slices.hub import SlicePublisherHub
from fairlead.devices.vendors.simulated.controller import FailureWatch
from fairlead.devices.vendors.simulated.failures import ANNOTATION, Failure, format_failures
from fairlead.devices.vendors.simulated.fleet import builtin_fleets, parse_fleet
from fairlead.devices.vendors.simulated.vendor import SimulatedVendor, create_fleet
from fairlead.kube.client import Client
from fairlead.kube.kinds import DEVICE_CLASSES, NODES, RESOURCE_SLICES
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("simulated-published")

DIVIDED = """
nodes:
  - {name: div-h100, devices: [{model: h100-sxm-80gb, count: 2, mig: true}]}
  - {name: div-a100, devices: [{model: a100-sxm-80gb, count: 2, mig: true}]}
  - {name: div-l4, devices: [{model: l4, shares: 4}]}
  - {name: div-h200, devices: [{model: h200-sxm-141gb, shares: memory}]}
  - {name: div-b200, devices: [{model: b200-sxm-180gb, shares: unlimited, mig: true}]}
  - {name: div-rngd, devices: [{model: rngd-max, count: 2, partitions: false}]}
  - {name: div-tpu, devices: [{model: tpu-v5e, count: 8, partitions: true}]}
  - {name: div-tpu3, devices: [{model: tpu-v5p, count: 4}]}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with ServerProcess(tmp_path_factory.mktemp("simulated")) as running:
        yield running.data / "kubeconfig"


@pytest.fixture
async def client(server: Path) -> AsyncIterator[Client]:
    async with Client.load(server) as made:
        yield made


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await SYSTEM.sleep(0.02)


async def publish(client: Client, vendors: tuple[SimulatedVendor, ...]) -> None:
    for node in {vendor.node for vendor in vendors}:
        await client.create(NODES.as_unstructured(), {"metadata": {"name": node}})
    hub = SlicePublisherHub(client)
    publishers = [(hub.add(vendor.driver, vendor.node), vendor) for vendor in vendors]
    running = asyncio.create_task(hub.run())
    try:
        for publisher, vendor in publishers:
            await publisher.publish(vendor.probe(), timeout_s=30.0)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("name", [*builtin_fleets(), "divided"])
async def test_every_device_is_published_whole(client: Client, name: str) -> None:
    vendors = tuple(create_fleet(parse_fleet(DIVIDED, name) if name == "divided" else name))
    mine = {vendor.node for vendor in vendors}
    for node in (await client.list(NODES)).items:
        # Built-in fleets share node names.
        if node.metadata.name in mine:
            await client.delete(NODES, node.metadata.name)
    await publish(client, vendors)
    slices = [s for s in (await client.list(RESOURCE_SLICES)).items if s.spec.node_name in mine]
    for vendor in vendors:
        specs = [s.spec for s in slices if (s.spec.driver, s.spec.node_name) == (vendor.driver, vendor.node)]
        published, probed = inventory_of(specs), vendor.probe()
        assert {device.name for device in published.devices} == {device.name for device in probed.devices}
        wanted = {device.name: dict(device.attributes) for device in probed.devices}
        assert {device.name: dict(device.attributes) for device in published.devices} == wanted
        assert set(published.counters) == set(probed.counters)
        assert all(vendor.cdi_kind.count("/") == 1 for vendor in vendors)


async def test_classes_of_all_vendors_are_taken(client: Client) -> None:
    classes = {each["metadata"]["name"]: each for vendor in create_fleet("mixed") for each in vendor.device_classes()}
    assert set(classes) >= {"gpu.nvidia.com", "mig.nvidia.com", "npu.furiosa.ai", "gpu.amd.com", "tpu.google.com"}
    for each in classes.values():
        await client.apply(DEVICE_CLASSES.as_unstructured(), dict(each), force=True)


async def test_an_annotation_reaches_the_vendor_and_flapping_goes_on_by_itself(client: Client) -> None:
    fleet = parse_fleet("nodes: [{name: watched, devices: [{model: mi300x, count: 2}]}]", "f")
    (vendor,) = create_fleet(fleet)
    looks: list[bool] = []
    vendor.on_change(lambda: looks.append(vendor.health()["gpu-1-128"].state == "unhealthy"))
    await client.create(NODES.as_unstructured(), {"metadata": {"name": "watched"}})
    watching = asyncio.create_task(FailureWatch(client, [vendor]).run())
    try:
        flap = Failure("flap", format_micro_time(SYSTEM.wall_s()), period_seconds=0.2)
        ordered = {"metadata": {"annotations": {ANNOTATION: format_failures({"gpu.amd.com/gpu-1-128": flap})}}}
        await client.patch(NODES, "watched", ordered)
        await until(lambda: looks.count(True) >= 2 and looks.count(False) >= 2)
        await client.patch(NODES, "watched", {"metadata": {"annotations": {ANNOTATION: None}}})
        await until(lambda: vendor.changes_at_s() is None)
        assert not looks[-1]
        vanish = Failure("vanish", format_micro_time(SYSTEM.wall_s()))
        ordered = {"metadata": {"annotations": {ANNOTATION: format_failures({"gpu-2-129": vanish})}}}
        await client.patch(NODES, "watched", ordered)
        await until(lambda: len(vendor.probe().devices) == 1)
        await client.delete(NODES, "watched")
        await until(lambda: len(vendor.probe().devices) == 2)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
