"""The device book: facts and holdings in and out, one by one; the same answers as if all were read anew."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.kube.objects.devices import DeviceTaintRule, ResourceClaim, ResourceSlice
from fairlead.scheduling.fleet.device_book import Offer, Refusal
from scheduling.allocator.allocator_objects import DRIVER, device, request, slice_of
from scheduling.fleet.device_objects import book_of, claim_of, device_class, gpus, halves, node_slice, take


def test_claims_of_one_template_want_the_same() -> None:
    book = book_of({"a": [node_slice("a", gpus(2))]})
    one, other = claim_of("one"), claim_of("other")
    wants = book.wants([one])
    assert book.wants([other]) is wants
    assert book.wants([claim_of("two", request(count=2))]) is not wants
    assert book.wants([one, other]) is not wants


def test_a_claim_takes_and_gives_back() -> None:
    book = book_of({"a": [node_slice("a", gpus(2))]})
    book.take_changed()
    assert take(book, claim_of("one"), "a") == ("gpu-0",)
    assert book.take_changed() == {"a"}
    assert take(book, claim_of("two"), "a") == ("gpu-1",)
    assert take(book, claim_of("three"), "a") is None
    refusal = book.offer(book.wants([claim_of("three")]), "a")
    assert isinstance(refusal, Refusal) and not refusal.is_final
    assert str(refusal) == "cannot allocate all claims: claim gpu, request r: found 0 of 1 devices; 2 in use"
    held = book.allocation_of("one")
    assert held is not None and book.release("one") is held and book.release("one") is None
    assert take(book, claim_of("three"), "a") == ("gpu-0",)
    book.release("three")
    book.hold("one", held)
    book.hold("one", held)
    assert take(book, claim_of("three"), "a") is None


def test_an_offer_is_void_once_others_took_the_devices() -> None:
    book = book_of({"a": [node_slice("a", gpus(1))]})
    wants = book.wants([claim_of("one")])
    offer = book.offer(wants, "a")
    assert isinstance(offer, Offer)
    take(book, claim_of("two"), "a")
    with pytest.raises(ValueError, match="node a has changed since"):
        book.take(wants, "a", offer, [claim_of("one")])


def test_only_nodes_that_a_change_reaches_are_named() -> None:
    book = book_of({name: [node_slice(name, gpus(2))] for name in "abc"})
    assert book.take_changed() is None
    assert book.take_changed() == set()
    for name in "abc":
        book.offer(book.wants([claim_of("one")]), name)
    take(book, claim_of("one"), "b")
    assert book.take_changed() == {"b"}
    book.set_slice(node_slice("c", gpus(3)))
    assert book.take_changed() == {"c"}
    book.set_slice(node_slice("c", gpus(3)))
    assert book.take_changed() == set(), "a slice that says the same changes nothing"
    book.remove_slice("c-slice")
    assert book.take_changed() == {"c"}
    book.set_class(device_class("any", "true"))
    assert book.take_changed() is None


def test_devices_on_the_network_are_held_for_all_nodes() -> None:
    shared = slice_of([device("fpga")], name="net", pool="net", allNodes=True)
    book = book_of({"a": [msgspec.convert(shared, ResourceSlice)], "b": []})
    for name in "ab":
        assert isinstance(book.offer(book.wants([claim_of("one")]), name), Offer)
    book.take_changed()
    assert take(book, claim_of("one"), "a") == ("fpga",)
    assert book.take_changed() == {"a", "b"}
    assert take(book, claim_of("two"), "b") is None


def test_counters_are_held_though_they_lie_in_a_slice_apart() -> None:
    book = book_of(
        {"a": halves("a"), "b": halves("b")},
        device_class("card", f'device.attributes["{DRIVER}"].kind == "card"'),
        device_class("half", f'device.attributes["{DRIVER}"].kind == "half"'),
    )
    half = [request(deviceClassName="half")]
    card = [request(deviceClassName="card")]
    assert take(book, claim_of("one", *half), "a") == ("card0-0",)
    assert take(book, claim_of("two", *card), "a") == ("card1",)
    assert take(book, claim_of("three", *card), "a") is None
    assert take(book, claim_of("three", *card), "b") == ("card0",)
    assert take(book, claim_of("four", *half), "a") == ("card0-1",)
    assert [row.id.device for row in book.device_table("a") if row.is_open] == []
    assert book.free_devices("b") == 3


def test_a_broken_pool_troubles_only_its_own_node() -> None:
    broken = halves("b")[1:]
    book = book_of({"a": halves("a"), "b": broken})
    everything = [request(count=0)]
    assert isinstance(book.offer(book.wants([claim_of("one", *everything)]), "b"), Refusal)
    refusal = book.offer(book.wants([claim_of("one", *everything)]), "a")
    assert isinstance(refusal, Refusal) and "being updated" not in str(refusal)
    assert take(book, claim_of("one"), "a") is not None


def test_taint_rules_come_and_go() -> None:
    book = book_of({"a": [node_slice("a", gpus(1))], "b": [node_slice("b", gpus(1))]})
    for name in "ab":
        book.offer(book.wants([claim_of("one")]), name)
    book.take_changed()
    rule = msgspec.convert(
        {
            "metadata": {"name": "rule", "uid": "rule"},
            "spec": {"deviceSelector": {"pool": "a"}, "taint": {"key": "broken", "effect": "NoSchedule"}},
        },
        DeviceTaintRule,
    )
    book.set_rules([rule])
    assert book.take_changed() == {"a"}
    refusal = book.offer(book.wants([claim_of("one")]), "a")
    assert isinstance(refusal, Refusal) and "1 tainted (broken=:NoSchedule)" in str(refusal)
    assert [row.taint for row in book.device_table("a")] == ["broken=:NoSchedule"]
    book.set_rules([])
    assert isinstance(book.offer(book.wants([claim_of("one")]), "a"), Offer)


def test_errors_of_a_claim_are_answers_and_final() -> None:
    book = book_of({"a": [node_slice("a", gpus(1))]}, device_class())
    unknown = book.offer(book.wants([claim_of("one", request(deviceClassName="none"))]), "a")
    assert isinstance(unknown, Refusal) and unknown.is_final
    assert "could not retrieve device class none" in str(unknown)
    wrong = request(selectors=[{"cel": {"expression": "device.nothing"}}])
    broken = book.offer(book.wants([claim_of("two", wrong)]), "a")
    assert isinstance(broken, Refusal) and broken.is_final and "CEL compile error" in str(broken)
    book.set_class(device_class("none"))
    assert isinstance(book.offer(book.wants([claim_of("one", request(deviceClassName="none"))]), "a"), Offer)


def test_a_device_that_left_its_slice_keeps_its_counters() -> None:
    """kubernetes/kubernetes#140806: they would be given out twice."""
    book = book_of({"a": halves("a", cards=1)})
    assert take(book, claim_of("one", request(selectors=_kind("half"))), "a") == ("card0-0",)
    counters, devices = halves("a", cards=1, generation=2)
    kept = [each for each in devices.spec.devices if each.name != "card0-0"]
    book.set_slice(counters)
    book.set_slice(msgspec.structs.replace(devices, spec=msgspec.structs.replace(devices.spec, devices=tuple(kept))))
    assert take(book, claim_of("two", request(selectors=_kind("card"))), "a") is None
    assert take(book, claim_of("two", request(selectors=_kind("half"))), "a") == ("card0-1",)
    book.release("two")
    book.release("one")
    assert take(book, claim_of("two", request(selectors=_kind("card"))), "a") == ("card0",)


def test_a_device_that_is_no_longer_shared_is_not_given_to_another_while_shares_are_held() -> None:
    shared = device("nic", allowMultipleAllocations=True, capacity={"bandwidth": "10"})
    book = book_of({"a": [node_slice("a", [shared])]})
    assert take(book, claim_of("one", request(capacity={"requests": {"bandwidth": "4"}})), "a") == ("nic",)
    book.set_slice(node_slice("a", [device("nic", capacity={"bandwidth": "10"})], generation=2))
    assert take(book, claim_of("two"), "a") is None
    book.release("one")
    assert take(book, claim_of("two"), "a") == ("nic",)


def test_nothing_is_given_of_counters_that_a_device_nobody_knows_takes_from() -> None:
    book = book_of({"a": halves("a", cards=1)})
    assert take(book, claim_of("one"), "a") is not None
    allocation = book.release("one")
    assert allocation is not None and allocation.devices is not None
    (result,) = allocation.devices.results
    stranger = msgspec.structs.replace(result, device="card0-9")
    devices = msgspec.structs.replace(allocation.devices, results=(stranger,))
    book.hold("one", msgspec.structs.replace(allocation, devices=devices))
    assert take(book, claim_of("two"), "a") is None
    book.release("one")
    assert take(book, claim_of("two"), "a") is not None


def test_what_a_node_has_for_a_claim_can_be_counted() -> None:
    book = book_of({"a": [node_slice("a", gpus(8))]})
    for i in range(2):
        take(book, claim_of(f"c{i}"), "a")
    (line,) = book.supply(book.wants([claim_of("many", request(count=8))]), "a")
    assert (line.request, line.wanted, len(line.open), len(line.matching)) == ("r", 8, 6, 8)
    assert [row.holders for row in book.device_table("a")][:3] == [("c0",), ("c1",), ()]


def test_room_counts_pods_that_fit_together() -> None:
    book = book_of({"a": [node_slice("a", gpus(8))]})
    wants = book.wants([claim_of("one", request(count=3))])
    assert book.room(wants, "a", 10) == 2
    assert book.room(wants, "a", 1) == 1
    take(book, claim_of("x", request(count=3)), "a")
    assert book.room(wants, "a", 10) == 1
    assert isinstance(book.offer(wants, "a"), Offer), "counting changes nothing"


def _kind(kind: str) -> list[dict[str, dict[str, str]]]:
    return [{"cel": {"expression": f'device.attributes["{DRIVER}"].kind == "{kind}"'}}]


def test_claims_of_several_pods_are_planned_together() -> None:
    book = book_of({"a": [node_slice("a", gpus(4))]})
    claims: list[ResourceClaim] = [claim_of(f"c{i}", request(count=2)) for i in range(2)]
    wants = book.wants(claims)
    offer = book.offer(wants, "a")
    assert isinstance(offer, Offer)
    made = book.take(wants, "a", offer, claims)
    assert made.keys() == {"c0", "c1"}
    assert sorted(each.device for uid in made for each in book.held_by(uid)) == [f"gpu-{i}" for i in range(4)]
