"""Reports read time and again become batches: nothing is counted twice, nothing of a former question, and what pickers
and readers lose when they start anew is no more than it has to be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.traffic_report import TrafficGroup, asked_for, warm_up_of
from fairlead.serving.analysis import Arm, Arms, Evidence, gather
from fairlead.serving.analysis.evidence import LONELY_S, MOST_BATCHES, add
from fairlead.serving.analysis.sums import MEANS, NOTHING, Counts
from serving.analysis.traffic import ASKED, Engines, moments, report

ARMS = Arms(Arm("new"), Arm("old"))


def _group(revision, requests, endpoint="a:1", model="tiny", errors=0):
    return TrafficGroup(
        revision, model, endpoint, requests=requests, errors=errors, ttft=moments([(1.0, 2.0)] * requests)
    )


def _both(new, old, **more):
    return [report(_group("new", new, **more), pool="c"), report(_group("old", old, **more), pool="s")]


def _gathered(*reads, evidence=None, step_s=1.0):
    evidence = evidence or Evidence(ARMS)
    for second, reports in enumerate(reads):
        evidence = gather(evidence, reports, ASKED, second * step_s)
    return evidence


def test_the_difference_of_two_reads_is_what_happened_between_them():
    evidence = _gathered(_both(3, 4), _both(8, 10), _both(8, 10))
    assert [(b.new.requests, b.stable.requests) for b in evidence.batches] == [(3, 4), (5, 6)]
    assert (evidence.total.new.requests, evidence.total.stable.requests) == (8, 10)


def test_reports_of_another_question_and_of_other_revisions_do_not_count():
    stray = report(_group("new", 100), _group("old", 100), asked="other/0")
    evidence = _gathered([stray, report(_group("older", 7))])
    assert evidence.total.new.requests == evidence.total.stable.requests == 0


def test_a_new_question_starts_the_sums_of_the_reports_anew_and_keeps_what_was_seen():
    evidence = _gathered(_both(3, 4))
    again = gather(evidence, [report(_group("new", 5), _group("old", 5), asked="next/0")], "next/0", 5.0)
    assert again.total.new.requests == 8
    assert (evidence.step_requests, again.step_requests) == (3, 5)


def test_a_picker_that_has_started_again_adds_to_what_its_former_self_has_seen():
    before = _gathered(_both(3, 4))
    after = [*_both(3, 4), report(_group("new", 2), _group("old", 2), picker="p2")]
    assert gather(before, after, ASKED, 2.0).total.new.requests == 5


def test_a_report_that_is_gone_for_a_while_is_not_counted_twice():
    assert _gathered(_both(3, 4), [], _both(4, 6)).total.new.requests == 4


def test_a_report_that_began_anew_under_its_name_counts_from_its_start():
    assert _gathered(_both(30, 40), _both(4, 5)).total.new.requests == 34


def test_a_clock_that_is_set_back_leaves_no_batch_open_for_long():
    evidence = Evidence(ARMS)
    for now_s in (5000.0, 5001.0, 5002.0, 1000.0, 1001.0, 1002.0, 1003.0):
        evidence = add(evidence, {("new", "n"): Counts(10), ("stable", "s"): Counts(10)}, now_s)
    assert len(evidence.batches) == 6
    assert sum(b.stable.requests for b in evidence.batches) == evidence.total.stable.requests == 70


def test_names_under_which_engines_are_asked_may_tell_versions_apart():
    arms = Arms(Arm(models=frozenset(("b~2",))), Arm(models=frozenset(("b", "b~1"))))
    groups = [_group("r", 3, model="b~2"), _group("r", 4, model="b"), _group("r", 5, model="b~1"), _group("r", 6)]
    evidence = gather(Evidence(arms), [report(*groups)], ASKED, 0.0)
    assert (evidence.total.new.requests, evidence.total.stable.requests) == (3, 9)


def test_what_one_version_has_alone_for_long_is_no_part_of_a_batch():
    reads = [_both(3, 3), _both(3, 50), _both(3, 90), _both(6, 93)]
    evidence = _gathered(*reads, step_s=LONELY_S)
    assert [(b.new.requests, b.stable.requests) for b in evidence.batches] == [(3, 3), (3, 3)]
    assert evidence.total.stable.requests == 93


def test_there_are_never_more_batches_than_that_and_none_is_lost():
    engines, evidence = Engines(), Evidence(ARMS)
    for second in range(5 * MOST_BATCHES):
        evidence = gather(evidence, engines.second(), ASKED, float(second))
        assert len(evidence.batches) < MOST_BATCHES
    filed = sum(b.new.requests for b in evidence.batches) + sum(
        c.requests for (side, _), c in evidence.open.items() if side == "new"
    )
    assert filed == evidence.total.new.requests == 5 * 5 * MOST_BATCHES
    assert evidence.batch_s > 1.0


def test_engines_leans_add_up_to_nothing_within_their_version():
    engines, evidence = Engines(new=2, stable=4), Evidence(ARMS)
    for second in range(20):
        evidence = gather(evidence, engines.second(), ASKED, float(second))
    for measure in MEANS:
        for side in ("new", "stable"):
            leans = [lean for (of, _), lean in evidence.leans[measure].items() if of == side]
            assert abs(sum(lean.y for lean in leans)) < 1e-6
            assert abs(sum(lean.x for lean in leans)) < 1e-6


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), max_size=40))
def test_however_reads_are_spread_over_time_every_request_is_counted_once(gains):
    evidence, new, old, now_s = Evidence(ARMS), 0, 0, 0.0
    for more_new, more_old, seconds in gains:
        new, old, now_s = new + more_new, old + more_old, now_s + seconds
        evidence = gather(evidence, _both(new, old), ASKED, now_s)
    assert (evidence.total.new.requests, evidence.total.stable.requests) == (new, old)
    filed = NOTHING
    for batch in evidence.batches:
        filed = filed.plus(batch.new)
    assert filed.requests <= new


@given(st.text("abc./", max_size=8), st.integers(0, 1_000_000))
def test_the_question_says_how_many_first_answers_do_not_count(name, number):
    assert warm_up_of(asked_for(name, number)) == number


def test_a_question_that_does_not_say_has_no_warm_up():
    assert [warm_up_of(text) for text in ("", "yes", "a/b", "a/", "a/-3", "a/99999999999")] == [0] * 6
