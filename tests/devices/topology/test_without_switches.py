"""Clusters of which no network is known, or only that of some nodes: a laptop's, a kind cluster's."""

from __future__ import annotations

from fairlead.devices.topology.label_values import FABRIC_TIER
from fairlead.devices.topology.model import EMPTY, Switch
from fairlead.devices.topology.picture import nodes_of, picture
from fairlead.devices.topology.providers.cloud import add_chain
from fairlead.devices.topology.providers.labels import topology_from_labels
from fairlead.devices.topology.snapshot import ClusterSeen, see
from fairlead.devices.topology.text import tree_lines
from fairlead.kube.objects import Node, ObjectMeta

TIERS = {f"{FABRIC_TIER}0": "leaf", f"{FABRIC_TIER}1": "spine"}


def _seen(*names: str) -> ClusterSeen:
    return see([Node(metadata=ObjectMeta(name=name)) for name in names])


def test_nodes_without_labels_are_drawn_alone() -> None:
    topology = topology_from_labels({"a": {}, "b": {}})
    assert not topology.switches and set(topology.places) == {"a", "b"}
    drawn = picture(topology, _seen("a", "b"))
    assert [part.title for part in drawn.parts] == ["a", "b"]
    assert len(tree_lines(drawn)) == 3
    assert [part.title for part in picture(EMPTY, _seen("a")).parts] == ["a"]


def test_a_node_without_labels_stands_beside_the_switches_of_others() -> None:
    drawn = picture(topology_from_labels({"a": TIERS, "b": {}}), _seen("a", "b"))
    assert [(part.kind, part.title) for part in drawn.parts] == [("switch", "spine"), ("node", "b")]
    assert [part.title for part in nodes_of(drawn)] == ["a", "b"]


def test_an_instance_that_tells_no_tiers_adds_no_switches() -> None:
    switches: dict[str, Switch] = {}
    add_chain(switches, ())
    assert switches == {}
    add_chain(switches, ("leaf", "spine"))
    assert {name: switch.parent for name, switch in switches.items()} == {"leaf": "spine", "spine": ""}
