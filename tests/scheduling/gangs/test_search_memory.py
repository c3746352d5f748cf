"""What the search remembers from gang to gang says the same as a fresh look, whatever happens to the fleet between."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fairlead.kube.selectors import Requirement, Selector
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.search import place_gang
from fairlead.scheduling.snapshot import HOST, PodTerm, PodView, Shape
from fairlead.scheduling.topology import NO_DOMAIN, Domains
from fairlead.scheduling.verdict import Placed
from scheduling.gangs.gang_objects import (
    RACK,
    ZONE,
    add_claims,
    add_devices,
    claim_for,
    dump,
    exactly,
    gang,
    node,
    outlook_of,
    pods_of,
    shape,
)

APART = PodTerm(Selector((Requirement("app", "=", ("x",)),)), frozenset(), HOST)
SHAPES = [
    shape(1),
    shape(2),
    shape(0, own_claims=(claim_for(exactly()),)),
    shape(1, own_claims=(claim_for(exactly(count=2)),)),
    shape(1, labels={"app": "x"}, far=(APART,)),
]
NAMES = ["n0", "n1", "n2", "n3"]
racks = st.sampled_from(["r0", "r1", ""])


class Fleets(RuleBasedStateMachine):
    """One outlook for a whole life of a fleet; beside it a fresh one for every gang."""

    def __init__(self) -> None:
        super().__init__()
        self.outlook = outlook_of([node("n0", labels={RACK: "r0"}), node("n1", labels={RACK: "r1"})])
        self.domains = Domains(self.outlook.fleet)
        self.placed: list[PodView] = []

    @rule(name=st.sampled_from(NAMES), rack=racks, cpu=st.integers(0, 5), devices=st.integers(0, 3))
    def set_node(self, name: str, rack: str, cpu: int, devices: int) -> None:
        labels = {RACK: rack, ZONE: "z"} if rack else {}
        self.outlook.fleet.set_node(node(name, cpu=cpu, labels=labels))
        add_devices(self.outlook, name, [{"name": f"g{i}", "model": "a"} for i in range(devices)])

    @rule(name=st.sampled_from(NAMES))
    def remove_node(self, name: str) -> None:
        self.outlook.fleet.remove_node(name)

    @rule(data=st.data())
    def lift(self, data: st.DataObject) -> None:
        if self.placed:
            pod = self.placed.pop(data.draw(st.integers(0, len(self.placed) - 1)))
            self.outlook.fleet.take_back(pod.uid)

    @rule(
        kinds=st.lists(st.tuples(st.sampled_from(SHAPES), st.integers(1, 3)), min_size=1, max_size=2),
        required=st.sampled_from([(), (RACK,), (ZONE,), (HOST,)]),
        preferred=st.sampled_from([(), (RACK,), (ZONE, RACK)]),
        minimum=st.sampled_from([None, 1]),
        keeps=st.booleans(),
    )
    def place(self, kinds: list[tuple[Shape, int]], keeps: bool, **fields: Any) -> None:
        pods = tuple(pod for i, (kind, count) in enumerate(kinds) for pod in pods_of(kind, count, f"k{i}"))
        wanted = gang(pods, **fields)
        fleet = self.outlook.fleet
        add_claims(self.outlook, pods)
        before = dump(self.outlook)
        with fleet.trial():
            fresh = place_gang(Outlook(fleet), wanted)
        assert dump(self.outlook) == before
        mark = fleet.mark()
        verdict = place_gang(self.outlook, wanted)
        assert type(verdict) is type(fresh)
        if isinstance(verdict, Placed):
            assert isinstance(fresh, Placed)
            assert [(a.pod.uid, a.node, a.allocations) for a in verdict.assignments] == [
                (a.pod.uid, a.node, a.allocations) for a in fresh.assignments
            ]
            if keeps:
                fleet.keep(mark)
                self.placed += [each.pod for each in verdict.assignments]
                return
        fleet.undo(mark)
        assert dump(self.outlook) == before

    @invariant()
    def domains_are_those_of_the_nodes(self) -> None:
        for levels in ((RACK,), (ZONE, RACK), ()):
            cut = self.domains.cut(levels)
            for row, each in enumerate(self.outlook.fleet.nodes):
                value = None if each is None else tuple(each.value(level) for level in levels)
                if value is None or None in value:
                    assert cut.ids[row] == NO_DOMAIN
                else:
                    assert cut.values[cut.ids[row]] == value


TestFleets = Fleets.TestCase
TestFleets.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
