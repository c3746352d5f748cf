"""The best devices: as cheap as an exhaustive search says, and what that means on hardware that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kube.objects.devices import ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator import EVERY_FEATURE, NodePools, Plan, build_catalogue, plan_claims, prepare_slice
from fairlead.scheduling.allocator.best import BEST_BUDGET, Best, NoneFound, cost_of, find_best
from fairlead.scheduling.allocator.held import Held
from fairlead.scheduling.allocator.layout import build_layout
from fairlead.scheduling.allocator.problem import Problem, judge, pose
from scheduling.allocator.allocator_objects import (
    CLASSES,
    DRIVER,
    NODE,
    claim,
    device,
    request,
    slice_of,
    subrequest,
)
from scheduling.allocator.best_reference import Exhaustive

_TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
_SETS: Mapping[str, Mapping[str, int]] = {"one": {"pes": 4, "memory": 8}, "two": {"pes": 4, "memory": 8}}


@st.composite
def _devices(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for i in range(draw(st.integers(1, 6))):
        attributes: dict[str, Any] = {}
        for name, values in (("root", 2), ("pcieSwitch", 3), ("pcieRoot", 2), ("nvlinkDomain", 1), ("numaNode", 2)):
            if draw(st.booleans()):
                number = draw(st.integers(0, values - 1))
                attributes[name] = number if name in ("root", "numaNode") else f"v{number}"
        if draw(st.integers(0, 3)) == 0:
            attributes["resource.kubernetes.io/pciBusID"] = f"bus{draw(st.integers(0, 1))}"
        fields: dict[str, Any] = {}
        if draw(st.integers(0, 4)) == 0:
            fields["taints"] = [_TAINT]
        if draw(st.integers(0, 1)) == 0:
            size = draw(st.sampled_from([1, 2, 4]))
            used = {"pes": {"value": str(size)}, "memory": {"value": str(2 * size)}}
            fields["consumesCounters"] = [{"counterSet": draw(st.sampled_from(sorted(_SETS))), "counters": used}]
        elif draw(st.integers(0, 2)) == 0:
            fields |= {"allowMultipleAllocations": True, "capacity": {"bandwidth": "4"}}
        found.append(device(f"d{i}", attributes=attributes, **fields))
    return found


@st.composite
def _claims(draw: st.DrawFn) -> list[dict[str, Any]]:
    def wish() -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if draw(st.integers(0, 3)) == 0:
            fields["tolerations"] = [{"key": "k", "operator": "Exists"}]
        if draw(st.integers(0, 4)) == 0:
            fields["capacity"] = {"requests": {"bandwidth": str(draw(st.integers(1, 3)))}}
        return fields

    claims = []
    for c in range(draw(st.integers(1, 2))):
        requests = []
        for r in range(draw(st.integers(1, 2))):
            if draw(st.integers(0, 3)) == 0:
                subs = [subrequest(f"s{s}", draw(st.integers(1, 2)), **wish()) for s in range(2)]
                requests.append({"name": f"r{r}", "firstAvailable": subs})
            else:
                requests.append(request(f"r{r}", draw(st.integers(1, 3)), **wish()))
        kinds = draw(st.lists(st.sampled_from(["matchAttribute", "distinctAttribute"]), max_size=1))
        claims.append(claim(*requests, name=f"c{c}", constraints=[{kind: f"{DRIVER}/root"} for kind in kinds]))
    return claims


def _counter_slice() -> dict[str, Any]:
    sets = [
        {"name": name, "counters": {counter: {"value": str(amount)} for counter, amount in amounts.items()}}
        for name, amounts in _SETS.items()
    ]
    return slice_of(name="counters", sharedCounters=sets, count=2)


def _pose(slices: Sequence[Mapping[str, Any]], claims: Sequence[Mapping[str, Any]]) -> tuple[Problem, Plan, NodePools]:
    prepared = map(prepare_slice, msgspec.convert(list(slices), list[ResourceSlice]))
    view = build_catalogue(prepared, EVERY_FEATURE).view(NODE)
    plan = plan_claims(msgspec.convert(list(claims), list[ResourceClaim]), CLASSES, EVERY_FEATURE, exact=True)
    return pose(plan, view, build_layout(view, EVERY_FEATURE), judge(plan, view)), plan, view


def _find(
    devices: Sequence[Mapping[str, Any]],
    *claims: Mapping[str, Any],
    held: Sequence[str] = (),
    budget: int = BEST_BUDGET,
) -> Best | NoneFound:
    problem, _, view = _pose([_counter_slice(), slice_of(devices, count=2)], claims)
    return find_best(problem, _held(view, held), budget=budget)


def _held(view: NodePools, names: Sequence[str]) -> Held:
    return Held(sum(1 << i for i, each in enumerate(view.candidates) if each.device.id.device in names))


def _names(devices: Sequence[Mapping[str, Any]], found: Best | NoneFound) -> list[str]:
    assert isinstance(found, Best) and found.is_proven
    return [devices[given.position]["name"] for given in found.given]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nothing_is_cheaper_than_the_best(data: st.DataObject) -> None:
    devices = data.draw(_devices())
    claims = data.draw(_claims())
    plain = [each["name"] for each in devices if not each.get("allowMultipleAllocations")]
    held = data.draw(st.sets(st.sampled_from(plain), max_size=2)) if plain else set()
    problem, _, view = _pose([_counter_slice(), slice_of(devices, count=2)], claims)
    now = _held(view, sorted(held))
    found = find_best(problem, now)
    reference = Exhaustive(devices, _SETS, frozenset(held))
    expected = reference.best(claims)
    if expected is None:
        assert isinstance(found, NoneFound) and found.is_proven
        return
    assert isinstance(found, Best) and found.is_proven
    cost, (chosen, _) = expected
    assert tuple(found.cost) == cost
    assert [each.position for each in found.given] == [d for devices in chosen for d in devices]
    assert cost_of(problem, now, found.given) == found.cost


@settings(max_examples=100, deadline=None)
@given(_devices(), _claims(), st.integers(0, 30))
def test_a_search_that_is_cut_off_says_so_and_keeps_to_the_rules(
    devices: list[dict[str, Any]], claims: list[dict[str, Any]], budget: int
) -> None:
    found = _find(devices, *claims, budget=budget)
    full = _find(devices, *claims)
    if isinstance(found, NoneFound):
        assert not found.is_proven or isinstance(full, NoneFound)
        return
    assert isinstance(full, Best)
    assert found.cost == full.cost if found.is_proven else found.cost >= full.cost
