"""Whatever comes and goes in whatever order: the book answers as one that is told everything at once, it names every
node about which its answer is another, and never gives anything twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kube.objects.devices import AllocationResult, DeviceTaintRule, ResourceClaim, ResourceSlice
from fairlead.scheduling.fleet.device_book import DeviceBook, Offer, Refusal
from fairlead.scheduling.fleet.device_profiles import Mode
from scheduling.allocator.allocator_objects import DRIVER, device, request, slice_of, subrequest
from scheduling.fleet.device_objects import claim_of, device_class, gpus, halves, node_slice

_NODES = ("a", "b", "c")


def _kind(kind: str) -> dict[str, Any]:
    return {"selectors": [{"cel": {"expression": f'device.attributes["{DRIVER}"].kind == "{kind}"'}}]}


_ASKED: dict[str, dict[str, Any]] = {
    "one": {"requests": [request()]},
    "two": {"requests": [request(count=2)], "constraints": [{"matchAttribute": f"{DRIVER}/root"}]},
    "half": {"requests": [request(**_kind("half"))]},
    "card or half": {
        "requests": [
            {"name": "r", "firstAvailable": [subrequest("card", **_kind("card")), subrequest("half", **_kind("half"))]}
        ]
    },
    "share": {"requests": [request(capacity={"requests": {"bandwidth": "3"}})]},
    "all": {"requests": [request(count=0, **_kind("half"))]},
}


def _slices(node: str, number: int) -> list[ResourceSlice]:
    """What a node may offer: plain devices, shared ones, or cards and halves, of one generation or another."""
    if number == 0:
        return [node_slice(node, gpus(3))]
    if number == 1:
        shared = [device(f"nic-{i}", allowMultipleAllocations=True, capacity={"bandwidth": "8"}) for i in range(2)]
        return [node_slice(node, shared)]
    return halves(node, cards=2 if number == 2 else 1, generation=number)


_NET = msgspec.convert(slice_of([device("net")], name="net", pool="net", allNodes=True), ResourceSlice)
_RULE = msgspec.convert(
    {
        "metadata": {"name": "rule", "uid": "rule"},
        "spec": {"deviceSelector": {"pool": "b"}, "taint": {"key": "broken", "effect": "NoSchedule"}},
    },
    DeviceTaintRule,
)


def _claim(kind: str, number: int) -> ResourceClaim:
    asked = dict(_ASKED[kind])
    return claim_of(f"claim-{number}", *asked.pop("requests"), pod_claim=kind, **asked)


class _Cluster:
    """A book, and what it was told."""

    def __init__(self, mode: Mode) -> None:
        self.mode: Mode = mode
        self.book = DeviceBook(mode=mode)
        self.book.set_class(device_class())
        self.slices: dict[str, ResourceSlice] = {}
        self.rules: list[DeviceTaintRule] = []
        self.held: dict[str, AllocationResult] = {}
        self.answers: dict[tuple[str, str], object] = {}
        for node in _NODES:
            self.book.set_node(node, {})

    def offer(self, node: str, number: int) -> None:
        for name in [name for name in self.slices if name.startswith(f"{node}-")]:
            del self.slices[name]
            self.book.remove_slice(name)
        for each in _slices(node, number):
            self.slices[each.metadata.name] = each
            self.book.set_slice(each)

    def network(self, is_there: bool) -> None:
        self.slices.pop("net", None)
        if is_there:
            self.slices["net"] = _NET
            self.book.set_slice(_NET)
        else:
            self.book.remove_slice("net")

    def rule(self, is_there: bool) -> None:
        self.rules = [_RULE] if is_there else []
        self.book.set_rules(self.rules)

    def take(self, node: str, kind: str, number: int) -> None:
        claim = _claim(kind, number)
        wants = self.book.wants([claim])
        offer = self.book.offer(wants, node)
        if isinstance(offer, Offer) and claim.metadata.uid not in self.held:
            self.held |= self.book.take(wants, node, offer, [claim])

    def release(self, number: int) -> None:
        self.held.pop(f"claim-{number}", None)
        self.book.release(f"claim-{number}")

    def look(self, book: DeviceBook) -> dict[tuple[str, str], object]:
        return {
            (node, kind): _plain(book.offer(book.wants([_claim(kind, 99)]), node)) for node in _NODES for kind in _ASKED
        }

    def anew(self) -> DeviceBook:
        """A book that is told everything at once."""
        book = DeviceBook(mode=self.mode)
        book.set_rules(self.rules)
        for uid, allocation in self.held.items():
            book.hold(uid, allocation)
        for node in reversed(_NODES):
            book.set_node(node, {})
        for each in sorted(self.slices.values(), key=lambda each: each.metadata.name, reverse=True):
            book.set_slice(each)
        book.set_class(device_class())
        return book


def _plain(answer: Offer | Refusal) -> object:
    return (answer.given, answer.cost) if isinstance(answer, Offer) else (answer.text, answer.is_final)


_CHANGES = st.one_of(
    st.tuples(st.just("take"), st.sampled_from(_NODES), st.sampled_from(sorted(_ASKED)), st.integers(0, 9)),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("offer"), st.sampled_from(_NODES), st.integers(0, 3)),
    st.tuples(st.just("network"), st.booleans()),
    st.tuples(st.just("rule"), st.booleans()),
)


@pytest.mark.parametrize("mode", ["best", "upstream"])
@settings(max_examples=60, deadline=None)
@given(changes=st.lists(_CHANGES, max_size=15))
def test_a_book_is_as_good_as_a_new_one(mode: Mode, changes: list[tuple[Any, ...]]) -> None:
    cluster = _Cluster(mode)
    for node in _NODES:
        cluster.offer(node, 0)
    left = False
    for what, *how in changes:
        # A device that leaves while it is held is known to the old book alone.
        left = left or (what == "offer" and bool(cluster.held))
        getattr(cluster, what)(*how)
        changed = cluster.book.take_changed()
        now = cluster.look(cluster.book)
        if changed is not None:
            known = {key: answer for key, answer in cluster.answers.items() if key[0] not in changed}
            assert known == {key: now[key] for key in known}
        cluster.answers = now
        _check(cluster)
    if not left:
        assert cluster.answers == cluster.look(cluster.anew()) or not changes


def _check(cluster: _Cluster) -> None:
    """No device is held twice, no share and no card beyond what there is."""
    whole: Counter[tuple[str, str]] = Counter()
    shares: Counter[tuple[str, str]] = Counter()
    halves_of: Counter[tuple[str, str]] = Counter()
    for allocation in cluster.held.values():
        for result in allocation.devices.results if allocation.devices is not None else ():
            key = (result.pool, result.device)
            if result.share_id:
                shares[key] += int(result.consumed_capacity["bandwidth"])
            else:
                whole[key] += 1
            if result.device.startswith("card"):
                halves_of[result.pool, result.device.partition("-")[0]] += 1 if "-" in result.device else 2
    assert all(count == 1 for count in whole.values())
    assert all(amount <= 8 for amount in shares.values())
    assert all(count <= 2 for count in halves_of.values())
