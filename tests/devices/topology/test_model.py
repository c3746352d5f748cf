"""A topology keeps its rules, and says which are broken."""

from __future__ import annotations

import pytest
from hypothesis import given

from devices.topology.topology_strategies import trees
from fairlead.devices.topology import documents
from fairlead.devices.topology.errors import InvalidTopology, SourceError
from fairlead.devices.topology.model import Place, Switch, Topology


def _broken(switches: list[Switch], places: list[Place]) -> set[tuple[str, str]]:
    with pytest.raises(InvalidTopology) as caught:
        Topology.of(switches, places)
    return {(problem.kind, problem.subject) for problem in caught.value.problems}


def test_every_broken_rule_is_named() -> None:
    switches = [
        Switch("a", "b"),
        Switch("b", "a"),
        Switch("c", "gone"),
        Switch("d"),
        Switch("d"),
        Switch("e", "d", fabric="ib"),
    ]
    places = [
        Place("n1", ("c", "d")),
        Place("n1"),
        Place("n2", ("nowhere",)),
        Place("n3", sub_domain="rack"),
        Place(""),
    ]
    assert _broken(switches, places) == {
        ("Cycle", "a"), ("UnknownSwitch", "c"), ("DuplicateSwitch", "d"), ("CrossFabric", "e"), ("TwoLeaves", "n1"),
        ("DuplicateNode", "n1"), ("UnknownSwitch", "n2"), ("LoneSubDomain", "n3"), ("EmptyName", ""),
    }  # fmt: skip


def test_a_switch_that_hangs_from_itself_is_a_ring() -> None:
    assert _broken([Switch("a", "a")], []) == {("Cycle", "a")}


def test_a_node_may_hang_from_one_leaf_of_each_fabric() -> None:
    topology = Topology.of([Switch("ib", fabric="ib"), Switch("eth", fabric="eth")], [Place("n", ("ib", "eth"))])
    assert topology.path("n", "eth") == ("eth",)
    assert topology.path("n", "ib") == ("ib",)


def test_tiers_count_from_the_farthest_node() -> None:
    topology = Topology.of(
        [Switch("core"), Switch("leaf", "core")], [Place("far", ("leaf",)), Place("near", ("core",))]
    )
    assert topology.tiers == {"core": 1, "leaf": 0}
    assert topology.path("near") == ("core",)


@given(trees())
def test_documents_read_back_what_was_written(topology: Topology) -> None:
    assert documents.read(documents.to_json(topology)) == topology
    assert documents.read(documents.to_yaml(topology)) == topology


@given(trees())
def test_the_order_of_parts_does_not_matter(topology: Topology) -> None:
    reversed_ = Topology.of(reversed(list(topology.switches.values())), reversed(list(topology.places.values())))
    assert documents.to_json(reversed_) == documents.to_json(topology)


@pytest.mark.parametrize(
    "text", ['{"switches": [{"id": "a"', '{"switches": [{"name": 3}]}', "switches: [", '{"nodez": []}']
)
def test_half_a_document_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="topology document"):
        documents.read(text)
