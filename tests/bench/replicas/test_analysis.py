"""A whole run with what scaled in it: figures, reports of them, and runs of which little can be said."""

from __future__ import annotations

import io
from html import escape
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bench.replicas.made import even, life, line
from bench.report.made import one_run, records
from fairlead.bench.config import Benchmark
from fairlead.bench.config.read import read_config
from fairlead.bench.record import Outcome
from fairlead.bench.replicas.analysis import analyse, legs_of, slice_of, with_scaling
from fairlead.bench.replicas.load_seen import LoadMeter, LoadSeen
from fairlead.bench.replicas.timeline import Timeline
from fairlead.bench.report.page import report_page
from fairlead.bench.report.scaling_page import scaling_figures
from fairlead.bench.report.scaling_words import scaling_lines, scaling_tables
from fairlead.bench.report.terminal import show
from fairlead.bench.summary import RunSummary, Verdict

STAGES = [("quiet", 0.0, 60.0, 8.0), ("step", 60.0, 200.0, 32.0), ("after", 200.0, 300.0, 8.0)]
END_S = 310.0


def config(**over: Any) -> Benchmark:
    stages = [{"name": name, "rate_per_s": rate, "seconds": end - begin} for name, begin, end, rate in STAGES]
    document: dict[str, Any] = {
        "targets": [{"url": "http://127.0.0.1:1", "model": "m"}],
        "load": {"kind": "open", "stages": stages},
        "objective": {"ttft_ms": 500, "attainment": 0.9},
        "scaling": {"watch": ["Deployment/n/w"]},
    }
    return read_config({name: value for name, value in (document | over).items() if value is not None})


def run() -> RunSummary:
    made = one_run()
    (stage,) = made.stages
    stages = tuple(
        msgspec.structs.replace(stage, index=k, name=name, begin_s=begin, end_s=end, intended=rate)
        for k, (name, begin, end, rate) in enumerate(STAGES)
    )
    return msgspec.structs.replace(made, stages=stages)


FLEET = line(
    [(-1.0, 1.0), (75.0, 3.0), (230.0, 1.0)],
    [
        life("a", -50.0, -40.0, accelerators=2.0),
        life("b", 77.0, 95.0, 231.0, 240.0, created=76.0, accelerators=2.0),
        life("c", 77.0, 100.0, 231.0, 250.0, created=76.0, accelerators=2.0),
    ],
)
LOAD = even([(0, 60, 8, 1.0), (60, 120, 32, 0.25), (120, 200, 32, 1.0), (200, 300, 8, 1.0)])


def figures(lines: list[Timeline] | None = None, load: LoadSeen = LOAD, **over: Any) -> Any:
    return analyse(run(), config(**over), [FLEET] if lines is None else lines, load, END_S)


def test_the_figures_of_a_run() -> None:
    found = figures()
    of = found.efficiency
    # 310 s of one, 163 and 173 s of the others, two accelerators each.
    assert (of.unit, of.paid_s, of.fixed_s) == ("accelerator", 2 * (310 + 163 + 173), 3 * 2 * 310)
    assert of.ready_s == 2 * (310 + 136 + 131)
    assert of.carried_per_s == pytest.approx(32 / 3) and of.failed_per_s == pytest.approx(32.0)
    assert of.least_s == pytest.approx(2 * (60 * 1 + 140 * 3 + 100 * 1))
    assert of.least_low_s == pytest.approx(2 * 300)
    assert found.judged == 60 * 8 + 140 * 32 + 100 * 8 and found.judged - found.good == 60 * 24
    assert of.good_requests_per_unit_hour == pytest.approx(found.good / (of.paid_s / 3600))
    assert found.short_s == pytest.approx(60.0, abs=2.0)
    assert (found.load_turns, found.workloads[0].turns) == (1, 1)
    (reaction,) = found.workloads[0].reactions
    assert (reaction.desired_s, reaction.ready_s) == (75.0, 100.0)
    assert [(t.name, t.end_s) for t in found.time] == [
        ("quiet", 60.0), ("step", 200.0), ("after", 300.0), ("after the load", END_S),
    ]  # fmt: skip
    assert sum(t.allocated_accelerator_s or 0.0 for t in found.time) == pytest.approx(of.paid_s)
    assert [s.ready for s in found.slices][:1] == [1.0]
    assert found.slices[-1].end_s == END_S and found.slices[-1].judged == 0
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_a_price_is_of_the_accelerators_that_were_paid_for() -> None:
    scaling = {"watch": ["Deployment/n/w"], "price_per_hour": 3.6}
    assert figures(scaling=scaling).efficiency.cost == pytest.approx(3.6 * 2 * 646 / 3600)
    assert figures().efficiency.cost is None
    listed = figures(server={"accelerator": "H100", "accelerators": 6}).efficiency
    assert listed.cost is not None and listed.cost_high is not None and 0 < listed.cost < listed.cost_high
    assert "USD" in listed.price and "as of" in listed.price
    assert figures(server={"price_per_hour": 1.0, "accelerators": 6}).efficiency.cost == pytest.approx(2 * 646 / 3600)


def test_without_accelerators_replicas_are_counted_and_nothing_is_said_of_cost() -> None:
    found = figures([line([(0.0, 1.0)], [life("a", 0.0, 0.0)])], scaling={"watch": ["D/w"], "price_per_hour": 2.0})
    assert (found.efficiency.unit, found.efficiency.paid_s, found.efficiency.cost) == ("replica", 310.0, None)
    assert any("accelerators_per_replica" in note for note in found.notes)


@pytest.mark.parametrize(
    ("over", "why"),
    [
        ({"objective": None}, "there is no objective"),
        ({"lines": [FLEET, FLEET]}, "2 workloads carried the load together"),
        ({"load": even([(0, 300, 8, 1.0)])}, "no stretch was too much"),
        ({"load": even([(0, 300, 8, 0.0)])}, "sure to have kept"),
    ],
)
def test_why_the_least_fleet_is_not_known(over: dict[str, Any], why: str) -> None:
    found = figures(**over).efficiency
    assert found.least_s is None and why in found.why_no_least


def test_a_run_that_was_ended_at_once_has_figures_that_say_nothing() -> None:
    empty = LoadSeen(0.125, tuple(() for _ in range(7)))
    begun = msgspec.structs.replace(run(), stages=())
    found = analyse(begun, config(), [line([(0.0, 1.0)], [])], empty, 0.0)
    assert (found.slices, found.judged, found.efficiency.paid_s) == ((), 0, 0.0)
    assert found.efficiency.good_requests_per_unit_hour is None
    assert scaling_lines(found)


def test_a_ramp_that_was_cut_off_counts_as_far_as_it_went() -> None:
    ramp = {"kind": "open", "stages": [{"rate_per_s": 2, "to_rate_per_s": 10, "seconds": 80}]}
    cut = run()
    cut = msgspec.structs.replace(cut, stages=(msgspec.structs.replace(cut.stages[0], end_s=40.0),))
    (leg,) = legs_of(cut, config(load=ramp))
    assert (leg.first, leg.last) == (2.0, 6.0)


def test_users_are_a_planned_load_and_a_trace_is_none() -> None:
    users = {"kind": "closed", "stages": [{"users": u, "seconds": s} for u, s in ((8, 60), (32, 140), (8, 100))]}
    assert figures(load=LOAD).load_turns == 1
    found = analyse(run(), config(load=users), [FLEET], LOAD, END_S)
    assert found.load_turns == 1 and len(found.workloads[0].reactions) == 1
    search = {"kind": "search"}
    found = analyse(run(), config(load=search), [FLEET], LOAD, END_S)
    assert found.load_turns is None and found.workloads[0].reactions == ()
    assert found.efficiency.least_s is not None, "what was due tells of the load too"


def test_a_time_in_which_nobody_could_look_is_told_and_its_numbers_are_not_known() -> None:
    found = figures([line([(0.0, 1.0)], [life("a", 0.0, 0.0)], gaps=[(100.0, 130.0)])])
    (workload,) = found.workloads
    at = dict(zip(workload.times_s, workload.ready, strict=True))
    assert at[100.0] is None and at[130.0] == 1
    assert any("did not answer for 30.0 s (100.0 to 130.0 s)" in note for note in found.notes)
    assert found.all.unknown_s == 30.0
    hidden = [s for s in found.slices if s.begin_s >= 100.0 and s.end_s <= 130.0]
    assert hidden and all(s.desired is None and s.ready is None for s in hidden)


def test_of_an_invalid_stage_nothing_is_taken_of_what_a_replica_carries() -> None:
    made = run()
    bad = msgspec.structs.replace(made.stages[1], verdict=Verdict(False, ("client lag",)))
    spoilt = msgspec.structs.replace(made, stages=(made.stages[0], bad, made.stages[2]))
    found = analyse(spoilt, config(), [FLEET], LOAD, END_S)
    assert found.efficiency.failed_per_s is None and found.efficiency.least_s is None
    assert found.efficiency.carried_per_s == pytest.approx(8.0), "by the stages beside it"
    assert found.efficiency.paid_s == figures().efficiency.paid_s
    assert any("step invalid" in note for note in found.notes)


def test_an_api_server_with_another_clock_is_told() -> None:
    late = msgspec.structs.replace(
        life("b", 77.0, 95.0, created=76.0),
        told=msgspec.structs.replace(life("x", 1, 1).told, created=6.0, scheduled=7.0, ready=25.0),
    )
    assert any("clock is 70 s behind ours" in note for note in figures([line([(0.0, 1.0)], [late])]).notes)


@pytest.mark.parametrize(
    ("lines", "load"),
    [([FLEET], LOAD), ([FLEET, FLEET], even([(0, 300, 8, 1.0)])), ([line([(0.0, 1.0)], [])], LOAD)],
)
def test_reports_show_what_scaled(lines: list[Timeline], load: LoadSeen) -> None:
    found = with_scaling(run(), figures(lines, load))
    text = io.StringIO()
    show(found, Console(file=text, width=200))
    assert found.scaling is not None
    for table in scaling_tables(found.scaling):
        assert table.title in text.getvalue().replace("\n", " ")
        assert all(len(row) == len(table.head) for row in table.rows)
    page = report_page(found, {})
    assert all(escape(table.title) in page for table in scaling_tables(found.scaling))
    titles = [figure["layout"]["title"]["text"] for figure in scaling_figures(found, {})]
    assert titles == ["Load, replicas and service", *(["Lives of pods"] if lines[0].lives else [])]
    assert all(note in found.notes for note in found.scaling.notes)


def test_words_say_how_long_each_thing_took() -> None:
    tables = {table.head[0] + table.title.split()[0]: table for table in scaling_tables(figures())}
    assert tables["stagereactions"].rows == (
        ("step", "1 → 3", "15 s", "35 s", "–", "40 s", "1,440/4,480", "60.5 s", "60.5 s"),
    )
    assert tables["stepsteps"].rows[0] == ("1 → 3", "75 s", "2 s", "25 s", "", "0")
    assert tables["stepsteps"].rows[1] == ("3 → 1", "230 s", "", "", "20 s", "0")


def test_the_load_is_counted_from_its_records() -> None:
    meter = LoadMeter(config())
    made = list(records(1500, 1))
    for at in range(0, len(made), 100):
        meter.add(made[at : at + 100])
    seen = meter.seen()
    failed = [r for r in made if r.status == 500]
    assert sum(seen.rows[0]) == 1500 and sum(seen.rows[3]) == len(failed) == len(seen.failures)
    slow = sum(r.status == 200 and r.first_token_s - r.due_s > 0.5 for r in made)
    assert sum(seen.rows[2]) == 1500 - len(failed) - slow
    assert seen.between(0, 10.0, 20.0) == pytest.approx(sum(10 <= r.due_s < 20 for r in made), abs=4)
    assert seen.failed(0.0, failed[3].end_s) == 3
    assert seen.between(0, 0.0, float("inf")) == 1500


def test_what_was_ended_from_here_is_no_failure() -> None:
    meter = LoadMeter(config())
    of = next(iter(records(1, 1)))
    outcomes = (Outcome.ABORTED, Outcome.LOST, Outcome.CUT, Outcome.WHOLE)
    meter.add([msgspec.structs.replace(of, outcome=int(outcome)) for outcome in outcomes])
    assert meter.seen().failed(0.0, 1e9) == 1


def test_slices_are_whole_ones_of_the_load_and_not_too_many() -> None:
    assert slice_of(LoadSeen(0.125, ()), 60.0) == 1.0
    assert slice_of(LoadSeen(4.0, ()), 1200.0) == 8.0
    assert slice_of(LoadSeen(0.25, ()), 300.0) == 1.25
