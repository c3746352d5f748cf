"""Prefill and decode pools: the hand-off by hand, and what happens when one side dies."""

import pytest

from fairlead.simulator.engine import TransferSettings
from fairlead.simulator.fleet import Crash, FailureSpec, GatewaySpec, PoolSpec
from fairlead.workload import TraceRequest
from simulator.fleet.small_fleets import model, simulate


def pools(prefill=1, decode=1, **settings):
    return [
        (PoolSpec(name="prefill", replicas=prefill, role="prefill", startup_s=1), model(**settings)),
        (PoolSpec(name="decode", replicas=decode, role="decode", startup_s=1), model(**settings)),
    ]


def test_a_hand_off_by_hand():
    outcome = simulate([TraceRequest(0.0, 1000, 5)], pools())
    record = outcome.records[0]
    assert (record["prefill_replica"], record["replica"]) == ("prefill-0", "decode-0")
    # Prefill 10 ms + 1000 × 0.1 ms, then 50 ms and 999 or 1000 tokens at 10,000/s, then one iteration with one token.
    assert record["sent_s"] == pytest.approx(0.110)
    assert record["first_token_s"] == pytest.approx(0.110 + 0.05 + 0.1 + 0.0101, abs=0.0003)
    assert record["ended_s"] == pytest.approx(record["first_token_s"] + 0.04)
    assert record["generated_tokens"] == 5
    prefill, decode = outcome.engines
    assert (prefill.counters.generation_tokens, decode.counters.generation_tokens) == (1, 5)
    assert decode.counters.fetched_tokens in (999, 1000)


def test_the_prefill_side_keeps_the_cache_until_it_is_fetched_and_no_longer():
    requests = [TraceRequest(0.0, 800, 5), TraceRequest(0.1, 800, 5)]
    outcome = simulate(requests, pools(num_blocks=60))
    first, second = (outcome.by(n) for n in range(2))
    # 50 blocks each: the second prompt waits for the first cache to be fetched, 0.09 + 0.05 + 0.08 s.
    assert second["scheduled_s"] == pytest.approx(0.22, abs=0.0003)
    assert first["status"] == second["status"] == "finished"
    assert all(engine.scheduler.cache.free_blocks == 60 for engine in outcome.engines)


def test_shared_prefixes_hit_on_both_sides():
    ids = {"hash_ids": (1, 2), "block_tokens": 512}
    outcome = simulate([TraceRequest(0.0, 1024, 5, **ids), TraceRequest(5.0, 1024, 5, **ids)], pools())
    assert outcome.by(1)["cached_tokens"] == 1008
    assert outcome.engines[1].counters.fetched_tokens < 1024 + 32


@pytest.mark.parametrize(
    ("dies", "at_s", "retry", "expected"),
    [
        ("prefill", 0.05, "before-first-token", ("finished", 1)),
        # The cache is on its way: what was computed is lost with the prefill replica.
        ("prefill", 0.15, "before-first-token", ("finished", 1)),
        ("decode", 0.15, "before-first-token", ("finished", 1)),
        ("decode", 0.40, "before-first-token", ("failed", 0)),
        ("decode", 0.40, "always", ("finished", 1)),
        ("prefill", 0.40, "never", ("finished", 0)),
        ("prefill", 0.15, "never", ("failed", 0)),
    ],
)
def test_a_side_dies(dies, at_s, retry, expected):
    outcome = simulate(
        [TraceRequest(0.0, 1000, 100)],
        pools(),
        failures=FailureSpec(crashes=(Crash(at_s=at_s, pool=dies),), repair_s=1),
        gateway=GatewaySpec(retry=retry),
    )
    record = outcome.records[0]
    assert (record["status"], record["retries"]) == expected
    if record["status"] == "finished":
        assert record["generated_tokens"] == 100
    survivor = next(m for side, m in zip(("prefill", "decode"), outcome.models, strict=True) if side != dies)
    assert survivor.made[-1].scheduler.cache.free_blocks == 1000


def test_a_draining_prefill_replica_waits_for_its_caches_to_be_fetched():
    slow = TransferSettings(latency_s=5, tokens_per_s=10_000)
    outcome = simulate([TraceRequest(0.0, 1000, 3)], pools(transfer=slow), gateway=GatewaySpec(deadline_s=2))
    assert outcome.records[0]["reason"] == "deadline"
    assert all(replica.holds == replica.in_flight == 0 for replica in outcome.fleet.lifecycle.replicas)
    assert outcome.engines[0].scheduler.cache.free_blocks == 1000
