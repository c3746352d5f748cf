"""Labels, topology.conf and the graph say the same tree."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from devices.topology.topology_strategies import trees
from fairlead.devices.topology.engines.graph import graph_json
from fairlead.devices.topology.engines.labels import LabelSettings, compute_labels, compute_patch
from fairlead.devices.topology.engines.matching import expand_matches
from fairlead.devices.topology.engines.slurm import BlockName, block_conf, tree_conf
from fairlead.devices.topology.errors import Unsupported
from fairlead.devices.topology.label_values import fnv64a, is_label_key, label_value
from fairlead.devices.topology.model import Place, Switch, Topology
from fairlead.devices.topology.providers.cloud import add_chain
from fairlead.devices.topology.providers.labels import topology_from_labels
from fairlead.devices.topology.providers.slurm_conf import topology_from_slurm


@given(trees())
def test_labels_reconstruct_the_tree(topology: Topology) -> None:
    assert topology_from_labels(compute_labels(topology)) == topology


@given(trees())
def test_a_written_topology_conf_reads_back(topology: Topology) -> None:
    back = topology_from_slurm(tree_conf(topology))
    assert back.switches == topology.switches
    assert {node: back.path(node) for node in back.places} == {node: topology.path(node) for node in topology.places}


@given(trees())
def test_blocks_are_the_domains(topology: Topology) -> None:
    if not topology.domains:
        with pytest.raises(Unsupported, match="needs accelerator domains"):
            block_conf(topology)
        return
    back = topology_from_slurm(block_conf(topology))
    for place in back.places.values():
        known = topology.places[place.node]
        assert place.domain == (known.sub_domain or known.domain)
    assert set(back.places) == {place.node for place in topology.places.values() if place.domain}


@given(trees())
def test_the_graph_holds_every_path(topology: Topology) -> None:
    switches: dict[str, Switch] = {}
    for entry in json.loads(graph_json(topology))["instances"]:
        layers = entry.get("network_layers", [])
        assert tuple(layers) == topology.path(entry["id"])
        add_chain(switches, layers)
    assert dict(sorted(switches.items())) == topology.switches


@pytest.mark.parametrize(
    ("text", "value"), [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)]
)
def test_fnv_vectors(text: str, value: int) -> None:
    """From the reference code of Fowler, Noll and Vo."""
    assert fnv64a(text.encode()) == value


def test_long_and_odd_values_are_hashed() -> None:
    assert label_value("a" * 63) == "a" * 63
    assert label_value("a" * 64) == f"x{fnv64a(b'a' * 64):x}"
    assert label_value("aa:bb:cc") == f"x{fnv64a(b'aa:bb:cc'):x}"


def test_fabric_labels_stop_where_the_list_does() -> None:
    topology = Topology.of([Switch("s"), Switch("l", "s")], [Place("n", ("l",), "d", "d.r")])
    assert compute_labels(
        topology, LabelSettings(fabric_labels=("example.com/rack",), domain_label="example.com/d")
    ) == {"n": {"example.com/rack": "l", "example.com/d": "d", "accelerator.topograph.run/sub-domain": "d.r"}}
    with pytest.raises(Unsupported, match="there twice"):
        compute_labels(topology, LabelSettings(fabric_labels=("a/b", "a/b")))
    assert not is_label_key("no spaces")


def test_patches_take_away_what_was_ours_and_leave_the_rest() -> None:
    current = {
        "fabric.topograph.run/tier-0": "old",
        "fabric.topograph.run/tier-1": "gone",
        "topology.kubernetes.io/zone": "theirs",
        "topology.kubernetes.io/region": "ours",
        "app": "x",
    }
    wanted = {"fabric.topograph.run/tier-0": "new", "topology.kubernetes.io/zone": "mine"}
    assert compute_patch(current, wanted, {"topology.kubernetes.io/region"}) == {
        "fabric.topograph.run/tier-0": "new",
        "fabric.topograph.run/tier-1": None,
        "topology.kubernetes.io/region": None,
    }
    assert compute_patch({"fabric.topograph.run/tier-0": "new"}, {"fabric.topograph.run/tier-0": "new"}, ()) == {}


def test_a_domain_that_somebody_else_keeps_is_believed() -> None:
    settings = LabelSettings(domain_source="nvidia.com/gpu.clique")
    current = {"nvidia.com/gpu.clique": "c.1", "accelerator.topograph.run/domain": "d"}
    assert compute_patch(current, {"accelerator.topograph.run/domain": "d"}, (), settings) == {
        "accelerator.topograph.run/domain": None
    }


def test_block_names_come_from_node_names() -> None:
    topology = Topology.of(places=[Place(f"r{rack}n{index}", domain=f"d{rack}") for rack in (1, 2) for index in (1, 2)])
    text = block_conf(topology, naming=BlockName(r"r(\d+)n", "rack${1}"))
    assert (
        text
        == "# rack1=d1\nBlockName=rack1 Nodes=r1n[1-2]\n# rack2=d2\nBlockName=rack2 Nodes=r2n[1-2]\nBlockSizes=2,4\n"
    )
    with pytest.raises(Unsupported, match="does not match"):
        block_conf(topology, naming=BlockName("x", "y"))
    with pytest.raises(Unsupported, match="two blocks"):
        block_conf(topology, naming=BlockName("r", "same"))
    with pytest.raises(Unsupported, match="blockSizes"):
        block_conf(topology, [4, 2])


def test_an_expression_that_never_ends_is_ended() -> None:
    with pytest.raises(Unsupported, match="takes longer than"):
        expand_matches(r"(a+)+$", "x", ["a" * 40 + "b"], timeout_s=0.5)
    with pytest.raises(Unsupported, match=r"nodeNameRegexp.*unterminated"):
        expand_matches("(", "x", ["a"])
