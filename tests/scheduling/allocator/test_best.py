"""The best devices: as cheap as an exhaustive search says, and what that means on hardware that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kube.objects.devices import ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator import (
    EVERY_FEATURE,
    Allocated,
    DoesNotFit,
    NodePools,
    Plan,
    allocate_best,
    build_catalogue,
    plan_claims,
    prepare_slice,
)
from fairlead.scheduling.allocator.best import BEST_BUDGET, Best, NoneFound, cost_of, find_best
from fairlead.scheduling.allocator.held import Held, hold_more
from fairlead.scheduling.allocator.layout import build_layout
from fairlead.scheduling.allocator.problem import Problem, judge, pose
from scheduling.allocator.allocator_objects import (
    CLASSES,
    DRIVER,
    NODE,
    claim,
    decide,
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


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nothing_is_cheaper_than_the_best(data: st.DataObject) -> None:
    devices = data.draw(_devices())
    claims = data.draw(_claims())
    _limit(claims, 4)
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


@st.composite
def _cards(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Two or three like cards with their parts, card by card or size by size: much can be exchanged."""
    count, quarters = draw(st.integers(2, 3)), draw(st.booleans())
    sizes = (4, 2, 1) if quarters and count == 2 else (4, 2)
    parts = [(card, start, size) for card in range(count) for size in sizes for start in range(0, 4, size)]
    if draw(st.booleans()):
        parts.sort(key=lambda part: -part[2])
    numa = [draw(st.integers(0, 1)) for _ in range(count)]
    devices = [
        device(
            f"c{card}-{start}-{size}",
            attributes={"numaNode": numa[card], "root": size} if draw(st.booleans()) else {"numaNode": numa[card]},
            consumesCounters=[
                {"counterSet": f"c{card}", "counters": {f"pe{i}": {"value": "1"} for i in range(start, start + size)}}
            ],
        )
        for card, start, size in parts
    ]
    return devices, {f"c{card}": {f"pe{i}": 1 for i in range(4)} for card in range(count)}


@settings(max_examples=20, deadline=None)
@given(_cards(), _claims(), st.data())
def test_like_cards_are_tried_once_and_nothing_is_missed(
    cards: tuple[list[dict[str, Any]], dict[str, dict[str, int]]], claims: list[dict[str, Any]], data: st.DataObject
) -> None:
    devices, sets = cards
    _limit(claims, 3)
    described = [
        {"name": name, "counters": {counter: {"value": str(n)} for counter, n in amounts.items()}}
        for name, amounts in sets.items()
    ]
    slices = [slice_of(name="counters", sharedCounters=described, count=2), slice_of(devices, count=2)]
    held = data.draw(st.sets(st.sampled_from([each["name"] for each in devices]), max_size=1))
    problem, _, view = _pose(slices, claims)
    found = find_best(problem, _held(view, sorted(held)))
    expected = Exhaustive(devices, sets, frozenset(held)).best(claims)
    if expected is None:
        assert isinstance(found, NoneFound) and found.is_proven
        return
    assert isinstance(found, Best) and found.is_proven
    assert tuple(found.cost) == expected[0]
    assert [each.position for each in found.given] == [d for chosen in expected[1][0] for d in chosen]


def _limit(claims: Sequence[Mapping[str, Any]], most: int) -> None:
    """Cuts what is asked for down to so many devices, as more would be too much for the exhaustive search."""
    left = most
    for each in claims:
        for asked in each["spec"]["devices"]["requests"]:
            for way in asked.get("firstAvailable") or [asked["exactly"]]:
                way["count"] = max(1, min(way["count"], left))
            left -= max(way["count"] for way in asked.get("firstAvailable") or [asked["exactly"]])
        if left <= 0:
            del each["spec"]["devices"]["requests"][1:]


def _npus(cards: int, **attributes: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Cards of eight processing elements, whole and in aligned groups of four, two and one. Attributes by card."""
    sets = [
        {"name": f"npu{card}", "counters": {f"pe{i}": {"value": "1"} for i in range(8)} | {"memory": {"value": "48Gi"}}}
        for card in range(cards)
    ]
    devices = []
    for size in (8, 4, 2, 1):
        for card in range(cards):
            for start in range(0, 8, size):
                used = {f"pe{i}": {"value": "1"} for i in range(start, start + size)}
                used |= {"memory": {"value": f"{6 * size}Gi"}}
                name = f"npu{card}" if size == 8 else f"npu{card}pe{start}-{start + size - 1}"
                own = {key: values[card] for key, values in attributes.items()}
                devices.append(
                    device(
                        name,
                        attributes={"cores": size, "resource.kubernetes.io/pciBusID": f"{card}", **own},
                        consumesCounters=[{"counterSet": f"npu{card}", "counters": used}],
                    )
                )
    return devices, slice_of(name="counters", sharedCounters=sets, count=2)


def _cores(count: int) -> dict[str, Any]:
    return {"selectors": [{"cel": {"expression": f'device.attributes["{DRIVER}"].cores == {count}'}}]}


def _find_npus(held: Sequence[str], *requests: dict[str, Any], **attributes: Sequence[Any]) -> list[str]:
    cards = len(next(iter(attributes.values()), (0, 1)))
    devices, counters = _npus(cards, **attributes)
    problem, _, view = _pose([counters, slice_of(devices, count=2)], [claim(*requests)])
    return _names(devices, find_best(problem, _held(view, held)))


def test_a_small_request_breaks_the_smallest_fusion_that_does() -> None:
    assert _find_npus([], request(**_cores(1))) == ["npu0pe0-0"]
    assert _find_npus(["npu1pe4-7"], request(**_cores(1))) == ["npu1pe0-0"], "not a whole card"
    held = ["npu0pe0-1", "npu1pe0-3", "npu1pe4-4"]
    assert _find_npus(held, request(**_cores(1))) == ["npu1pe5-5"], "not a pair, nor four"
    assert _find_npus(held, request(**_cores(2))) == ["npu0pe2-3"], "beside the pair that is taken, not half of a four"


def test_parts_of_one_claim_lie_on_one_card_though_another_is_broken() -> None:
    assert _find_npus(["npu0pe0-0"], request(count=8, **_cores(1))) == [f"npu1pe{i}-{i}" for i in range(8)]


def test_cards_under_one_switch_are_kept_for_those_who_need_both() -> None:
    switches: dict[str, list[Any]] = {"pcieSwitch": ["a", "a", "b", "b"], "numaNode": [0, 0, 1, 1]}
    assert _find_npus(["npu1"], request(**_cores(8)), **switches) == ["npu0"]
    assert _find_npus(["npu1"], request(count=2, **_cores(8)), **switches) == ["npu2", "npu3"]


def test_a_pair_of_gpus_has_the_better_link() -> None:
    bare = [device(f"gpu{i}", attributes={"numaNode": i % 2}) for i in range(4)]
    assert _names(bare, _find(bare, claim(request(count=2)))) == ["gpu0", "gpu2"]
    joined = [device(f"gpu{i}", attributes={"numaNode": i % 2, "nvlinkDomain": f"n{i // 2}"}) for i in range(4)]
    assert _names(joined, _find(joined, claim(request(count=2)))) == ["gpu0", "gpu1"]


def test_what_is_left_of_a_switch_goes_first() -> None:
    devices = [device(f"gpu{i}", attributes={"pcieSwitch": f"s{i // 4}"}) for i in range(8)]
    held = ["gpu4", "gpu5", "gpu6"]
    assert _names(devices, _find(devices, claim(request()), held=held)) == ["gpu7"]
    assert _names(devices, _find(devices, claim(request(count=4)), held=held)) == [f"gpu{i}" for i in range(4)]


def test_a_gpu_gets_the_network_card_next_to_it() -> None:
    gpus = [device(f"gpu{i}", attributes={"resource.kubernetes.io/pcieRoot": f"r{i}"}) for i in range(4)]
    nics = [device(f"nic{i}", attributes={"resource.kubernetes.io/pcieRoot": f"r{3 - i}"}) for i in range(3)]
    slices = [slice_of(gpus, name="a"), slice_of(nics, name="b", driver="nic.example.com", pool="nics")]

    def of(driver: str) -> dict[str, Any]:
        return {"selectors": [{"cel": {"expression": f'device.driver == "{driver}"'}}]}

    problem, _, view = _pose(slices, [claim(request("gpu", **of(DRIVER)), request("nic", **of("nic.example.com")))])
    found = find_best(problem, Held())
    assert isinstance(found, Best)
    assert [view.candidates[given.position].device.id.device for given in found.given] == ["gpu1", "nic2"]


def test_shares_fill_a_device_before_they_touch_another() -> None:
    devices = [
        device(f"nic{i}", allowMultipleAllocations=True, capacity={"bandwidth": "100"}, attributes={}) for i in range(3)
    ]
    asked = claim(request(capacity={"requests": {"bandwidth": "40"}}))
    problem, plan, view = _pose([slice_of(devices)], [asked])
    held, places = Held(0, ((1, (50 * 10**9,)),)), []
    for _ in range(4):
        found = find_best(problem, held)
        assert isinstance(found, Best)
        places += [given.position for given in found.given]
        held = hold_more(plan, view, held, found.given)
    assert places == [1, 0, 0, 2]


def test_a_tainted_device_is_of_no_use_to_others_and_goes_first() -> None:
    devices = [device("good"), device("bad", taints=[_TAINT])]
    assert _names(devices, _find(devices, claim(request(tolerations=[{"operator": "Exists"}])))) == ["bad"]


def test_an_alternative_comes_before_links_and_waste() -> None:
    devices = [device(f"gpu{i}", attributes={"cores": i // 2, "numaNode": i % 2}) for i in range(4)]
    ways = [subrequest("far", 2, **_cores(0)), subrequest("one", 1, **_cores(1))]
    found = _find(devices, claim({"name": "r", "firstAvailable": ways}))
    assert _names(devices, found) == ["gpu0", "gpu1"]
    assert isinstance(found, Best) and found.cost.ranks == 0
    held = _find(devices, claim({"name": "r", "firstAvailable": ways}), held=["gpu0"])
    assert _names(devices, held) == ["gpu2"] and isinstance(held, Best) and held.cost.ranks == 1


def test_a_request_for_all_tries_its_alternatives_under_a_constraint() -> None:
    """Upstream ends with an error: the devices do not match."""
    devices = [device(f"gpu{i}", attributes={"root": i}) for i in range(3)]
    ways = [subrequest("all", 0), subrequest("one")]
    asked = claim({"name": "r", "firstAvailable": ways}, constraints=[{"matchAttribute": f"{DRIVER}/root"}])
    assert _names(devices, _find(devices, asked)) == ["gpu0"]


def test_a_selector_that_fails_on_a_device_passes_it_over() -> None:
    devices = [device("plain"), device("known", attributes={"cores": 1})]
    assert _names(devices, _find(devices, claim(request(**_cores(1))))) == ["known"]


def test_many_like_devices_are_no_question_of_combinations() -> None:
    devices = [device(f"d{i:03}") for i in range(128)]
    found = _find(devices, claim(request(count=32)))
    assert isinstance(found, Best) and found.is_proven and found.steps < 20_000
    none = _find(devices, claim(request("a", 20), request("b", 20)))
    assert isinstance(none, NoneFound) and none.is_proven, "a claim holds 32 devices at most"


@settings(max_examples=150, deadline=None)
@given(_devices(), _claims())
def test_best_mode_writes_what_it_chose_and_says_what_the_first_fit_says_against_it(
    devices: list[dict[str, Any]], claims: list[dict[str, Any]]
) -> None:
    slices = [_counter_slice(), slice_of(devices, count=2)]
    problem, plan, view = _pose(slices, claims)
    decision = allocate_best(plan, view)
    first = decide(slices, *claims, exact=True)
    found = find_best(problem, Held())
    if isinstance(found, NoneFound):
        assert isinstance(decision, DoesNotFit) and str(decision) == str(first)
        return
    assert isinstance(first, Allocated) and isinstance(decision, Allocated)
    assert [pick.device.device for pick in decision.picks] == [devices[each.position]["name"] for each in found.given]
    written = [result.device for each in decision.allocations if each.devices for result in each.devices.results]
    assert written == [pick.device.device for pick in decision.picks]


def test_what_is_known_not_to_fit_is_told_though_the_first_fit_would_have_to_give_up() -> None:
    """Sixteen devices of nine kinds, no two of a kind: impossible in more ways than can be tried."""
    devices = [device(f"d{i}", attributes={"root": i % 9, "serial": i}) for i in range(24)]
    asked = claim(request("a", 8), request("b", 8), constraints=[{"distinctAttribute": f"{DRIVER}/root"}])
    _, plan, view = _pose([slice_of(devices)], [asked])
    decision = allocate_best(plan, view)
    assert isinstance(decision, DoesNotFit)
    assert "breaking a constraint (distinctAttribute gpu.example.com/root)" in str(decision)
    assert decision.steps < 2 * BEST_BUDGET
