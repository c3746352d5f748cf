"""What happens to requests: latencies and prefix hits computed by hand, policies, conversations, patience."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.simulator.engine import Engine, Request
from fairlead.simulator.fleet import GatewaySpec, PoolSpec
from fairlead.simulator.profile import FrontendCost
from fairlead.workload import Slo, TraceRequest
from simulator.fleet.small_fleets import model, simulate


def request(time_s, prompt=100, output=5, **fields):
    return TraceRequest(float(time_s), prompt, output, **fields)


def test_one_request_by_hand():
    outcome = simulate([request(1, prompt=100, output=5)], slo=Slo(ttft_s=0.03, itl_s=0.0101, e2e_s=0.05))
    record = outcome.records[0]
    # 10 ms and 100 tokens of 0.1 ms, then four iterations of 10 ms.
    assert record["first_token_s"] == pytest.approx(1.020)
    assert record["ended_s"] == pytest.approx(1.060)
    assert (record["status"], record["generated_tokens"], record["replica"]) == ("finished", 5, "main-0")
    measures = outcome.fleet.measures
    assert measures.ttft.max == pytest.approx(0.020)
    assert measures.tpot.max == pytest.approx(0.010)
    assert measures.e2e.max == pytest.approx(0.060)
    assert measures.kept == {"ttft": 1, "itl": 1, "e2e": 0}
    assert measures.good == 0


def test_the_frontend_delays_the_way_in_and_the_way_out():
    frontend = FrontendCost(request_s=0.1, prompt_token_s=0.001, response_s=0.02)
    outcome = simulate([request(0, prompt=100)], [(PoolSpec(), model(frontend=frontend))])
    record = outcome.records[0]
    assert record["sent_s"] == 0
    assert record["scheduled_s"] == pytest.approx(0.2)
    assert record["first_token_s"] == pytest.approx(0.2 + 0.02 + 0.02)
    assert record["ended_s"] == pytest.approx(0.2 + 0.06 + 0.02)


def test_prefix_hits_of_a_small_trace_by_hand():
    ids = {"block_tokens": 16}
    outcome = simulate(
        [
            request(0, prompt=64, output=1, hash_ids=(1, 2, 3, 4), **ids),
            # The same prompt: the last token is computed in any case, so 3 of 4 blocks help.
            request(1, prompt=64, output=1, hash_ids=(1, 2, 3, 4), **ids),
            request(2, prompt=80, output=1, hash_ids=(1, 2, 3, 4, 5), **ids),
            request(3, prompt=64, output=1, hash_ids=(1, 2, 9, 4), **ids),
            request(4, prompt=64, output=1),
        ]
    )
    assert [r["cached_tokens"] for r in outcome.records] == [0, 48, 64, 32, 0]
    scheduler = outcome.engines[0].scheduler
    assert scheduler.prefix_hit_tokens == 48 + 64 + 32
    assert scheduler.prefix_queried_tokens == 64 * 4 + 80
    # What is cached is not computed: 10 ms and 16 tokens of 0.1 ms.
    assert outcome.by(1)["first_token_s"] == pytest.approx(1.0116)


def test_mooncake_blocks_hit_in_blocks_of_the_engine():
    first = request(0, prompt=1024, hash_ids=(7, 8))
    other = request(5, prompt=1536, hash_ids=(7, 9, 10))
    outcome = simulate([first, other])
    assert outcome.by(1)["cached_tokens"] == 512


def burst(count, spacing_s=0.001, output=50):
    return [request(n * spacing_s, output=output) for n in range(count)]


def test_round_robin_goes_round_and_random_does_not():
    def picked(policy):
        outcome = simulate(burst(12), [(PoolSpec(replicas=3), model())], gateway=GatewaySpec(policy=policy))
        return [outcome.by(n)["replica"] for n in range(12)]

    assert picked("round-robin") == ["main-0", "main-1", "main-2"] * 4
    assert picked("random") != picked("round-robin")
    assert set(picked("random")) == {"main-0", "main-1", "main-2"}


def test_least_loaded_avoids_the_replica_that_is_still_busy():
    requests = [request(0, output=1000), *(request(1 + n, output=10) for n in range(6))]
    outcome = simulate(requests, [(PoolSpec(replicas=2), model())])
    assert [outcome.by(n)["replica"] for n in range(7)] == ["main-0"] + ["main-1"] * 6


def test_least_loaded_sees_cache_use_only_as_often_as_it_scrapes():
    # Both replicas have one request; the one of main-0 fills its cache.
    requests = [request(0, prompt=12_000, output=2000), request(0.5, prompt=100, output=2000), request(3, output=2)]
    for interval_s, expected in ((0.2, "main-1"), (100.0, "main-0")):
        gateway = GatewaySpec(scrape_interval_s=interval_s, stale_after_s=1000)
        assert simulate(requests, [(PoolSpec(replicas=2), model())], gateway=gateway).by(2)["replica"] == expected


def test_data_parallel_ranks_share_the_load_of_a_replica():
    outcome = simulate(burst(8), [(PoolSpec(), model(ranks=2))])
    assert [engine.counters.prompt_tokens for engine in outcome.engines] == [400, 400]


def test_a_turn_waits_for_the_answer_before_it():
    turns = [request(n * 0.01, output=20, session="s") for n in range(3)]
    outcome = simulate([*turns, request(0.03, session="other")])
    records = [r for r in outcome.records if r["session"] == "s"]
    for before, after in pairwise(records):
        assert after["arrived_s"] == before["ended_s"]


def test_requests_that_no_engine_could_serve_fail_and_say_so():
    outcome = simulate(
        [request(0, prompt=3000), request(1, prompt=100), request(2, prompt=900, output=900)],
        [(PoolSpec(), model(num_blocks=100))],
    )
    assert [(r["status"], r["reason"]) for r in outcome.records] == [
        ("failed", "too_long"),
        ("finished", ""),
        ("failed", "too_long"),
    ]
    assert outcome.fleet.measures.reasons == {"too_long": 2}


def test_clients_without_patience_leave_the_queue():
    pool = [(PoolSpec(), model(max_num_seqs=1))]
    outcome = simulate(burst(5, output=100), pool, gateway=GatewaySpec(patience_s=1.5))
    assert [outcome.by(n)["status"] for n in range(5)] == ["finished", "finished"] + ["abandoned"] * 3
    lost = outcome.by(4)
    assert (lost["reason"], lost["generated_tokens"], lost["scheduled_s"]) == ("no_first_token_in_time", 0, None)
    assert lost["ended_s"] == pytest.approx(1.504)


def test_a_deadline_cuts_an_answer_short():
    outcome = simulate([request(0, output=500), request(10)], gateway=GatewaySpec(deadline_s=1.0))
    cut = outcome.by(0)
    assert (cut["status"], cut["reason"], cut["ended_s"]) == ("abandoned", "deadline", 1.0)
    # The first token at 20 ms, then one every 10 ms.
    assert cut["generated_tokens"] in (98, 99)
    assert outcome.by(1)["status"] == "finished"
    assert outcome.engines[0].scheduler.cache.free_blocks == 1000


def test_objectives_of_a_request_come_before_those_of_the_study():
    requests = [request(0, slo=Slo(e2e_s=0.01)), request(5), request(9, slo=Slo(ttft_s=9))]
    measures = simulate(requests, slo=Slo(e2e_s=1)).fleet.measures
    assert (measures.asked, measures.kept, measures.good) == (
        {"ttft": 1, "itl": 0, "e2e": 2},
        {"ttft": 1, "itl": 0, "e2e": 1},
        2,
    )


def test_arrivals_out_of_order_are_an_error():
    with pytest.raises(ValueError, match="sort them by time"):
        simulate([request(2), request(1)])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=5), st.integers(1, 90), st.integers(1, 40)), max_size=15),
    st.sampled_from([16, 32]),
)
def test_hits_of_any_trace_are_the_longest_prefix_that_came_before(trace, id_tokens):
    """One request at a time on a cache that forgets nothing: hits can be computed from the ids alone."""
    requests, expected, seen = [], [], set()
    for number, (ids, prompt, output) in enumerate(trace):
        requests.append(
            TraceRequest(100.0 * number, prompt, output, hash_ids=tuple(ids), block_tokens=id_tokens, adapter="")
        )
        named = min(len(ids) * id_tokens, prompt)
        if len(ids) * id_tokens - prompt >= id_tokens:
            named = min(len(ids) * id_tokens, prompt + output)
        # Block n is the ids up to its own, and its place within the last of them.
        blocks = [(tuple(ids[: n * 16 // id_tokens + 1]), n * 16 % id_tokens) for n in range(named // 16)]
        hit = 0
        while hit < min(len(blocks), (prompt - 1) // 16) and blocks[hit] in seen:
            hit += 1
        expected.append(16 * hit)
        # The last token of an answer is never computed.
        seen.update(blocks[: (prompt + output - 1) // 16])
    outcome = simulate(requests)
    assert [outcome.by(n)["cached_tokens"] for n in range(len(trace))] == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 400), st.integers(1, 60)), min_size=1, max_size=25))
def test_a_fleet_of_one_replica_is_its_engine(given_requests):
    time_s, requests = 0.0, []
    for gap_s, prompt, output in given_requests:
        time_s += gap_s
        requests.append(TraceRequest(time_s, prompt, output))
    kind = model(num_blocks=60, max_num_seqs=4, async_scheduling=True)
    engine = Engine(kind.settings, kind.cost)
    sequences = [engine.submit(r.time_s, Request(n, r.prompt_tokens, r.output_tokens)) for n, r in enumerate(requests)]
    engine.advance(1e6)
    outcome = simulate(requests, [(PoolSpec(), kind)])
    for number, sequence in enumerate(sequences):
        record = outcome.by(number)
        assert record["scheduled_s"] == pytest.approx(sequence.scheduled_s)
        assert record["first_token_s"] == pytest.approx(sequence.first_token_s)
        assert record["ended_s"] == pytest.approx(sequence.finished_s)
        assert record["preemptions"] == sequence.preemptions


def test_many_who_wait_in_vain_leave_in_no_time():
    gateway = GatewaySpec(patience_s=1.0)
    outcome = simulate([request(n / 30_000) for n in range(30_000)], [(PoolSpec(replicas=0), model())], gateway=gateway)
    assert {r["reason"] for r in outcome.records} == {"no_first_token_in_time"}
    assert len(outcome.records) == 30_000
