"""Labels written to, and pictures drawn of, the nodes of a real API server."""

from __future__ import annotations

import os
import xml.etree.ElementTree as xml
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded.apiserver.server_process import ServerProcess
from fairlead.devices.topology.controller import OWNED_ANNOTATION, read_cluster, write_labels
from fairlead.devices.topology.model import Place, Switch, Topology
from fairlead.devices.topology.picture import fold_alike, picture
from fairlead.devices.topology.providers.labels import topology_from_labels
from fairlead.devices.topology.svg import svg
from fairlead.devices.topology.text import tree_lines
from fairlead.kube.client import Client
from fairlead.kube.kinds import NODES, RESOURCE_SLICES
from fairlead.kube.objects import Node, ObjectMeta, ResourceSlice
from fairlead.kube.objects.devices import Device, DeviceAttribute, DeviceTaint, ResourcePool, ResourceSliceSpec
from fairlead.kube.objects.nodes import NodeCondition, NodeStatus


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    with ServerProcess(tmp_path) as server:
        async with Client.load(server.data / "kubeconfig") as client:
            yield client


async def _node(client: Client, name: str, **labels: str) -> None:
    ready = NodeStatus(conditions=(NodeCondition(type="Ready", status="True"),))
    await client.create(NODES, Node(metadata=ObjectMeta(name=name, labels=labels), status=ready))


def _tree(**leaf_of: str) -> Topology:
    return Topology.of(
        [Switch("spine"), Switch("l1", "spine"), Switch("l2", "spine")],
        [Place(node, (leaf,), "nvl", zone="z1") for node, leaf in leaf_of.items()],
    )


async def test_labels_are_written_changed_and_taken_away(client: Client) -> None:
    await _node(client, "n1")
    await _node(client, "n2", **{"topology.kubernetes.io/zone": "theirs"})
    first = await write_labels(client, _tree(n1="l1", n2="l2", ghost="l2"))
    assert (first.changed, first.unknown) == (("n1", "n2"), ("ghost",))
    labels = (await client.get(NODES, "n1")).metadata.labels
    assert labels["fabric.topograph.run/tier-0"] == "l1"
    assert labels["fabric.topograph.run/tier-1"] == "spine"
    assert labels["accelerator.topograph.run/domain"] == "nvl"
    assert (await client.get(NODES, "n2")).metadata.labels["topology.kubernetes.io/zone"] == "theirs"

    again = await write_labels(client, _tree(n1="l1", n2="l2"))
    assert (again.changed, again.unchanged) == ((), ("n1", "n2"))

    await write_labels(client, Topology.of(places=[Place("n1"), Place("n2")]))
    node = await client.get(NODES, "n1")
    assert not any("topograph" in key or "zone" in key for key in node.metadata.labels)
    assert OWNED_ANNOTATION not in node.metadata.annotations
    assert (await client.get(NODES, "n2")).metadata.labels["topology.kubernetes.io/zone"] == "theirs"


async def test_the_cluster_is_drawn_with_its_devices(client: Client) -> None:
    for index in range(6):
        await _node(client, f"n{index}")
    devices = tuple(
        Device(
            name=f"npu{number}",
            attributes={
                "productName": DeviceAttribute(string="RNGD"),
                "pcieSwitch": DeviceAttribute(string=f"0000:{20 + number // 2}:00.0"),
                "socket": DeviceAttribute(int_=number // 2),
            },
            taints=(DeviceTaint(key="bad", effect="NoSchedule"),) if number == 3 else (),
        )
        for number in range(4)
    )
    await client.create(
        RESOURCE_SLICES,
        ResourceSlice(
            metadata=ObjectMeta(name="n0-npu"),
            spec=ResourceSliceSpec(
                driver="npu.furiosa.ai", node_name="n0", devices=devices,
                pool=ResourcePool(name="n0", generation=1, resource_slice_count=1),
            ),
        ),
    )  # fmt: skip
    await write_labels(client, _tree(**{f"n{index}": "l1" if index < 1 else "l2" for index in range(6)}))
    cluster = await read_cluster(client)
    drawn = picture(topology_from_labels(cluster.labels), cluster)
    assert (drawn.count, drawn.free, drawn.total) == (6, 3 if _taints_kept(cluster) else 4, 4)
    text = "\n".join(tree_lines(fold_alike(drawn)))
    assert "n[1-5]" in text and "socket 1" in text and "l2" in text
    document = svg(drawn)
    titles = [element.text or "" for element in xml.fromstring(document).iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("npu3") for title in titles)
    assert "http" not in document.replace("http://www.w3.org/2000/svg", "")


def _taints_kept(cluster: object) -> bool:
    return any(device.taints for listed in cluster.devices.values() for device in listed)  # type: ignore[attr-defined]


@pytest.mark.skipif(not os.environ.get("FAIRLEAD_TOPOGRAPH_REPO"), reason="FAIRLEAD_TOPOGRAPH_REPO names no checkout")
async def test_labels_of_topographs_models_are_accepted(client: Client) -> None:
    from fairlead.devices.topology.providers.simulation import topology_from_model

    model = Path(os.environ["FAIRLEAD_TOPOGRAPH_REPO"]) / "tests/models/medium.yaml"
    topology = topology_from_model(model.read_text())
    for node in topology.places:
        await _node(client, node)
    assert (await write_labels(client, topology)).changed == tuple(topology.places)
