"""The trial of a revision as a state machine: its way through the steps, every "no" on it, and that it comes to
the same end wherever it is stopped."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.api.model_service import Analysis, Canary, CanaryStep, Comparison, Rollout, RolloutStatus
from fairlead.clock import format_time
from fairlead.serving.analysis import Verdict
from fairlead.serving.rollout import RoleIntent
from fairlead.serving.rollout.blue_green import COMPARED_WEIGHT, blue_green_step
from fairlead.serving.rollout.canary import canary_step
from fairlead.serving.rollout.trial import SETTLE_S
from fairlead.serving.rollout.trial_facts import Facts, Fleet

NOW_S = 1_800_000_000.0
GOOD = Verdict("AsGood", (), "as good", 1000)
OPEN = Verdict("Undecided", (), "TTFT +1.0 % ± 2.0 %: undecided", 1000)
WORSE = Verdict("Worse", (Comparison("ttft", "Worse"),), "TTFT +3.1 % ± 0.9 %: worse", 1000)
FAILING = Verdict("Worse", (Comparison("errorRate", "Worse"),), "errors: worse", 1000)
LOST = Verdict("Inconclusive", (), "undecided after 3,600 s", 1000)


class Rollouts:
    """A service whose status is what the last decision stored."""

    def __init__(self, spec=None, desired=10, roles=None, step=canary_step):
        self.spec = spec or Rollout("Canary")
        self.roles = roles or (RoleIntent("unified", desired, 1, 0),)
        self.stable, self.wanted, self.rejected = "old", "new", ""
        self.status, self.of, self.resumed, self.step = None, "", "", step
        self.trial = dict.fromkeys([r.role for r in self.roles], 0)
        self.new = dict(self.trial)
        self.old = {r.role: r.desired for r in self.roles}
        self.now_s = NOW_S
        self.decision = None

    def look(self, verdict=None, seconds=0.0, **facts):
        self.now_s += seconds
        there = {role: max(n, facts.pop("there", 0)) for role, n in self.trial.items()}
        fleet = Fleet(self.trial, {r: max(n, self.trial[r]) for r, n in self.new.items()}, self.old, there,
                      sum(self.old.values()))  # fmt: skip
        found = Facts(
            self.wanted, self.stable, self.roles, fleet, self.status, self.of, self.rejected, resumed=self.resumed,
            **facts,
        )  # fmt: skip
        self.decision = d = self.step(self.spec, found, verdict, self.now_s)
        # What is stored survives the wire.
        self.status = msgspec.json.decode(msgspec.json.encode(d.status), type=RolloutStatus)
        self.of, self.rejected, self.stable = self.wanted, d.rejected, d.revision
        return d

    def ready(self):
        """All replicas that the decision wants are there."""
        for role in self.decision.roles:
            if role.stable is not None:
                self.trial[role.role], self.old[role.role] = role.canary, role.stable

    def promoted(self):
        for role in self.roles:
            self.trial[role.role], self.new[role.role], self.old[role.role] = 0, role.desired, 0

    @property
    def where(self):
        return self.decision.status.phase, self.decision.status.step, self.decision.weight


def _counts(decision):
    return [(r.stable, r.canary) for r in decision.roles]


def test_a_good_version_goes_through_all_steps_and_serves():
    service = Rollouts()
    seen = []
    for _ in range(30):
        service.look(GOOD)
        seen.append(service.where)
        if service.decision.status.phase == "Promoting":
            assert _counts(service.decision) == [(None, 0)]
            service.promoted()
        service.ready()
        if service.stable == "new":
            break
    steps = [key for key, _ in itertools.groupby(seen)]
    assert steps[0] == ("Progressing", 0, 0)
    weights = [weight for phase, _, weight in steps if phase == "Progressing"]
    assert weights == sorted(weights)
    assert [step for step, _ in itertools.groupby(s for phase, s, _ in steps if phase == "Progressing")] == [0, 1, 2]
    assert steps[-1] == ("Stable", 0, 0)
    assert service.look().status.phase == "Stable"


def test_the_weight_is_raised_only_when_the_replicas_are_ready():
    service = Rollouts()
    assert service.look().weight == 0
    assert _counts(service.decision) == [(10, 1)]
    service.trial["unified"] = 1
    assert service.look().weight == 5
    assert service.decision.status.step_started_at == format_time(NOW_S)


def test_while_replicas_are_exchanged_the_weight_is_what_they_can_carry():
    service = Rollouts()
    service.look()
    service.ready()
    service.look(GOOD)
    service.ready()
    d = service.look(GOOD)
    # Step 3: half of the traffic, and two of ten replicas.
    assert (d.status.step, _counts(d)) == (2, [(5, 5)])
    assert d.weight == 20
    for ready in (3, 4, 5):
        service.trial["unified"], service.old["unified"] = ready, 10 - ready
        d = service.look(OPEN)
    assert d.weight == 50


@pytest.mark.parametrize("lost", [1, 2])
def test_a_replica_that_is_lost_takes_its_share_with_it_at_once(lost):
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(20)])))
    service.look()
    service.ready()
    assert service.look(OPEN).weight == 20
    service.trial["unified"] -= lost
    assert service.look(OPEN).weight == (0 if lost == 2 else 11)  # one of nine that are left
    assert service.decision.status.phase == "Progressing"


@given(st.integers(1, 60), st.integers(1, 99), st.integers(0, 5))
def test_engines_of_both_versions_have_as_much_to_do_as_can_be(desired, weight, surge):
    """And at no time are there fewer than wanted, or more than the surge allows."""
    spec = Rollout("Canary", canary=Canary([CanaryStep(weight)]))
    service = Rollouts(spec, desired, (RoleIntent("unified", desired, max(1, surge), 0),))
    ((stable, trial),) = _counts(service.look())
    assert desired <= stable + trial <= desired + max(1, surge) or (stable, trial) == (1, desired)
    per_new, per_stable = weight / trial, (100 - weight) / stable
    others = range(max(1, desired - trial), max(1, min(desired, desired + max(1, surge) - trial)) + 1)
    assert abs(stable - trial * (100 - weight) / weight) <= min(
        abs(n - trial * (100 - weight) / weight) for n in others
    )
    if weight == 50:
        assert per_new == per_stable


def test_a_step_lasts_as_long_as_it_is_told():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(20, seconds=60)])))
    service.look()
    service.ready()
    assert service.look(GOOD).again_s == pytest.approx(60)
    assert service.look(GOOD, 59).status.phase == "Progressing"
    assert service.look(GOOD, 1).status.phase == "Promoting"


def test_a_step_but_the_last_ends_with_the_least_number_of_requests():
    service = Rollouts()
    service.look()
    service.ready()
    assert service.look(Verdict("Undecided", (), "", 49)).status.step == 0
    assert "49 of 50 requests" in service.decision.status.message
    assert service.look(Verdict("Undecided", (), "", 50)).status.step == 1


def test_the_last_step_ends_only_with_a_version_that_is_as_good():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(20)])))
    service.look()
    service.ready()
    assert service.look(OPEN, 100_000).status.phase == "Progressing"
    assert "undecided" in service.decision.status.message
    assert service.look(GOOD).status.phase == "Promoting"


def test_a_pause_waits_for_a_person_and_for_this_step_and_revision():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(10, pause=True), CanaryStep(50)])))
    service.look()
    service.ready()
    assert service.look(OPEN).status.phase == "Paused"
    assert "fairlead rollout resume" in service.decision.status.message
    for wrong in ("new/1", "old/0", "new", "new/00", ""):
        service.resumed = wrong
        assert service.look(OPEN, 1000).status.phase == "Paused"
    service.resumed = "new/0"
    d = service.look(OPEN)
    assert (d.status.phase, d.status.step, d.status.resumed_step) == ("Progressing", 1, 0)


@pytest.mark.parametrize(("policy", "phase"), [("Pause", "Paused"), ("Promote", "Promoting"), ("Revert", "Reverted")])
def test_what_cannot_be_told_ends_as_the_policy_says(policy, phase):
    analysis = Analysis(inconclusive=policy)
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(20)]), analysis=analysis))
    service.look()
    service.ready()
    service.look(OPEN)
    d = service.look(LOST)
    assert d.status.phase == phase
    assert d.rejected == ("new" if policy == "Revert" else "")
    if policy == "Pause":
        service.resumed = "new/0"
        assert service.look(LOST).status.phase == "Promoting"


def test_a_slow_version_is_taken_back_as_the_stable_one_gets_room():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(50)])))
    service.look()
    service.ready()
    assert service.look(OPEN).weight == 50
    d = service.look(WORSE)
    assert (d.status.phase, d.rejected, _counts(d)) == ("Reverted", "new", [(None, 0)])
    assert d.weight == 50
    assert "TTFT +3.1 % ± 0.9 %" in d.status.message
    assert d.status.analysis[0].verdict == "Worse"
    service.old["unified"] = 9
    assert service.look().weight == 10
    service.old["unified"] = 10
    assert service.look().weight == 0
    assert "TTFT +3.1 % ± 0.9 %" in service.decision.status.message


def test_one_that_fails_is_taken_back_at_once():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(50)])))
    service.look()
    service.ready()
    service.look(OPEN)
    assert service.look(FAILING).weight == 0
    service.look()
    assert service.where == ("Reverted", 0, 0)


def test_a_rejected_revision_is_not_tried_again_and_another_one_is():
    service = Rollouts()
    service.look()
    service.ready()
    service.look(FAILING)
    service.look(GOOD, 10_000)
    assert service.decision.status.phase == "Reverted"
    service.wanted = "newer"
    service.trial["unified"] = 0
    d = service.look()
    assert (d.status.phase, d.status.step, d.weight, d.status.analysis) == ("Progressing", 0, 0, [])


def test_a_spec_that_is_edited_meanwhile_starts_again():
    service = Rollouts()
    service.look()
    service.ready()
    service.look(GOOD)
    service.ready()
    assert service.look(GOOD).status.step > 0
    service.wanted = "newer"
    service.trial["unified"] = 0
    d = service.look(seconds=5)
    assert (d.status.phase, d.status.step, d.weight) == ("Progressing", 0, 0)
    assert d.status.started_at == format_time(service.now_s)
    service.ready()
    assert service.look(seconds=5).asked.startswith("newer.")


def test_a_spec_that_is_taken_back_gives_all_traffic_to_the_stable_revision():
    service = Rollouts()
    service.look()
    service.ready()
    service.look(OPEN)
    service.wanted, service.trial["unified"] = "old", 0
    d = service.look()
    assert (d.status.phase, d.weight, _counts(d), d.asked) == ("Stable", 0, [(None, 0)], "")


def test_replicas_that_do_not_come_make_it_stuck_until_they_do():
    service = Rollouts(Rollout("Canary", progress_deadline_seconds=60))
    service.look()
    assert service.look(seconds=59).status.phase == "Progressing"
    assert service.decision.again_s == pytest.approx(1)
    d = service.look(seconds=1)
    assert d.status.phase == "Stuck"
    assert "0 of 1 replicas of revision new are ready; no progress for 60 s" in d.status.message
    assert d.again_s is None
    service.ready()
    assert service.look().status.phase == "Progressing"


def test_replicas_that_come_one_by_one_are_progress():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(50)]), progress_deadline_seconds=60))
    service.look()
    for ready in range(1, 5):
        service.trial["unified"] = ready
        assert service.look(seconds=50).status.phase == "Progressing"


def test_a_paused_rollout_makes_nothing_and_moves_nothing():
    service = Rollouts()
    service.spec.paused = True
    d = service.look()
    assert (d.status.phase, _counts(d), d.weight) == ("Paused", [(None, 0)], 0)
    service.spec.paused = False
    service.look()
    service.ready()
    service.look(OPEN)
    service.ready()
    service.spec.paused = True
    d = service.look(there=2)
    assert (d.status.phase, _counts(d)) == ("Paused", [(None, 2)])
    assert d.weight > 0
    assert service.look(FAILING).status.phase == "Reverted"


def test_without_a_stable_replica_that_serves_there_is_no_trial():
    service = Rollouts()
    service.old["unified"] = 0
    d = service.look()
    assert (d.status.phase, _counts(d), d.weight) == ("Promoting", [(None, 0)], 0)


def test_the_first_revision_ever_counts_as_stable_once_it_serves():
    service = Rollouts()
    service.stable, service.wanted = "", "first"
    service.old["unified"] = 0
    assert service.look().revision == ""
    service.new["unified"] = 1
    d = service.look()
    assert (d.revision, d.status.phase) == ("first", "Stable")


def test_roles_go_on_trial_by_whole_sets():
    roles = (RoleIntent("prefill", 4, 2, 0), RoleIntent("decode", 12, 6, 0))
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(5), CanaryStep(50)])), roles=roles)
    assert _counts(service.look()) == [(4, 1), (12, 3)]
    service.trial = {"prefill": 1, "decode": 2}
    assert service.look().weight == 0
    service.trial["decode"] = 3
    assert service.look().weight == 5


def test_one_replica_has_a_canary_beside_it():
    service = Rollouts(desired=1)
    assert _counts(service.look()) == [(1, 1)]
    service.ready()
    assert service.look(OPEN).weight == 20
    assert service.look(OPEN).weight == 50
    assert _counts(service.decision) == [(1, 1)]


def test_a_service_that_is_scaled_to_nothing_changes_its_revision_without_a_trial():
    service = Rollouts(desired=0)
    d = service.look()
    assert (d.status.phase, d.revision) == ("Stable", "new")


def test_gateways_that_do_not_pass_over_an_empty_pool_lose_its_weight_first():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(50)], http_route="r")))
    service.look()
    service.ready()
    service.look(OPEN)
    d = service.look(GOOD)
    assert (d.status.phase, d.weight) == ("Promoting", 0)
    assert _counts(d) != [(None, 0)]
    d = service.look(seconds=SETTLE_S)
    assert _counts(d) == [(None, 0)]


def test_a_promotion_ends_when_nothing_old_is_left_and_says_when_it_does_not():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(50)]), progress_deadline_seconds=60))
    service.look()
    service.ready()
    service.look(OPEN)
    assert service.look(GOOD).weight == 50
    service.trial["unified"], service.new["unified"], service.old["unified"] = 0, 9, 1
    assert service.look(WORSE).status.phase == "Promoting"
    assert service.decision.weight == 0
    assert "no progress for 70 s" in service.look(seconds=70).status.message
    service.new["unified"], service.old["unified"] = 10, 0
    d = service.look()
    assert (d.status.phase, d.revision, d.status.message) == ("Stable", "new", "revision new serves")


def test_each_share_asks_for_reports_of_its_own_and_no_one_asks_when_nothing_is_on_trial():
    service = Rollouts(Rollout("Canary", canary=Canary([CanaryStep(20), CanaryStep(50)])))
    # Without a share of the traffic there is nothing to compare: requests that are there already would count as short.
    asked = [service.look().asked]
    service.ready()
    asked.append(service.look().asked)
    asked.append(service.look(OPEN).asked)
    assert service.where == ("Progressing", 1, 20)
    service.ready()
    asked.append(service.look(OPEN).asked)
    began = int(NOW_S)
    assert asked == ["", f"new.{began}.0.20/20", f"new.{began}.1.20/20", f"new.{began}.1.50/20"]
    service.look(FAILING)
    assert service.decision.asked == ""


def test_blue_green_has_a_whole_fleet_before_anything_moves():
    service = Rollouts(Rollout("BlueGreen"), step=blue_green_step)
    d = service.look()
    assert (_counts(d), d.weight, d.asked) == ([(10, 10)], 0, "")
    service.trial["unified"] = 9
    assert service.look().status.phase == "Progressing"
    service.trial["unified"] = 10
    d = service.look()
    assert (d.status.phase, _counts(d)) == ("Promoting", [(None, 0)])


def test_blue_green_with_an_analysis_compares_first():
    service = Rollouts(Rollout("BlueGreen", analysis=Analysis()), step=blue_green_step)
    service.look()
    service.ready()
    d = service.look(OPEN)
    assert (d.weight, d.status.phase) == (COMPARED_WEIGHT, "Progressing")
    assert d.asked
    assert service.look(GOOD).status.phase == "Promoting"


VERDICTS = st.sampled_from([None, GOOD, OPEN, OPEN, OPEN, WORSE, FAILING, LOST])
EVENTS = st.tuples(VERDICTS, st.integers(0, 10), st.integers(0, 10), st.sampled_from([0, 1, 100, 1000]), st.booleans())
STEPS = st.lists(
    st.builds(CanaryStep, st.integers(0, 100), st.sampled_from([0, 30]), st.booleans()), min_size=1, max_size=4
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 10), st.lists(EVENTS, max_size=25), st.booleans())
def test_whatever_happens_no_traffic_goes_to_what_is_not_ready_and_numbers_are_sane(steps, desired, events, paused):
    service = Rollouts(Rollout("Canary", canary=Canary(steps)), desired=desired)
    for verdict, trial, old, seconds, resumes in events:
        service.spec.paused = paused and resumes
        service.trial["unified"], service.old["unified"] = trial, old
        service.resumed = f"new/{service.status.step}" if resumes and service.status else ""
        d = service.look(verdict, seconds)
        assert 0 <= d.weight <= 100
        if trial == 0:
            assert d.weight == 0
        if d.status.phase not in ("Promoting", "Reverted", "Stable"):
            assert d.weight <= max(s.weight for s in steps)
        for role in d.roles:
            if role.stable is not None:
                assert 0 <= role.stable <= desired
                assert 1 <= role.canary <= desired
                if service.decision.weight < 100 and steps[d.status.step].weight < 100:
                    assert role.stable >= 1
        if d.status.phase == "Reverted":
            assert d.rejected == "new"
            assert d.asked == ""


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 10), st.lists(st.booleans(), min_size=60, max_size=60))
def test_a_good_version_serves_in_the_end_wherever_the_controller_is_stopped(steps, desired, writes):
    """A controller that dies before it has stored its decision decides the same again."""
    service = Rollouts(Rollout("Canary", canary=Canary(steps)), desired=desired)
    for stored in [*writes, *[True] * 40]:
        before = (service.status, service.of, service.rejected, service.stable)
        service.resumed = f"new/{service.status.step}" if service.status else ""
        d = service.look(GOOD, 10.0)
        if not stored:
            service.status, service.of, service.rejected, service.stable = before
            continue
        if d.status.phase == "Promoting":
            service.promoted()
        service.ready()
        if service.stable == "new":
            break
    assert service.stable == "new"
    assert service.look().status.phase == "Stable"
