"""Where adapters go: against all arrangements of small cases, and what always holds of random ones."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.serving.adapters.placement import (
    HOLD_S,
    AdapterNeed,
    EngineSlots,
    grant,
    place,
    wanted_copies,
)
from fairlead.serving.adapters.spread import spread


def engine(name, slots=2, loaded=(), group="g", usable=True, since_s=100.0):
    return EngineSlots(name, group, slots, dict.fromkeys(loaded, since_s), usable)


def carried_out(engines, placement):
    """The engines after a step."""
    after = []
    for e in engines:
        gone = {a for n, a in placement.unloads if n == e.name}
        new = {a for n, a in placement.loads if n == e.name}
        after.append(
            replace(e, loaded={**{a: s for a, s in e.loaded.items() if a not in gone}, **dict.fromkeys(new, 0.0)})
        )
    return after


def settled(needs, engines, rounds=60):
    """The engines once nothing is left to do."""
    for _ in range(rounds):
        step = place(needs, engines)
        if not step.loads and not step.unloads:
            return engines
        engines = carried_out(engines, step)
    raise AssertionError("it does not come to rest")


# Against all arrangements


def arrangements(counts, engines):
    """Every way to give each adapter its copies on engines of their own, within slots."""
    names = [e[0] for e in engines]
    slots = {e[0]: e[1] for e in engines}
    choices = [list(itertools.combinations(names, counts[a])) for a in counts]
    for chosen in itertools.product(*choices):
        used = [e for combination in chosen for e in combination]
        if all(used.count(n) <= slots[n] for n in names):
            yield {(e, a) for a, combination in zip(counts, chosen, strict=True) for e in combination}


ROWS = [
    rows
    for slots in ((1, 1), (2, 1), (1, 1, 1), (2, 2), (2, 1, 1), (3, 1, 1))
    for rows in [[(f"e{n}", s) for n, s in enumerate(slots)]]
]


@pytest.mark.parametrize("rows", ROWS, ids=lambda r: "-".join(str(s) for _, s in r))
def test_the_number_of_loads_is_the_least_there_can_be(rows):
    adapters = ("a", "b", "c")
    subsets = [[frozenset(c) for n in range(s + 1) for c in itertools.combinations(adapters, n)] for _, s in rows]
    for loaded in itertools.product(*subsets):
        engines = [(name, slots, have) for (name, slots), have in zip(rows, loaded, strict=True)]
        for numbers in itertools.product(range(len(rows) + 1), repeat=3):
            counts = dict(zip(adapters, numbers, strict=True))
            loads = [
                len({(e, a) for e, a in way if a not in dict(zip([r[0] for r in rows], loaded, strict=True))[e]})
                for way in arrangements(counts, engines)
            ]
            found = spread(counts, engines)
            have = {e: names for e, _, names in engines}
            if loads:
                assert {a: sum(b == a for _, b in found) for a in adapters} == counts
                assert sum(a not in have[e] for e, a in found) == min(loads), (engines, counts, found)
            for e, s, _ in engines:
                assert sum(n == e for n, _ in found) <= s


@pytest.mark.parametrize("slots", [(1,), (1, 1), (2, 1), (3, 1), (1, 1, 1), (3, 1, 1), (2, 2, 1), (4, 2, 1)])
def test_copies_are_granted_where_and_only_where_they_fit(slots):
    engines = [engine(f"e{n}", s) for n, s in enumerate(slots)]
    rows = [(e.name, e.slots) for e in engines]
    for least in itertools.product(range(len(slots) + 1), repeat=3):
        needs = [AdapterNeed(n, least=x, idle_s=1e9) for n, x in zip("abc", least, strict=True)]
        counts, missing = grant(needs, engines)
        assert next(arrangements(counts, rows), None) is not None
        for name in missing:
            more = {**counts, name: counts[name] + 1}
            assert next(arrangements(more, rows), None) is None, (slots, least, counts)


# What always holds

NEEDS = st.lists(
    st.builds(
        AdapterNeed,
        st.sampled_from(["a", "b", "c", "d", "e"]),
        least=st.integers(0, 3),
        most=st.integers(0, 3).map(lambda n: n and n + 3),
        in_flight=st.sampled_from([0.0, 0.5, 3.0, 9.0, 40.0]),
        idle_s=st.sampled_from([0.0, 10.0, 400.0]),
        asked_s=st.sampled_from([None, None, 0.0, 3.0]),
    ),
    max_size=5,
    unique_by=lambda n: n.name,
)
ENGINES = st.lists(
    st.builds(
        lambda slots, loaded, group, usable, since: engine("", slots, loaded[: slots + 1], group, usable, since),
        st.integers(0, 3),
        st.lists(st.sampled_from(["a", "b", "c", "d", "e", "old"]), unique=True),
        st.sampled_from(["g", "g", "h"]),
        st.booleans() | st.just(True),
        st.sampled_from([0.0, 100.0]),
    ),
    max_size=5,
).map(lambda found: [replace(e, name=f"e{n}") for n, e in enumerate(found)])


@settings(max_examples=200, deadline=None)
@given(NEEDS, ENGINES)
def test_steps_keep_to_slots_and_leave_engines_alone_that_go(needs, engines):
    step = place(needs, engines)
    assert step == place(list(reversed(needs)), list(reversed(engines)))
    by_name = {e.name: e for e in engines}
    for name, _ in (*step.loads, *step.unloads):
        assert by_name[name].usable
    for name, adapter in step.loads:
        assert adapter not in by_name[name].loaded
        assert (name, adapter) in step.target
    for name, adapter in step.unloads:
        assert adapter in by_name[name].loaded
    for e in engines:
        # Loads go into slots that are free before anything is unloaded.
        loads = sum(n == e.name for n, _ in step.loads)
        assert loads == 0 or len(e.loaded) + loads <= e.slots
        assert sum(n == e.name for n, _ in step.target) <= e.slots


@settings(max_examples=150, deadline=None)
@given(NEEDS, ENGINES)
def test_it_comes_to_rest_with_the_bounds_kept(needs, engines):
    after = settled(needs, engines)
    for group in {e.group for e in after}:
        usable = [e for e in after if e.group == group and e.usable]
        have = {n.name: sum(n.name in e.loaded for e in usable) for n in needs}
        for e in usable:
            assert len(e.loaded) <= e.slots
            assert set(e.loaded) <= {n.name for n in needs}
        for need in needs:
            assert have[need.name] <= (need.most or len(usable))
        if sum(min(n.least, len(usable)) for n in needs) <= min((e.slots for e in usable), default=0) * len(usable):
            for need in needs:
                assert have[need.name] >= min(need.least, need.most or len(usable), len(usable))


@settings(max_examples=150, deadline=None)
@given(NEEDS, ENGINES)
def test_an_adapter_that_stays_wanted_is_never_gone_from_a_group_but_to_break_a_deadlock(needs, engines):
    for _ in range(40):
        step = place(needs, engines)
        if not step.loads and not step.unloads:
            return
        after = carried_out(engines, step)
        for name, adapter in step.unloads:
            group = next(e.group for e in engines if e.name == name)
            wanted = any(a == adapter and n in {e.name for e in engines if e.group == group} for n, a in step.target)
            left = any(adapter in e.loaded for e in after if e.group == group and e.usable)
            if wanted and not left:
                assert not step.loads
                assert len(step.unloads) == 1 or all(
                    next(e.group for e in engines if e.name == n) != group for n, _ in step.unloads if n != name
                )
        engines = after


# Single cases


def test_minima_come_first_then_who_is_asked_for_then_the_busiest():
    needs = [
        AdapterNeed("least", least=1, idle_s=1e9),
        AdapterNeed("cold", least=0, idle_s=200.0),
        AdapterNeed("asked", least=0, idle_s=1e9, asked_s=1.0),
        AdapterNeed("busy", least=0, in_flight=20.0),
    ]
    engines = [engine("e1", 2, ["cold"]), engine("e2", 2, [])]
    after = settled(needs, engines)
    assert sorted(a for e in after for a in e.loaded) == ["asked", "busy", "busy", "least"]


def test_a_hot_adapter_gets_copies_and_gives_them_up_by_a_margin():
    need = AdapterNeed("a", in_flight=17.0)
    assert wanted_copies(need, 4, 1) == 3
    assert wanted_copies(replace(need, in_flight=15.0), 4, 3) == 3
    assert wanted_copies(replace(need, in_flight=11.0), 4, 3) == 2
    assert wanted_copies(replace(need, in_flight=0.0, idle_s=299.0), 4, 3) == 1
    assert wanted_copies(replace(need, most=2), 4, 1) == 2
    assert wanted_copies(replace(need, in_flight=1000.0), 4, 1) == 4


def test_a_number_that_swings_within_the_margin_moves_nothing():
    engines = settled([AdapterNeed("a", in_flight=16.5)], [engine(f"e{n}", 1) for n in range(4)])
    for in_flight in (15.0, 23.9, 12.0, 20.0):
        step = place([AdapterNeed("a", in_flight=in_flight)], engines)
        assert (step.loads, step.unloads) == ((), ())


def test_an_idle_one_gives_its_slot_back_beyond_its_minimum():
    engines = [engine("e1", 4, ["a", "b"])]
    idle = [AdapterNeed("a", least=0, idle_s=301.0), AdapterNeed("b", least=1, idle_s=301.0)]
    assert place(idle, engines).unloads == (("e1", "a"),)


def test_more_that_are_asked_for_than_slots_take_turns():
    engines = [engine("e1", 1, ["a"], since_s=HOLD_S - 1)]
    needs = [AdapterNeed("a", least=0, in_flight=3.0), AdapterNeed("b", least=0, idle_s=1e9, asked_s=0.5)]
    step = place(needs, engines)
    assert (step.loads, step.unloads, step.short) == ((), (), {"b": 1})
    step = place(needs, [engine("e1", 1, ["a"], since_s=HOLD_S)])
    assert (step.unloads, step.short) == ((("e1", "a"),), {"a": 1})


def test_engines_of_a_new_revision_get_their_share_while_the_old_serve():
    needs = [AdapterNeed("a"), AdapterNeed("b", least=2)]
    old = [engine("old-0", 2, ["a", "b"], "old"), engine("old-1", 2, ["b"], "old")]
    step = place(needs, [*old, engine("new-0", 2, [], "new")])
    assert set(step.loads) == {("new-0", "a"), ("new-0", "b")}
    assert step.unloads == ()


def test_one_that_leaves_gets_none_and_another_takes_over_what_it_had():
    needs = [AdapterNeed("a")]
    step = place(needs, [engine("e1", 2, ["a"], usable=False), engine("e2", 2)])
    assert (step.loads, step.unloads) == ((("e2", "a"),), ())


def test_two_that_swap_their_places_do_not_wait_for_each_other():
    # `b` may only be on both engines if `a` makes room, and all slots are full.
    needs = [AdapterNeed("a"), AdapterNeed("b", least=2), AdapterNeed("c")]
    after = settled(needs, [engine("e1", 2, ["a", "c"]), engine("e2", 2, ["b", "old"])])
    assert sorted((e.name, sorted(e.loaded)) for e in after) in (
        [("e1", ["b", "c"]), ("e2", ["a", "b"])],
        [("e1", ["a", "b"]), ("e2", ["b", "c"])],
    )


def test_many_of_both_are_placed_at_once():
    needs = [AdapterNeed(f"a{n:03}", least=3) for n in range(200)]
    engines = [engine(f"e{n:02}", 12) for n in range(60)]
    after = settled(needs, engines)
    counts = [len(e.loaded) for e in after]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == 600
