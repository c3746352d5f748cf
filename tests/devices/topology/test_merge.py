"""Sources add to each other; contradictions have names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.topology.topology_strategies import trees
from fairlead.devices.topology.errors import MergeConflict
from fairlead.devices.topology.merge import merge, merge_preferring_first
from fairlead.devices.topology.model import Place, Switch, Topology


@given(trees(), st.permutations(["switches", "domains", "zones"]))
def test_without_conflict_the_order_does_not_matter(topology: Topology, order: list[str]) -> None:
    parts = {
        "switches": Topology.of(
            topology.switches.values(), [Place(place.node, place.leaves) for place in topology.places.values()]
        ),
        "domains": Topology.of(
            places=[Place(p.node, domain=p.domain, sub_domain=p.sub_domain) for p in topology.places.values()]
        ),
        "zones": Topology.of(places=[Place(p.node, zone=p.zone, region=p.region) for p in topology.places.values()]),
    }
    assert merge([(name, parts[name]) for name in order]) == topology


@given(trees())
def test_a_source_merged_with_itself_is_itself(topology: Topology) -> None:
    assert merge([("one", topology), ("two", topology)]) == topology


def test_conflicts_name_subject_field_and_sources() -> None:
    one = Topology.of(
        [Switch("l1", fabric="ib"), Switch("l2", fabric="ib")], [Place("n", ("l1",), domain="a", zone="z")]
    )
    other = Topology.of([Switch("l2", fabric="ib")], [Place("n", ("l2",), domain="b", zone="z")])
    with pytest.raises(MergeConflict, match='node "n": domain: ib says "a", labels says "b"') as caught:
        merge([("ib", one), ("labels", other)])
    assert {conflict.field for conflict in caught.value.conflicts} == {"domain", "leaf switch"}
    assert merge_preferring_first([("ib", one), ("labels", other)]).topology == one


def test_labels_of_two_sources_are_joined() -> None:
    one = Topology.of(places=[Place("n", labels={"a": "1"})])
    assert merge([("x", one), ("y", Topology.of(places=[Place("n", labels={"b": "2"})]))]).places["n"] == replace(
        one.places["n"], labels={"a": "1", "b": "2"}
    )
