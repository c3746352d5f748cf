"""Replicas that start, scale, drain, crash and come back; nodes that are provisioned and go back."""

import pytest

from fairlead.simulator.fleet import (
    Crash,
    FailureSpec,
    GatewaySpec,
    NodeSpec,
    PoolSnapshot,
    PoolSpec,
    ScalingSpec,
    ScenarioError,
    summarise,
)
from fairlead.simulator.fleet.lifecycle import given_up
from fairlead.simulator.fleet.replica import Phase, Replica
from fairlead.simulator.fleet.scaling import bounded, keep_fixed, scale_by_queue
from fairlead.workload import TraceRequest
from simulator.fleet.small_fleets import model, simulate


def stream(count, spacing_s=0.5, output=200, begin_s=0.0):
    return [TraceRequest(begin_s + n * spacing_s, 100, output) for n in range(count)]


def events(outcome):
    return [(round(e.time_s, 3), e.replica, e.what) for e in outcome.fleet.lifecycle.events]


def snapshot(**fields):
    given = {
        "pool": "main", "now_s": 0.0, "ready": 2, "starting": 0, "draining": 0, "down": 0, "running_requests": 0,
        "waiting_requests": 0, "held_requests": 0, "kv_cache_usage_ratio": 0.1, "arrivals_per_s": 1.0,
    }  # fmt: skip
    return PoolSnapshot(**{**given, **fields})


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"running_requests": 30}, 3),
        ({"waiting_requests": 25, "held_requests": 6}, 4),
        ({"ready": 1, "starting": 2}, 0),
        ({"running_requests": 9}, 1),
        # 19 requests fit two replicas, but a tenth more would not: the third stays.
        ({"ready": 3, "running_requests": 19}, 3),
        ({"ready": 3, "running_requests": 18}, 2),
    ],
)
def test_the_queue_policy(fields, wanted):
    decision = scale_by_queue(snapshot(**fields), ScalingSpec(policy="queue", target=10))
    assert decision.replicas == wanted
    assert "requests" in decision.reason


def test_bounds_and_the_fixed_policy():
    spec = ScalingSpec(min_replicas=2, max_replicas=4)
    assert keep_fixed(snapshot(ready=2, starting=1, down=1, draining=3), spec).replicas == 4
    assert [bounded(scale_by_queue(snapshot(running_requests=n), spec), spec) for n in (0, 1000)] == [2, 4]


def test_who_is_given_up_first():
    replicas = [Replica("p", n, model(), 1.0, 5.0) for n in range(5)]
    for replica, phase, in_flight in zip(
        replicas, ("READY", "READY", "STARTING", "DRAINING", "READY"), (5, 1, 0, 0, 1), strict=True
    ):
        replica.phase, replica.in_flight = Phase[phase], in_flight
    assert [r.number for r in given_up(replicas, 9)] == [2, 4, 1, 0]
    assert given_up(replicas, -1) == []


def test_scale_up_waits_for_a_node_and_the_start():
    scaling = ScalingSpec(policy="queue", interval_s=10, target=4, max_replicas=2)
    pool = PoolSpec(startup_s=20, scaling=scaling)
    nodes = NodeSpec(accelerators=1, provision_s=30, release_after_s=1000)
    outcome = simulate(stream(200, spacing_s=0.4), [(pool, model(max_num_seqs=4))], nodes=nodes)
    assert events(outcome)[:2] == [(10.0, "main-1", "is wanted"), (60.0, "main-1", "ready")]
    assert min(r["sent_s"] for r in outcome.records if r["replica"] == "main-1") >= 60.0
    summary = summarise(outcome.fleet, name="", seed=0, workload="")
    end_s = outcome.fleet.measures.last_end_s
    # The second node is paid for from when it was asked for; the replica has its accelerator 30 s later.
    assert summary.paid_gpu_h == pytest.approx((2 * end_s - 10) / 3600)
    assert summary.gpu_h == pytest.approx((2 * end_s - 40) / 3600)
    assert summary.cost_usd == pytest.approx(2.0 * summary.paid_gpu_h)


def test_from_zero_and_back_to_zero():
    scaling = ScalingSpec(policy="queue", interval_s=5, target=4, min_replicas=0)
    pool = PoolSpec(replicas=0, startup_s=7, scaling=scaling)
    requests = [*stream(3, begin_s=2), *stream(3, begin_s=100)]
    outcome = simulate(requests, [(pool, model())])
    assert all(r["status"] == "finished" for r in outcome.records)
    assert outcome.by(0)["sent_s"] == 12.0
    assert events(outcome)[:3] == [(5.0, "main-0", "is wanted"), (12.0, "main-0", "ready"), (15.0, "main-0", "drains")]
    assert outcome.by(3)["replica"] == "main-1"


def test_a_drained_replica_finishes_what_it_has_and_its_node_goes_back():
    scaling = ScalingSpec(policy="queue", interval_s=5, target=100, min_replicas=1)
    pool = PoolSpec(replicas=2, scaling=scaling)
    requests = [*stream(2, spacing_s=0.1, output=1500), *stream(2, begin_s=60)]
    nodes = NodeSpec(accelerators=1, release_after_s=10)
    outcome = simulate(requests, [(pool, model())], nodes=nodes)
    assert (5.0, "main-1", "drains") in events(outcome)
    assert outcome.by(1)["replica"] == "main-1"
    assert outcome.by(1)["status"] == "finished"
    left_s = outcome.by(1)["ended_s"]
    summary = summarise(outcome.fleet, name="", seed=0, workload="")
    end_s = outcome.fleet.measures.last_end_s
    assert summary.gpu_h == pytest.approx((end_s + left_s) / 3600)
    assert summary.paid_gpu_h == pytest.approx((end_s + left_s + 10) / 3600)


def test_a_crash_loses_requests_and_a_retry_brings_them_back():
    failures = FailureSpec(crashes=(Crash(at_s=1.0),), repair_s=2.0)
    pools = [(PoolSpec(replicas=2, startup_s=3.0), model())]
    requests = [TraceRequest(0.0, 100, 300), TraceRequest(0.1, 100, 300), TraceRequest(0.995, 1000, 10)]
    outcome = simulate(requests, pools, failures=failures)
    streaming, other, prefilling = (outcome.by(n) for n in range(3))
    # One had sent tokens, which nobody can take back; the other had not.
    assert (streaming["status"], streaming["reason"], streaming["ended_s"]) == ("failed", "replica_crashed", 1.0)
    assert streaming["generated_tokens"] == 98 or streaming["generated_tokens"] == 99
    assert other["status"] == "finished"
    assert (prefilling["status"], prefilling["replica"], prefilling["retries"]) == ("finished", "main-1", 1)
    assert prefilling["sent_s"] == 1.0
    assert prefilling["arrived_s"] == 0.995
    assert events(outcome) == [(1.0, "main-0", "crashes")]


def test_the_only_replica_comes_back_after_repair_and_start():
    failures = FailureSpec(crashes=(Crash(at_s=1.0),), repair_s=2.0)
    pools = [(PoolSpec(startup_s=3.0), model())]
    outcome = simulate(stream(4), pools, failures=failures, gateway=GatewaySpec(retry="always"))
    assert {r["status"] for r in outcome.records} == {"finished"}
    assert outcome.by(3)["sent_s"] == 6.0
    assert outcome.by(0)["retries"] == 1
    replica = next(iter(outcome.fleet.lifecycle.replicas))
    assert replica.crashes == 1
    assert replica.ready_s == pytest.approx(outcome.fleet.measures.last_end_s - 5.0)


def test_retries_end_at_their_limit():
    crashes = tuple(Crash(at_s=1.0 + 2 * n) for n in range(5))
    outcome = simulate(
        [TraceRequest(0.9, 100, 300)],
        [(PoolSpec(startup_s=0.5), model())],
        failures=FailureSpec(crashes=crashes, repair_s=0.5),
        gateway=GatewaySpec(retry="always", max_retries=2),
    )
    assert (outcome.records[0]["status"], outcome.records[0]["retries"]) == ("failed", 2)


def test_without_any_replica_requests_fail_instead_of_hanging():
    outcome = simulate(stream(3), [(PoolSpec(replicas=0), model())])
    assert {(r["status"], r["reason"]) for r in outcome.records} == {("failed", "no_ready_replica")}
    outcome = simulate(stream(3), [(PoolSpec(replicas=0), model())], gateway=GatewaySpec(no_endpoint="fail"))
    assert {r["reason"] for r in outcome.records} == {"no_ready_endpoints"}
    assert [r["ended_s"] for r in outcome.records] == [0.0, 0.5, 1.0]


def test_random_failures_come_at_their_mean_rate():
    failures = FailureSpec(mtbf_s=100, repair_s=0.0)
    outcome = simulate(
        stream(500, spacing_s=10, output=2), [(PoolSpec(replicas=4, startup_s=0.0), model())], failures=failures
    )
    crashes = sum(what == "crashes" for _, _, what in events(outcome))
    assert crashes == pytest.approx(200, rel=0.25)
    assert all(r["status"] == "finished" for r in outcome.records)


def test_a_replica_that_fits_no_node_is_an_error():
    with pytest.raises(ScenarioError, match="needs 8 accelerators and a node has 4"):
        simulate(stream(1), [(PoolSpec(), model(accelerators=8))], nodes=NodeSpec(accelerators=4))


def test_two_replicas_share_a_node():
    nodes = NodeSpec(accelerators=8)
    outcome = simulate(stream(2), [(PoolSpec(replicas=3), model(accelerators=4))], nodes=nodes)
    assert outcome.fleet.lifecycle.nodes.count == 2


def test_every_turn_of_a_conversation_that_nobody_serves_fails():
    turns = [TraceRequest(0.1 * n, 10, 10, session="s") for n in range(4)]
    outcome = simulate(turns, [(PoolSpec(replicas=0), model())])
    assert [r["status"] for r in outcome.records] == ["failed"] * 4
