"""Plans, checked by a reader that looks after every single write: old, new or incomplete, never a mixture."""

from __future__ import annotations

import random
from dataclasses import replace as with_

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from devices.slices.slice_inventories import partitioned, plain, taint
from devices.slices.slice_model import INCOMPLETE, POOL, Conflict, ModelApi, Told
from fairlead.devices.inventory import Inventory
from fairlead.devices.slices.layout import compute_layout
from fairlead.devices.slices.names import FIRST, Slot, slice_name, slot_of
from fairlead.devices.slices.plan import Plan, Write, assignment, compute_plan, compute_withdrawal
from fairlead.kube.objects import ObjectMeta, ResourcePool

States = list[tuple[Inventory, dict]]


def plan_of(api: ModelApi, inventory: Inventory, taints: dict, mark: str = "me") -> Plan:
    existing = api.list()
    return compute_plan(POOL, existing, compute_layout(inventory, taints, assignment(POOL, existing)), mark=mark)


def told_by(inventory: Inventory, taints: dict) -> Told:
    api = ModelApi()
    for write in plan_of(api, inventory, taints).writes:
        api.apply(write)
    return api.read()


def publish(api: ModelApi, inventory: Inventory, taints: dict | None = None, mark: str = "me") -> Plan:
    plan = plan_of(api, inventory, taints or {}, mark)
    for write in plan.writes:
        api.apply(write)
    return plan


@st.composite
def states(draw, *, most: int = 4) -> States:
    """Inventories that follow one another on a node, of none to several slices."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    found: States = []
    for _ in range(draw(st.integers(1, most))):
        base = draw(st.sampled_from([plain(0), plain(3), plain(130), plain(300), partitioned(1), partitioned(10)]))
        kept = draw(st.sampled_from([1.0, 0.95, 0.5]))
        part = with_(base, devices=tuple(d for d in base.devices if chance.random() < kept))
        share = draw(st.sampled_from([0.0, 0.02]))
        found.append((part, {d.name: (taint(),) for d in part.devices if chance.random() < share}))
        if part.devices and draw(st.booleans()):
            # The same, but one device has a taint more.
            found.append((part, {**found[-1][1], part.devices[0].name: (taint("NoSchedule", "Hot"),)}))
    return found


@settings(max_examples=60)
@given(states())
def test_no_reader_sees_a_torn_pool(sequence: States) -> None:
    api, before = ModelApi(), None
    for inventory, taints in sequence:
        after = told_by(inventory, taints)
        for write in plan_of(api, inventory, taints).writes:
            api.apply(write)
            assert api.read() in (before, INCOMPLETE, after)
        assert api.read() == after
        assert plan_of(api, inventory, taints).writes == ()
        before = after


@settings(max_examples=40)
@given(states(most=3), st.data())
def test_a_crash_at_any_write_and_a_restart_with_anything_else(sequence: States, data: st.DataObject) -> None:
    api, before = ModelApi(), None
    for number, (inventory, taints) in enumerate(sequence):
        after = told_by(inventory, taints)
        plan = plan_of(api, inventory, taints, mark=f"process {number}")
        for write in plan.writes[: data.draw(st.integers(0, len(plan.writes)))]:
            api.apply(write)
            assert api.read() in (before, INCOMPLETE, after)
        # It died here; the next process wants the next state, and must not take up the rest of this one.
        before = api.read()
    inventory, taints = sequence[-1]
    publish(api, inventory, taints, mark="the last")
    assert api.read() == told_by(inventory, taints)
    assert all(s.spec.pool.resource_slice_count == len(api.slices) for s in api.list())


@settings(max_examples=60)
@given(states(most=2), st.integers(0, 2**32))
def test_two_writers_of_different_minds_never_tear(sequence: States, seed: int) -> None:
    chance = random.Random(seed)
    api = ModelApi()
    publish(api, *sequence[0], mark="before")
    minds = {"old": sequence[0], "new": sequence[-1]}
    allowed = {told_by(*state) for state in minds.values()} | {INCOMPLETE}
    queued: dict[str, list[Write]] = {"old": [], "new": []}
    for _ in range(60):
        mark = chance.choice(["old", "new"])
        if not queued[mark]:
            queued[mark] = list(plan_of(api, *minds[mark], mark=mark).writes)
        elif chance.random() < 0.9:
            try:
                api.apply(queued[mark].pop(0))
            except Conflict:
                queued[mark] = []
            assert api.read() in allowed
        else:
            queued[mark] = []
    publish(api, *minds["new"], mark="new")
    assert api.read() == told_by(*minds["new"])


@given(st.integers(0, 2**32), st.booleans())
def test_two_writers_that_each_change_another_slice_never_tear(seed: int, owner_is_one: bool) -> None:
    chance = random.Random(seed)
    base = partitioned(10)
    api = ModelApi()
    publish(api, base, mark="old" if owner_is_one else "before")
    minds = {"old": (base, {base.devices[0].name: (taint(),)}), "new": (base, {base.devices[-1].name: (taint(),)})}
    allowed = {told_by(base, {}), INCOMPLETE, *(told_by(*state) for state in minds.values())}
    queued: dict[str, list[Write]] = {"old": [], "new": []}
    for _ in range(24):
        mark = chance.choice(["old", "new"])
        if not queued[mark]:
            queued[mark] = list(plan_of(api, *minds[mark], mark=mark).writes)
            continue
        try:
            api.apply(queued[mark].pop(0))
        except Conflict:
            queued[mark] = []
        assert api.read() in allowed


def test_nothing_to_do_is_no_write() -> None:
    api = ModelApi()
    assert publish(api, partitioned(2)).generation == 1
    again = plan_of(api, partitioned(2), {}, mark="another process")
    assert (again.generation, again.writes) == (1, ())


def test_a_single_slice_is_updated_in_place() -> None:
    api = ModelApi()
    publish(api, plain(8))
    for state in (plain(5), plain(128), plain(0), plain(1)):
        plan = publish(api, state, mark="whoever")
        assert (plan.generation, [w.action for w in plan.writes]) == (1, ["update"])


def test_one_of_several_slices_is_updated_in_place_by_the_owner_of_all() -> None:
    inventory = partitioned(10)
    api = ModelApi()
    assert len(publish(api, inventory).writes) == 5
    plan = publish(api, inventory, {"npu-0": (taint(),)})
    assert (plan.generation, [w.action for w in plan.writes]) == (1, ["update"])
    # A new process may not: two of them could update two slices at once.
    plan = plan_of(api, inventory, {"npu-1": (taint(),)}, mark="another")
    assert (plan.generation, len(plan.writes)) == (2, 5)


def test_two_changed_slices_are_a_new_generation_begun_with_the_first_slot() -> None:
    inventory = partitioned(10)
    api = ModelApi()
    publish(api, inventory)
    ends = {inventory.devices[0].name: (taint(),), inventory.devices[-1].name: (taint(),)}
    plan = plan_of(api, inventory, ends)
    assert plan.generation == 2
    assert plan.writes[0].slice.metadata.name == slice_name(POOL.driver, POOL.name, FIRST)
    assert {w.slice.spec.pool.generation for w in plan.writes} == {2}


def test_times_of_taints_are_kept_by_updates() -> None:
    api = ModelApi()
    publish(api, plain(3), {"dev-0": (taint(),)})
    (first,) = api.list()
    added = first.spec.devices[0].taints[0].time_added
    publish(api, plain(3), {"dev-0": (taint(),), "dev-1": (taint(),)})
    (second,) = api.list()
    assert second.spec.devices[0].taints[0].time_added == added
    assert second.spec.devices[1].taints[0].time_added not in (None, added)


def test_slices_of_a_former_driver_with_other_names_are_replaced() -> None:
    api = ModelApi()
    publish(api, plain(3))
    (mine,) = api.list()
    foreign = replace(mine, metadata=ObjectMeta(name="0-gpu.example.com-node-1-x7x2p"))
    api = ModelApi()
    api.apply(
        Write(
            "create",
            replace(
                foreign,
                spec=replace(foreign.spec, pool=ResourcePool(generation=7, name="node-1", resource_slice_count=1)),
            ),
        )
    )
    before = api.read()
    plan = plan_of(api, plain(4), {})
    assert [(w.action, w.slice.spec.pool.generation) for w in plan.writes] == [("create", 8), ("delete", 7)]
    for write in plan.writes:
        api.apply(write)
        assert api.read() in (before, told_by(plain(4), {}))


def test_a_withdrawal_never_brings_back_what_was_before() -> None:
    api = ModelApi()
    publish(api, plain(3))
    foreign = replace(api.list()[0], metadata=ObjectMeta(name="0-gpu.example.com-node-1-x7x2p"))
    api = ModelApi()
    api.apply(Write("create", foreign))
    # The process died before it deleted the slice of the generation before.
    api.apply(plan_of(api, plain(4), {}).writes[0])
    for write in compute_withdrawal(api.list()):
        api.apply(write)
        assert api.read() in (told_by(plain(4), {}), None)
    assert api.list() == []


def test_names_fit_and_come_back() -> None:
    for driver, pool in (("a", "b-c"), ("a-b", "c"), ("d" * 63, "p." * 126 + "p"), ("x.y", "rack/node.1")):
        for slot in (FIRST, Slot("counters", 7), Slot("devices", 1234)):
            name = slice_name(driver, pool, slot)
            assert len(name) <= 253
            assert slot_of(driver, pool, name) == slot
            assert slot_of("other", pool, name) is None
    assert slice_name("b-c", "a", FIRST) != slice_name("c", "a-b", FIRST)
    assert slot_of("a", "b", "0-a-b-7fx2p") is None


def test_a_slice_without_a_mark_is_nobodys() -> None:
    api = ModelApi()
    publish(api, partitioned(10))
    bare = replace(api.list()[0], metadata=replace(api.list()[0].metadata, annotations={}))
    api.apply(Write("update", bare))
    assert plan_of(api, partitioned(10), {"npu-0": (taint(),)}).generation == 2
