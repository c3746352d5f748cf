"""Random small instances: what is given out exists, is free and is allowed; and a plain exhaustive search agrees.

The exhaustive search knows nothing of shortcuts, states or undoing: it tries every assignment of devices, each checked
from scratch against the rules of the API.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kube.quantity import Quantity
from fairlead.scheduling.allocator import Allocated, DeviceId, DoesNotFit, Failed, Fault, InUse
from scheduling.allocator.allocator_objects import (
    DRIVER,
    claim,
    consumes,
    counters_of,
    decide,
    device,
    request,
    slice_of,
    subrequest,
)

_COUNTER = 4
_BANDWIDTH = 4
_TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


@st.composite
def _devices(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to six devices: some tainted, some partitions, some shared, with attributes of one or several values."""
    found = []
    for i in range(draw(st.integers(1, 6))):
        attributes: dict[str, Any] = {}
        if draw(st.integers(0, 4)):
            attributes["root"] = draw(st.one_of(st.integers(0, 2), st.lists(st.integers(0, 2), min_size=1, max_size=2)))
        fields: dict[str, Any] = {}
        if draw(st.integers(0, 3)) == 0:
            fields["taints"] = [_TAINT]
        if draw(st.integers(0, 2)) == 0:
            fields["consumesCounters"] = consumes(slices=str(draw(st.integers(1, 3))))
        if draw(st.integers(0, 3)) == 0:
            fields |= {"allowMultipleAllocations": True, "capacity": {"bandwidth": str(_BANDWIDTH)}}
        found.append(device(f"d{i}", attributes=attributes, **fields))
    return found


@st.composite
def _wishes(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        fields["tolerations"] = [{"key": "k", "operator": "Exists"}]
    if draw(st.integers(0, 3)) == 0:
        fields["capacity"] = {"requests": {"bandwidth": str(draw(st.integers(1, 3)))}}
    return fields


@st.composite
def _claims(draw: st.DrawFn) -> list[dict[str, Any]]:
    claims = []
    for c in range(draw(st.integers(1, 2))):
        requests = []
        for r in range(draw(st.integers(1, 2))):
            if draw(st.integers(0, 3)) == 0:
                subs = [subrequest(f"s{s}", draw(st.integers(1, 2)), **draw(_wishes())) for s in range(2)]
                requests.append({"name": f"r{r}", "firstAvailable": subs})
            else:
                requests.append(request(f"r{r}", draw(st.integers(1, 2)), **draw(_wishes())))
        kinds = draw(st.lists(st.sampled_from(["matchAttribute", "distinctAttribute"]), max_size=1))
        constraints = [{kind: f"{DRIVER}/root"} for kind in kinds]
        claims.append(claim(*requests, name=f"c{c}", constraints=constraints))
    return claims


@st.composite
def _instances(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]], frozenset[str]]:
    devices = draw(_devices())
    plain = [each["name"] for each in devices if not each.get("allowMultipleAllocations")]
    in_use = draw(st.sets(st.sampled_from(plain), max_size=2)) if plain else set()
    return devices, draw(_claims()), frozenset(in_use)


def _decide(devices: list[dict[str, Any]], claims: list[dict[str, Any]], in_use: frozenset[str], **options: Any) -> Any:
    slices = [counters_of({"slices": str(_COUNTER)}, count=2), slice_of(devices, count=2)]
    held = InUse(frozenset(DeviceId(DRIVER, "pool", name) for name in in_use))
    return decide(slices, *claims, in_use=held, **options)


@settings(max_examples=300, deadline=None)
@given(_instances())
def test_exact_mode_fits_exactly_where_an_exhaustive_search_does(
    instance: tuple[list[dict[str, Any]], list[dict[str, Any]], frozenset[str]],
) -> None:
    devices, claims, in_use = instance
    decision = _decide(devices, claims, in_use, exact=True)
    assert not isinstance(decision, Failed), decision
    reference = _Reference(devices, in_use)
    assert isinstance(decision, Allocated) == reference.fits(claims), decision
    if isinstance(decision, DoesNotFit):
        assert decision.obstacles and all(str(obstacle) for obstacle in decision.obstacles)


@pytest.mark.parametrize("exact", [True, False])
@settings(max_examples=300, deadline=None)
@given(instance=_instances())
def test_what_is_given_out_is_there_and_free(
    exact: bool, instance: tuple[list[dict[str, Any]], list[dict[str, Any]], frozenset[str]]
) -> None:
    devices, claims, in_use = instance
    decision = _decide(devices, claims, in_use, exact=exact)
    if not isinstance(decision, Allocated):
        return
    by_name = {each["name"]: each for each in devices}
    results = [result for allocation in decision.allocations for result in allocation.devices.results]
    times = Counter(result.device for result in results)
    assert not times.keys() & in_use
    for name, count in times.items():
        assert count == 1 or by_name[name].get("allowMultipleAllocations")
    used = sum(_slices_of(by_name[name]) for name in {*times, *in_use})
    assert used <= _COUNTER or used == sum(_slices_of(by_name[name]) for name in in_use)
    for name in times:
        shares = [Quantity.parse(r.consumed_capacity["bandwidth"]) for r in results if r.device == name and r.share_id]
        assert sum(share.value for share in shares) <= _BANDWIDTH
    for wanted, allocation in zip(claims, decision.allocations, strict=True):
        served = Counter(result.request.split("/")[0] for result in allocation.devices.results)
        assert served.keys() == {each["name"] for each in wanted["spec"]["devices"]["requests"]}


class _Reference:
    """Every assignment, checked from scratch."""

    def __init__(self, devices: Sequence[Mapping[str, Any]], in_use: frozenset[str]) -> None:
        self._devices = devices
        self._in_use = in_use

    def fits(self, claims: Sequence[Mapping[str, Any]]) -> bool:
        return any(self._allowed(claims, assignment) for assignment in self._assignments(claims))

    def _assignments(self, claims: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        options = []
        for wanted in claims:
            for asked in wanted["spec"]["devices"]["requests"]:
                ways = asked.get("firstAvailable") or [asked["exactly"]]
                options.append(
                    [
                        (wanted["metadata"]["name"], way, chosen)
                        for way in ways
                        for chosen in itertools.combinations(range(len(self._devices)), way["count"])
                        if all(self._suits(way, self._devices[i]) for i in chosen)
                    ]
                )
        return itertools.product(*options)

    def _suits(self, way: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
        if candidate["name"] in self._in_use or (candidate.get("taints") and not way.get("tolerations")):
            return False
        return not way.get("capacity") or "bandwidth" in candidate["capacity"]

    def _allowed(self, claims: Sequence[Mapping[str, Any]], assignment: Sequence[Any]) -> bool:
        taken = [(name, way, i) for name, way, chosen in assignment for i in chosen]
        times = Counter(i for _, _, i in taken)
        if any(n > 1 and not self._devices[i].get("allowMultipleAllocations") for i, n in times.items()):
            return False
        for i in times:
            asked = [_bandwidth(way) for _, way, taken_by in taken if taken_by == i]
            if self._devices[i].get("allowMultipleAllocations") and sum(asked) > _BANDWIDTH:
                return False
        wants_counters = any(_slices_of(self._devices[i]) for i in times)
        names = {self._devices[i]["name"] for i in times} | self._in_use
        if wants_counters and sum(_slices_of(each) for each in self._devices if each["name"] in names) > _COUNTER:
            return False
        return all(self._constrained(wanted, [i for name, _, i in taken if name == wanted["metadata"]["name"]])
                   for wanted in claims)  # fmt: skip

    def _constrained(self, wanted: Mapping[str, Any], chosen: Sequence[int]) -> bool:
        for constraint in wanted["spec"]["devices"]["constraints"]:
            values = [_roots(self._devices[i]) for i in chosen]
            if not all(values):
                return False
            if "matchAttribute" in constraint:
                if not set.intersection(*values):
                    return False
            elif any(one & other for one, other in itertools.combinations(values, 2)):
                return False
        return True


def _roots(described: Mapping[str, Any]) -> set[int]:
    value = described["attributes"].get("root", {})
    return set(value.get("ints", [])) | ({value["int"]} if "int" in value else set())


def _slices_of(described: Mapping[str, Any]) -> int:
    return sum(int(each["counters"]["slices"]["value"]) for each in described.get("consumesCounters", ()))


def _bandwidth(way: Mapping[str, Any]) -> int:
    return int(way["capacity"]["requests"]["bandwidth"]) if way.get("capacity") else _BANDWIDTH


def test_impossible_claims_over_like_devices_end_early() -> None:
    """Sixteen of 64 like devices and one more that nobody has: the combinations are beyond counting."""
    devices = [device(f"d{i}", attributes={"root": i % 2}) for i in range(64)]
    nobody = {"selectors": [{"cel": {"expression": 'device.driver == "nobody.example.com"'}}]}
    decision = decide([slice_of(devices)], claim(request("many", 16), request("none", **nobody)))
    assert isinstance(decision, DoesNotFit)
    assert decision.steps < 5_000
    assert [obstacle.request for obstacle in decision.obstacles] == ["none"]


def test_more_than_there_are_of_a_kind_ends_early() -> None:
    devices = [device(f"d{i}", attributes={"root": i % 5}) for i in range(40)]
    decision = decide([slice_of(devices)], claim(request(count=9), constraints=[{"matchAttribute": f"{DRIVER}/root"}]))
    assert isinstance(decision, DoesNotFit)
    assert decision.steps < 20_000


def test_a_search_without_end_stops_at_its_budget_and_says_so() -> None:
    """21 devices with three of 61 values each, no value twice: impossible, but not to be seen by looking."""
    devices = [device(f"d{i}", attributes={"root": [i, (i * 7 + 1) % 61, (i * 13 + 2) % 61]}) for i in range(61)]
    asked = claim(request(count=21), constraints=[{"distinctAttribute": f"{DRIVER}/root"}])
    decision = decide([slice_of(devices)], asked, exact=True, budget=20_000)
    assert isinstance(decision, Failed), decision
    assert decision.fault is Fault.BUDGET
    assert decision.on_this_node
    assert decision.steps <= 20_001
    assert "stopped after 20000 steps without an answer" in decision.message


def test_forty_claims_of_a_pod_are_no_question_of_depth() -> None:
    devices = [device(f"d{i}") for i in range(1300)]
    decision = decide([slice_of(devices)], *[claim(request(count=32), name=f"c{i}") for i in range(40)])
    assert isinstance(decision, Allocated)
    assert len({pick.device for pick in decision.picks}) == 1280
