"""What followed what, of small timelines worked out by hand."""

from __future__ import annotations

from bench.replicas.made import even, life, line
from fairlead.bench.replicas.load_seen import LoadSeen
from fairlead.bench.replicas.reactions import Leg, load_turns, reactions, scale_steps, shifts, turns
from fairlead.bench.replicas.steps import Steps

QUIET = Leg(0, "quiet", 0.0, 60.0, 1.0, 1.0)
STEP = Leg(1, "step", 60.0, 200.0, 4.0, 4.0)
AFTER = Leg(2, "after", 200.0, 300.0, 1.0, 1.0)
LEGS = (QUIET, STEP, AFTER)
"""The load rises at 60 s and falls at 200 s."""


def test_a_load_shifts_where_it_is_another_one() -> None:
    found = shifts(LEGS)
    assert [(s.at_s, s.until_s, s.up) for s in found] == [(0.0, 60.0, True), (60.0, 200.0, True), (200.0, 300.0, False)]
    assert load_turns(found) == 1


def test_a_ramp_that_goes_on_at_its_height_is_one_shift() -> None:
    legs = [Leg(0, "ramp", 0.0, 10.0, 1.0, 5.0), Leg(1, "hold", 10.0, 20.0, 5.0, 5.0), Leg(2, "", 20.0, 30.0, 5.0, 1.0)]
    assert [(s.at_s, s.until_s, s.up) for s in shifts(legs)] == [(0.0, 20.0, True), (20.0, 30.0, False)]


def test_a_stage_that_jumps_up_and_falls_counts_by_its_jump() -> None:
    legs = [Leg(0, "", 0.0, 10.0, 1.0, 1.0), Leg(1, "spike", 10.0, 20.0, 9.0, 1.0)]
    assert [s.up for s in shifts(legs)] == [True, True]
    assert shifts([]) == ()


def test_turns_are_steps_the_other_way_soon_after_the_one_before() -> None:
    up_down_up = Steps((0.0, 10.0, 40.0, 400.0), (1.0, 3.0, 2.0, 3.0))
    assert turns(up_down_up, 300.0) == 1
    assert turns(up_down_up, 400.0) == 2
    assert turns(Steps((0.0, 10.0, 20.0), (1.0, 2.0, 3.0)), 300.0) == 0
    unknown = Steps((0.0, 10.0, 15.0, 20.0), (1.0, 3.0, None, 1.0))
    assert turns(unknown, 300.0) == 1


FLEET = line(
    [(0.0, 1.0), (75.0, 2.0), (80.0, 3.0), (230.0, 1.0)],
    [
        life("a", -50.0, -40.0),
        life("b", 77.0, 95.0, 231.0, 240.0, created=76.0),
        life("c", 82.0, 110.0, 231.0, 262.0, created=81.0),
    ],
)
"""Two more replicas, ready 35 and 50 s after the load has risen, and gone 32 s after they are not wanted."""


def test_every_step_says_when_it_was_carried_out() -> None:
    failures = (100.0, 235.0, 236.0, 280.0)
    load = LoadSeen(0.125, tuple(() for _ in range(7)), failures)
    one, two, down = scale_steps(FLEET, 300.0, load)
    assert (one.at_s, one.before, one.after, one.scheduled_s, one.ready_s, one.overtaken) == (75, 1, 2, 77, 95, False)
    assert (two.at_s, two.before, two.after, two.scheduled_s, two.ready_s) == (80, 2, 3, 82, 110)
    assert (down.at_s, down.before, down.after, down.gone_s, down.ready_s) == (230, 3, 1, 262, None)
    assert [step.failed for step in (one, two, down)] == [0, 1, 2]


def test_a_step_that_is_taken_back_before_it_is_ready_was_overtaken_and_one_that_the_end_cut_off_was_not() -> None:
    hasty = line([(0.0, 1.0), (10.0, 4.0), (15.0, 2.0)], [life("a", 0.0, 0.0), life("b", 11.0, 18.0, created=10.0)])
    up, down = scale_steps(hasty, 100.0)
    assert (up.ready_s, up.overtaken) == (None, True)
    assert (down.gone_s, down.overtaken) == (15.0, False), "no more than two were ever on nodes"
    (late,) = scale_steps(line([(0.0, 1.0), (90.0, 2.0)], [life("a", 0.0, 0.0)]), 100.0)
    assert (late.scheduled_s, late.ready_s, late.overtaken) == (None, None, False)
    assert scale_steps(line([(0.0, 1.0), (90.0, 2.0)], []), 80.0) == ()


def test_a_reaction_says_how_long_it_took_and_what_was_lost_meanwhile() -> None:
    # Overloaded from 60 s until the third replica has worked off what had piled up, at 120 s.
    load = even([(0, 60, 8, 1.0), (60, 120, 32, 0.25), (120, 200, 32, 1.0), (200, 300, 8, 1.0)])
    (found,) = reactions(FLEET, shifts(LEGS), load, 0.9, 5.0)
    assert (found.stage, found.name, found.rise_s, found.until_s) == (1, "step", 60.0, 200.0)
    assert (found.before, found.after) == (1, 3)
    assert (found.desired_s, found.first_ready_s, found.ready_s) == (75.0, 95.0, 110.0)
    assert (found.judged, found.lost) == (140 * 32, 60 * 24)
    assert (found.short_s, found.recovered_s) == (60.0, 120.0)


def test_without_an_objective_nothing_is_said_of_what_was_lost() -> None:
    (found,) = reactions(FLEET, shifts(LEGS), even([(0, 300, 8, 0.0)]), None, 5.0)
    assert (found.judged, found.lost, found.short_s, found.recovered_s) == (None, None, None, None)


def test_nothing_done_and_not_recovered_is_said_as_such() -> None:
    idle = line([(0.0, 1.0)], [life("a", 0.0, 0.0)])
    (found,) = reactions(idle, shifts(LEGS), even([(0, 60, 8, 1.0), (60, 300, 8, 0.5)]), 0.9, 5.0)
    assert (found.before, found.after, found.desired_s, found.ready_s) == (1, 1, None, None)
    assert (found.short_s, found.recovered_s) == (140.0, None)


def test_the_beginning_counts_where_something_came_of_it() -> None:
    from_none = line([(0.0, 0.0), (2.0, 1.0)], [life("a", 4.0, 9.0, created=3.0)])
    load = even([(0, 10, 8, 0.0), (10, 300, 8, 1.0)])
    first, second = reactions(from_none, shifts(LEGS), load, 0.9, 5.0)
    assert (first.rise_s, first.before, first.after, first.desired_s, first.ready_s) == (0.0, 0, 1, 2.0, 9.0)
    assert (first.lost, first.recovered_s) == (80, 10.0)
    assert (second.desired_s, second.short_s, second.recovered_s) == (None, 0.0, None)


def test_what_was_wanted_while_nobody_looked_is_no_reaction_before_it_is_seen() -> None:
    hidden = line([(0.0, 1.0), (75.0, 2.0)], [life("a", 0.0, 0.0)], gaps=[(70.0, 90.0)])
    (found,) = reactions(hidden, shifts(LEGS), even([(0, 300, 8, 1.0)]), 0.9, 5.0)
    assert found.desired_s == 90.0
