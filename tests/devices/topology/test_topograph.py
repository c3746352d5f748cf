"""Topograph's own fixtures through our parsers, where FAIRLEAD_TOPOGRAPH_REPO names a checkout of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from fairlead.devices.topology.engines.labels import compute_labels
from fairlead.devices.topology.engines.slurm import tree_conf
from fairlead.devices.topology.model import Topology
from fairlead.devices.topology.providers import netq
from fairlead.devices.topology.providers.infiniband import topology_from_ibnetdiscover
from fairlead.devices.topology.providers.labels import topology_from_labels
from fairlead.devices.topology.providers.simulation import topology_from_model
from fairlead.devices.topology.providers.slurm_conf import topology_from_slurm
from fairlead.devices.topology.server import Request

REPO = Path(os.environ.get("FAIRLEAD_TOPOGRAPH_REPO") or "/nonexistent")
pytestmark = pytest.mark.skipif(
    not (REPO / "tests/models").is_dir(), reason="FAIRLEAD_TOPOGRAPH_REPO names no checkout"
)
MODELS = sorted((REPO / "tests/models").glob("*.yaml"))


def _paths(topology: Topology) -> dict[str, tuple[str, ...]]:
    return {node: path for node in topology.places if (path := topology.path(node))}


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_models_survive_labels_and_topology_conf(model: Path) -> None:
    topology = topology_from_model(model.read_text())
    assert topology.places
    assert _paths(topology_from_labels(compute_labels(topology))) == _paths(topology)
    assert _paths(topology_from_slurm(tree_conf(topology))) == _paths(topology)


def test_a_real_fabric_of_four_rails() -> None:
    text = (REPO / "tests/output/ibnetdiscover/example.out").read_text()
    folded = topology_from_ibnetdiscover(text, ["a05-p1-dgx-01-c03", "a06-p1-dgx-02-c01", "b05-p1-dgx-05-c01"])
    # The same leaves and spine that Topograph's own test expects for these nodes.
    assert _paths(folded.topology) == {
        "a05-p1-dgx-01-c03": ("S-2c5eab0300b879c0", "S-2c5eab0300c25f00"),
        "a06-p1-dgx-02-c01": ("S-2c5eab0300b87a80", "S-2c5eab0300c25f00"),
        "b05-p1-dgx-05-c01": ("S-2c5eab0300c26040", "S-2c5eab0300c25f00"),
    }


def test_adapters_without_switches_give_nodes_without_places() -> None:
    text = (REPO / "tests/output/ibnetdiscover/example-bad.out").read_text()
    folded = topology_from_ibnetdiscover(text, ["dgx-gb200-n01-c1"])
    assert (folded.topology.switches, tree_conf(folded.topology)) == ({}, "")


def test_netq_and_nmx() -> None:
    folded = netq.topology_from_json((REPO / "tests/output/netq/topologyGraph.json").read_bytes())
    assert folded.topology.path("dgx-01") == ("node0", "node3")
    domains = netq.topology_from_json((REPO / "tests/output/netq/computeNodes.json").read_bytes()).topology.domains
    assert list(domains.values()) == [("node1", "node2")]


@pytest.mark.parametrize("payload", sorted((REPO / "tests").glob("*/*.json")), ids=lambda path: path.stem)
def test_request_payloads_are_read(payload: Path) -> None:
    document = json.loads(payload.read_text())
    if "provider" not in document:
        pytest.skip("no request")
    request = msgspec.json.decode(payload.read_bytes(), type=Request)
    assert request.provider is not None and request.provider.name
