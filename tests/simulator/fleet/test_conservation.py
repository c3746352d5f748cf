"""Whatever happens to a fleet: every request ends once, tokens add up, no block leaks, a seed gives one result."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.simulator.engine import AdapterSettings, Speculation
from fairlead.simulator.fleet import (
    POLICIES,
    Crash,
    FailureSpec,
    GatewaySpec,
    NodeSpec,
    PoolSpec,
    ScalingSpec,
    summarise,
)
from fairlead.simulator.profile import FrontendCost
from fairlead.workload import Slo, TraceRequest
from simulator.fleet.small_fleets import model, simulate

small = st.integers(1, 300)


@st.composite
def traces(draw):
    gaps = draw(st.lists(st.floats(0, 2), min_size=1, max_size=40))
    time_s, requests = 0.0, []
    for gap in gaps:
        time_s += gap
        ids = draw(st.lists(st.integers(0, 2), max_size=6).map(tuple))
        requests.append(
            TraceRequest(
                time_s,
                draw(small),
                draw(small),
                hash_ids=ids,
                block_tokens=draw(st.sampled_from([16, 32])),
                session=draw(st.sampled_from(["", "", "a", "b"])),
                adapter=draw(st.sampled_from(["", "x", "y"])),
            )
        )
    return requests


@st.composite
def fleets(draw):
    """(pools, options) of a fleet; small caches, so that preemption and rejection happen."""
    roles = draw(st.sampled_from([("both",), ("both", "both"), ("prefill", "decode")]))
    scaling = draw(
        st.sampled_from([ScalingSpec(), ScalingSpec(policy="queue", interval_s=3, target=3, min_replicas=0)])
    )
    pools = []
    for number, role in enumerate(roles):
        spec = PoolSpec(
            name=f"p{number}",
            role=role,
            replicas=draw(st.integers(0, 3)),
            startup_s=draw(st.floats(0, 5)),
            scaling=scaling,
        )
        kind = model(
            num_blocks=draw(st.integers(20, 60)),
            max_num_seqs=draw(st.integers(1, 6)),
            max_num_batched_tokens=draw(st.integers(64, 512)),
            ranks=draw(st.integers(1, 2)),
            async_scheduling=draw(st.booleans()),
            jitter=draw(st.sampled_from([0.0, 0.2])),
            adapters=draw(st.sampled_from([None, AdapterSettings(max_loras=1, max_cpu_loras=1)])),
            speculation=draw(st.sampled_from([None, Speculation(2, 0.6)])),
            frontend=draw(st.sampled_from([FrontendCost(), FrontendCost(0.02, 0.0001, 0.01)])),
        )
        pools.append((spec, kind))
    crashes = draw(
        st.lists(st.builds(Crash, at_s=st.floats(0, 40), pool=st.just("p0"), replica=st.integers(0, 2)), max_size=3)
    )
    options = {
        "gateway": GatewaySpec(
            policy=draw(st.sampled_from(sorted(POLICIES))),
            retry=draw(st.sampled_from(["never", "before-first-token", "always"])),
            no_endpoint=draw(st.sampled_from(["wait", "fail"])),
            patience_s=draw(st.sampled_from([None, 2.0])),
            deadline_s=draw(st.sampled_from([None, 4.0])),
        ),
        "failures": FailureSpec(crashes=tuple(crashes), mtbf_s=draw(st.sampled_from([None, 20.0])), repair_s=1.0),
        "nodes": draw(st.sampled_from([None, NodeSpec(accelerators=2, provision_s=4, release_after_s=5, max_nodes=4)])),
        "slo": draw(st.sampled_from([Slo(), Slo(ttft_s=1, itl_s=0.02, e2e_s=5)])),
        "seed": draw(st.integers(0, 9)),
    }
    return pools, options


def rerun(requests, pools, options):
    fresh = [
        (spec, type(kind)(**{n: getattr(kind, n) for n in kind.__dataclass_fields__ if n != "made"}))
        for spec, kind in pools
    ]
    return simulate([copy_of(r) for r in requests], fresh, **options)


def copy_of(request):
    return TraceRequest(**{name: getattr(request, name) for name in TraceRequest.__struct_fields__})


@settings(deadline=None, max_examples=150)
@given(traces(), fleets())
def test_every_request_ends_once_and_everything_adds_up(requests, fleet):
    pools, options = fleet
    outcome = rerun(requests, pools, options)
    records, measures = outcome.records, outcome.fleet.measures
    assert sorted(r["request"] for r in records) == list(range(len(requests)))
    assert measures.arrived == len(requests) == measures.finished + measures.failed + measures.abandoned
    for record in records:
        check_record(record)
    finished = [r for r in records if r["status"] == "finished"]
    assert measures.finished == len(finished)
    assert measures.output_tokens == sum(r["output_tokens"] for r in finished)
    assert measures.prompt_tokens == sum(r["prompt_tokens"] for r in finished)
    assert "stalled" not in measures.reasons
    assert sum(measures.reasons.values()) == len(records) - len(finished)
    assert sum(b.arrivals for b in measures.series._bins) == len(requests)
    assert sum(b.output_tokens for b in measures.series._bins) == measures.output_tokens
    check_replicas(outcome)
    summary = summarise(outcome.fleet, name="", seed=0, workload="")
    assert summary.good_requests <= summary.finished
    assert summary.paid_gpu_h >= summary.gpu_h - 1e-9


def check_record(record):
    assert (record["reason"] == "") == (record["status"] == "finished")
    if record["status"] == "finished":
        assert record["generated_tokens"] == record["output_tokens"]
        assert record["arrived_s"] <= record["sent_s"] <= record["first_token_s"] <= record["ended_s"]
        assert record["arrived_s"] <= record["scheduled_s"] < record["first_token_s"]
        assert 0 <= record["cached_tokens"] < record["prompt_tokens"]
    else:
        assert record["generated_tokens"] <= record["output_tokens"]
        assert record["arrived_s"] <= record["ended_s"]


def check_replicas(outcome):
    """Nothing is left anywhere, and engines that saw no violence have all their blocks."""
    for replica in outcome.fleet.lifecycle.replicas:
        assert replica.in_flight == 0
        assert replica.holds == 0
        assert not replica.tickets
        assert not replica.ranks
    peaceful = not outcome.fleet.measures.abandoned and not any(r.crashes for r in outcome.fleet.lifecycle.replicas)
    if peaceful:
        for engine in outcome.engines:
            assert engine.scheduler.cache.free_blocks == engine.settings.num_blocks
        generated = sum(engine.counters.generation_tokens for engine in outcome.engines)
        handed_over = sum(bool(r["prefill_replica"]) for r in outcome.records)
        got = sum(r["generated_tokens"] for r in outcome.records)
        assert generated == got + handed_over


@settings(deadline=None, max_examples=40)
@given(traces(), fleets())
def test_a_seed_gives_one_result(requests, fleet):
    pools, options = fleet
    first, second = (rerun(requests, pools, options) for _ in range(2))
    assert first.records == second.records
    assert first.fleet.lifecycle.events == second.fleet.lifecycle.events
