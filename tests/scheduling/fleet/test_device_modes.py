"""A book in `upstream` mode gives what the allocator gives for the same node alone; both modes on fleets of nodes that
are alike and not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.scheduling.allocator import Allocated, DeviceId, Fault, InUse
from fairlead.scheduling.fleet.device_book import DeviceBook, Offer, Refusal
from fairlead.scheduling.fleet.device_profiles import Mode
from scheduling.allocator.allocator_objects import DRIVER, decide, device, request, slice_of, subrequest
from scheduling.fleet.device_objects import book_of, claim_of, device_class, gpus, node_slice, take


@st.composite
def _devices(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for i in range(draw(st.integers(1, 6))):
        fields: dict[str, Any] = {}
        if draw(st.integers(0, 4)) == 0:
            fields["taints"] = [{"key": "k", "effect": "NoSchedule"}]
        found.append(device(f"d{i}", attributes={"root": draw(st.integers(0, 2))}, **fields))
    return found


@st.composite
def _requests(draw: st.DrawFn) -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = []
    for r in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            requests.append(request(f"r{r}", draw(st.integers(1, 3))))
        else:
            ways = [subrequest(f"s{s}", draw(st.integers(1, 3))) for s in range(2)]
            requests.append({"name": f"r{r}", "firstAvailable": ways})
    return requests


@settings(max_examples=200, deadline=None)
@given(_devices(), _requests(), st.sampled_from(["matchAttribute", "distinctAttribute", ""]), st.data())
def test_upstream_mode_is_the_allocators(
    devices: list[dict[str, Any]], requests: list[dict[str, Any]], kind: str, data: st.DataObject
) -> None:
    held = data.draw(st.sets(st.sampled_from([each["name"] for each in devices]), max_size=2))
    constraints = [{kind: f"{DRIVER}/root"}] if kind else []
    asked = claim_of("claim", *requests, constraints=constraints)
    described = msgspec.to_builtins(asked)
    alone = decide(
        [slice_of(devices, pool="n1")],
        described,
        in_use=InUse(frozenset(DeviceId(DRIVER, "n1", name) for name in held)),
    )
    book = book_of({"n1": [node_slice("n1", devices)]}, mode="upstream")
    results = [{"request": "r", "driver": DRIVER, "pool": "n1", "device": name} for name in sorted(held)]
    book.hold("others", msgspec.convert({"devices": {"results": results}}, AllocationResult))
    wants = book.wants([asked])
    offer = book.offer(wants, "n1")
    if not isinstance(alone, Allocated):
        assert not isinstance(offer, Offer)
        return
    assert isinstance(offer, Offer)
    made = book.take(wants, "n1", offer, [asked])
    assert made["claim"] == alone.allocations[0]


@pytest.mark.parametrize("mode", ["best", "upstream"])
def test_nodes_that_are_alike_share_their_answers(mode: Mode) -> None:
    book = book_of({f"n{i}": [node_slice(f"n{i}", gpus(4))] for i in range(3)}, mode=mode)
    asked = claim_of("one", request(count=2), constraints=[{"matchAttribute": f"{DRIVER}/root"}])
    wants = book.wants([asked])
    assert book.offer(wants, "n0") is book.offer(wants, "n1")
    take(book, claim_of("two"), "n1")
    assert book.offer(wants, "n0") is not book.offer(wants, "n1")
    take(book, claim_of("three"), "n0")
    assert book.offer(wants, "n0") is book.offer(wants, "n1")


def test_names_that_a_constraint_or_a_selector_reads_tell_nodes_apart_only_where_they_matter() -> None:
    def named(node: str, *roots: str) -> list[dict[str, Any]]:
        return [device(f"gpu-{i}", attributes={"root": f"{node}-{root}"}) for i, root in enumerate(roots)]

    book = book_of(
        {
            "a": [node_slice("a", named("a", "x", "x", "y"))],
            "b": [node_slice("b", named("b", "p", "p", "q"))],
            "c": [node_slice("c", named("c", "x", "y", "y"))],
        }
    )
    pair = book.wants([claim_of("one", request(count=2), constraints=[{"matchAttribute": f"{DRIVER}/root"}])])
    assert book.offer(pair, "a") is book.offer(pair, "b")
    assert _positions(book, pair, "a") == [0, 1] and _positions(book, pair, "c") == [1, 2]
    chosen = request(selectors=[{"cel": {"expression": f'device.attributes["{DRIVER}"].root == "b-q"'}}])
    only = book.wants([claim_of("two", chosen)])
    assert _positions(book, only, "b") == [2] and not isinstance(book.offer(only, "a"), Offer)


def test_shares_get_ids_of_their_own_and_messages_name_the_claim_as_the_pod_does() -> None:
    shared = [device("nic", allowMultipleAllocations=True, capacity={"bandwidth": "10"})]
    book = book_of({"a": [node_slice("a", shared)]}, device_class())
    asked = request(capacity={"requests": {"bandwidth": "4"}})
    claims: list[ResourceClaim] = [claim_of(f"pod-{i}-net-xyz", asked, pod_claim="net") for i in range(3)]
    for claim in claims[:2]:
        assert take(book, claim, "a") == ("nic",)
    ids = []
    for claim in claims[:2]:
        allocation = book.allocation_of(claim.metadata.uid)
        assert allocation is not None and allocation.devices is not None
        ids += [result.share_id for result in allocation.devices.results]
    assert len(set(ids)) == 2 and all(ids)
    assert "claim net, request r: found 0 of 1 devices; 1 without enough capacity" in str(
        book.offer(book.wants(claims[2:]), "a")
    )


def _positions(book: DeviceBook, wants: Any, node: str) -> list[int]:
    offer = book.offer(wants, node)
    assert isinstance(offer, Offer)
    return [given.position for given in offer.given]


def test_claims_that_wear_out_every_search_do_not_keep_others_waiting() -> None:
    """Nodes that are all different, and a claim that none can serve, in more ways than a search can try."""

    def odd(node: int) -> list[dict[str, Any]]:
        # Three values each, of 31: ten devices without a common one, never eleven.
        roots = [[i, (i + 1 + node % 5) % 31, (i + 9 + node // 5) % 31] for i in range(31)]
        return [device(f"d{i}", attributes={"root": root}) for i, root in enumerate(roots)]

    book = book_of({f"n{i}": [node_slice(f"n{i}", odd(i))] for i in range(12)})
    wants = book.wants([claim_of("one", request(count=11), constraints=[{"distinctAttribute": f"{DRIVER}/root"}])])
    steps = []
    for i in range(12):
        refusal = book.offer(wants, f"n{i}")
        assert isinstance(refusal, Refusal) and refusal.fault is Fault.BUDGET and not refusal.is_final
        assert "without an answer" in str(refusal)
        steps.append(refusal.steps)
    assert max(steps[-4:]) < min(steps[:4]) / 5, steps
