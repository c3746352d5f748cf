"""The engine's promises one by one: admission, chunks, prefix reuse, preemption, adapters, roles, operations."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.perf.step import LinearCost
from fairlead.simulator.engine import (
    AdapterSettings,
    Engine,
    EngineSettings,
    RequestTooLong,
    SettingsError,
    Speculation,
    State,
    TransferSettings,
)
from simulator.engine.engines import COST, FOREVER_S, chain, engine, request


def test_one_request_takes_its_prefill_and_one_iteration_per_further_token():
    one = engine()
    got = one.submit(1.0, request("a", 100, 3))
    assert one.next_s == pytest.approx(1.0 + 0.01 + 100 * 1e-4)
    one.advance(FOREVER_S)
    assert got.first_token_s == pytest.approx(1.02)
    decode_s = (0.011 + 100e-6) + (0.011 + 101e-6)
    assert got.finished_s == pytest.approx(1.02 + decode_s)
    assert one.finished == [got]
    assert (one.num_running, one.num_waiting, one.next_s) == (0, 0, float("inf"))


def test_tokens_appear_at_the_ends_of_iterations():
    one = engine(cost=LinearCost(0.01, 0, 0, 0, 0))
    got = one.submit(0.0, request("a", 5, 100))
    for step in range(1, 40):
        boundary_s = one.next_boundary_s(0.01 * (step - 1) + 0.001)
        assert boundary_s == pytest.approx(0.01 * step)
        one.advance(boundary_s - 0.0005)
        assert one.tokens_of(got, boundary_s - 0.0005) == step - 1
        one.advance(boundary_s + 1e-9)
        assert one.tokens_of(got, boundary_s + 1e-9) == step
        assert one.generation_tokens(boundary_s + 1e-9) == step


def test_prefix_hits_of_a_trace_worked_out_by_hand():
    """Blocks of 4. a: 10 tokens [1 2 .], nothing cached. b: [1 2 3 4], 16 tokens: a's two full blocks hit. c: the same
    as b: three of four blocks hit, the last one is computed for its last token. d: [9 ...]: nothing."""
    one = engine()
    for at_s, (name, tokens, blocks) in enumerate(
        [("a", 10, chain(1, 2)), ("b", 16, chain(1, 2, 3, 4)), ("c", 16, chain(1, 2, 3, 4)), ("d", 8, chain(9, 2))]
    ):
        one.submit(float(at_s), request(name, tokens, 1, blocks))
    one.advance(FOREVER_S)
    assert {s.request.id: s.cached_tokens for s in one.finished} == {"a": 0, "b": 8, "c": 12, "d": 0}
    assert one.scheduler.prefix_queried_tokens == 10 + 16 + 16 + 8
    assert one.scheduler.prefix_hit_tokens == 20


def test_a_follow_up_hits_what_was_generated():
    one = engine()
    one.submit(0.0, request("a", 8, 9, chain(1, 2, 3, 4)))
    one.advance(FOREVER_S - 1)
    # 8 + 9 tokens, of which the last was never computed: 16 tokens, four full blocks.
    follow_up = one.submit(FOREVER_S - 1, request("b", 24, 1, chain(1, 2, 3, 4, 5, 6)))
    one.advance(FOREVER_S)
    assert follow_up.cached_tokens == 16


def test_long_prompts_are_cut_into_chunks_beside_decoding():
    one = engine(max_num_batched_tokens=256)
    short = one.submit(0.0, request("short", 4, 50))
    one.advance(0.05)
    long = one.submit(0.05, request("long", 1000, 1))
    one.advance(one.next_s)  # the iteration under way
    before = one.counters.iterations
    while long.state is not State.FINISHED:
        one.advance(one.next_s)
    assert one.counters.iterations - before == 4  # 255 + 255 + 255 + 235 beside one decoding
    assert short.state is State.DECODE


def test_preemption_puts_the_last_back_and_loses_nothing():
    one = engine(num_blocks=6, max_num_seqs=2, prefix_caching=False)
    first, second = one.submit(0.0, request("a", 8, 12)), one.submit(0.001, request("b", 8, 12))
    one.advance(FOREVER_S)
    assert (first.preemptions, second.preemptions) == (0, 1)
    assert first.finished_s < second.finished_s
    assert one.counters.generation_tokens == 24
    assert one.itl.count == 22  # every gap between tokens, the one over the preemption too
    assert one.used_blocks(FOREVER_S) == 0


@pytest.mark.parametrize(("ahead", "starts_s"), [(False, 3.0), (True, 4.0)])
def test_scheduling_ahead_gives_a_place_one_iteration_later(ahead, starts_s):
    """a ends at 3; with scheduling ahead the iteration that starts then has been put together with a in its place."""
    one = engine(cost=LinearCost(1, 0, 0, 0, 0), max_num_seqs=2, async_scheduling=ahead)
    one.submit(0.0, request("a", 4, 3))
    one.submit(0.1, request("b", 4, 9))
    third = one.submit(0.2, request("c", 4, 1))
    one.advance(FOREVER_S)
    assert third.scheduled_s == starts_s


def test_with_nothing_else_to_compute_a_place_is_given_at_once():
    one = engine(cost=LinearCost(1, 0, 0, 0, 0), max_num_seqs=1, async_scheduling=True)
    one.submit(0.0, request("a", 4, 3))
    second = one.submit(0.2, request("b", 4, 1))
    one.advance(FOREVER_S)
    assert second.scheduled_s == 3.0


def test_scheduling_ahead_a_sequence_can_be_preempted_for_blocks_that_are_about_to_be_free():
    """Three blocks. a has two of them and ends at 3, when b needs a second one and is the last in the batch."""
    cost = LinearCost(1, 0, 0, 0, 0)
    for ahead, preemptions in ((False, 0), (True, 1)):
        one = engine(cost=cost, num_blocks=3, block_tokens=4, max_num_seqs=2, async_scheduling=ahead)
        one.submit(0.0, request("a", 5, 3))
        got = one.submit(0.1, request("b", 4 if ahead else 3, 8))  # admitted at 2 and at 1
        one.advance(FOREVER_S)
        assert got.preemptions == preemptions


def test_only_a_prompt_that_others_can_see_is_limited():
    """Scheduling ahead, the second iteration is put together before b is known: a has the whole budget."""
    fields = {"max_num_batched_tokens": 256, "max_num_seqs": 4, "long_prefill_token_threshold": 16}
    for ahead, finished_s in ((True, 2.0), (False, 5.0)):
        one = engine(cost=LinearCost(1, 0, 0, 0, 0), async_scheduling=ahead, **fields)
        got = one.submit(0.0, request("a", 256 + 64, 1))
        one.submit(0.5, request("b", 64, 1))
        one.advance(FOREVER_S)
        assert got.first_token_s == finished_s


def test_what_is_being_generated_can_be_found():
    one = engine(cost=LinearCost(1, 0, 0, 0, 0))
    one.submit(0.0, request("a", 4, 40, chain(*range(11))))
    follow_up = one.submit(8.5, request("b", 16, 1, chain(0, 1, 2, 9)))
    one.advance(FOREVER_S)
    # At 9 s, a has generated 9 tokens; the iteration that starts then computes the last of them, its twelfth in all.
    assert follow_up.cached_tokens == 12


def test_adapters_beyond_the_slots_wait_and_others_pass_them():
    one = engine(adapters=AdapterSettings(max_loras=1, max_cpu_loras=2, device_load_s=0.5, host_load_s=1.0))
    first = one.submit(0.0, request("a", 4, 50, adapter="x"))
    assert one.running_adapters() == ["x"]
    other = one.submit(0.1, request("b", 4, 2, adapter="y"))
    plain = one.submit(0.2, request("c", 4, 2))
    assert one.waiting_adapters() == ["y"]
    one.advance(FOREVER_S - 1)
    assert first.first_token_s == pytest.approx(1.5 + 0.01 + 4e-4)
    assert plain.finished_s < first.finished_s < other.first_token_s
    again = one.submit(FOREVER_S - 1, request("d", 4, 1, adapter="x"))
    one.advance(FOREVER_S)
    assert again.first_token_s - again.arrived_s == pytest.approx(0.5 + 0.01 + 4e-4)  # still in host memory


def test_decode_role_fetches_then_computes_one_token():
    transfer = TransferSettings(latency_s=0.1, tokens_per_s=1000.0)
    one = engine(transfer=transfer)
    got = one.submit(0.0, request("a", 100, 2, remote_kv=True))
    assert (got.state, one.num_waiting, one.num_running) == (State.FETCHING, 1, 0)
    assert one.used_blocks(0.0) == 25
    one.advance(FOREVER_S)
    assert got.first_token_s == pytest.approx(0.2 + 0.01 + 1e-4)
    assert one.counters.fetched_tokens == 100
    assert one.used_blocks(FOREVER_S) == 0


def test_prefill_role_holds_its_cache_until_released_or_too_old():
    one = engine(num_blocks=30, transfer=TransferSettings(hold_s=50.0))
    held = one.submit(0.0, request("a", 100, 1, hold_kv=True))
    one.advance(1.0)
    assert (held.state, one.finished) == (State.HELD, [held])
    assert one.used_blocks(1.0) == 25
    blocked = one.submit(2.0, request("b", 100, 1, hold_kv=True))
    one.advance(3.0)
    assert blocked.state is State.WAITING
    one.release(4.0, held)
    one.advance(5.0)
    assert blocked.state is State.HELD
    assert blocked.scheduled_s == 4.0
    one.advance(FOREVER_S)
    assert blocked.state is State.FINISHED
    assert one.used_blocks(FOREVER_S) == 0


def test_a_sleeping_engine_serves_after_waking():
    one = engine(wake_s=2.0)
    got = one.submit(0.0, request("a", 8, 100, chain(1, 2)))
    one.advance(0.1)
    had = one.tokens_of(got, 0.1)
    assert had > 1
    one.sleep(0.1)
    assert (one.is_sleeping, one.num_running, one.num_waiting) == (True, 0, 1)
    assert one.used_blocks(0.1) == 0
    one.advance(50.0)
    assert got.generated_tokens == had
    one.wake(50.0)
    one.advance(FOREVER_S)
    assert got.generated_tokens == 100
    assert got.finished_s > 52.0


def test_an_engine_that_is_put_to_sleep_while_it_wakes_sleeps():
    one = engine(wake_s=2.0)
    got = one.submit(0.0, request("a", 8, 100))
    one.sleep(0.1)
    one.wake(1.0)
    one.sleep(2.0)
    one.advance(50.0)
    assert one.is_sleeping
    assert got.state is State.WAITING
    one.wake(50.0)
    one.advance(FOREVER_S)
    assert got.finished_s > 52.0


def test_a_fetch_that_sleep_broke_off_starts_over():
    """The engine is full when the cache arrives, so it stands in the queue for the rest of a busy time."""
    one = engine(max_num_seqs=1, transfer=TransferSettings(latency_s=10.0, tokens_per_s=1e9))
    got = one.submit(0.0, request("a", 100, 2, remote_kv=True))
    one.sleep(5.0)
    one.wake(6.0)
    one.advance(7.0)
    assert got.state is State.FETCHING
    one.submit(7.0, request("b", 8, 1000))
    one.advance(FOREVER_S)
    assert got.first_token_s > 16.0
    assert [s.request.id for s in one.finished] == ["b", "a"]


def test_abort_frees_at_the_boundary():
    one = engine()
    leaving, staying = one.submit(0.0, request("a", 40, 1000)), one.submit(0.0, request("b", 40, 1000))
    one.advance(0.5)
    one.abort(0.5, leaving)
    one.advance(1.0)
    assert leaving.state is State.ABORTED
    assert one.running_sequences() == [staying]
    one.abort(1.0, staying)
    one.advance(2.0)
    assert (one.used_blocks(2.0), one.num_running, one.finished) == (0, 0, [])


def test_reset_prefix_cache_only_without_users():
    one = engine()
    one.submit(0.0, request("a", 8, 20, chain(1, 2)))
    assert not one.reset_prefix_cache(0.05)
    one.advance(10.0)
    assert one.reset_prefix_cache(10.0)
    cold = one.submit(11.0, request("b", 8, 1, chain(1, 2)))
    one.advance(12.0)
    assert cold.cached_tokens == 0


def test_crash_tells_what_was_lost():
    one = engine(max_num_seqs=1)
    running, waiting = one.submit(0.0, request("a", 8, 20)), one.submit(0.0, request("b", 8, 20))
    assert set(one.crash()) == {running, waiting}
    assert one.next_s == float("inf")


@pytest.mark.parametrize(
    ("prompt", "output", "says"),
    [(0, 1, "at least 1"), (1, 0, "at least 1"), (900, 200, "max_model_len"), (400, 1, "KV cache")],
)
def test_what_can_never_run_is_refused(prompt, output, says):
    with pytest.raises(RequestTooLong, match=says):
        engine(max_model_len=1000, num_blocks=90).submit(0.0, request("a", prompt, output))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"num_blocks": 0}, "num_blocks is 0"),
        ({"watermark": 1.0}, "watermark is 1.0"),
        ({"jitter": 2.0}, "jitter is 2.0"),
        ({"max_num_seqs": 5000}, "max_num_batched_tokens is 2048"),
        ({"chunked_prefill": False}, "max_model_len"),
        ({"speculation": Speculation(2, 1.5)}, "acceptance is 1.5"),
        ({"adapters": AdapterSettings(4, 2)}, "max_cpu_loras is 2"),
        ({"transfer": TransferSettings(tokens_per_s=0)}, "tokens_per_s is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, says):
    with pytest.raises(SettingsError, match=says):
        EngineSettings(**fields)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(0.0, 3.0), max_size=30), st.sampled_from([0.0, 0.2]))
def test_looking_in_between_changes_nothing(seed, looks, jitter):
    """A live server advances at every iteration, a simulation from event to event: same seed, same times."""

    def run(times_s):
        chosen = random.Random(seed)
        one = Engine(EngineSettings(num_blocks=80, block_tokens=4, jitter=jitter), COST, seed=seed)
        arrivals = sorted((chosen.uniform(0, 1), chosen.randrange(1, 60), chosen.randrange(1, 60)) for _ in range(12))
        every = []
        for number, (at_s, prompt, output) in enumerate(arrivals):
            for look_s in times_s:
                if (arrivals[number - 1][0] if number else 0) < look_s < at_s:
                    one.advance(look_s)
                    one.next_boundary_s(look_s)
                    one.kv_usage(look_s)
            every.append(one.submit(at_s, request(number, prompt, output)))
        one.advance(FOREVER_S)
        return [(s.first_token_s, s.finished_s) for s in every]

    assert run(sorted(looks)) == run([])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_is_lost_or_leaked_whatever_happens(seed):
    chosen = random.Random(seed)
    one = engine(
        num_blocks=40,
        max_num_seqs=4,
        max_num_batched_tokens=32,
        adapters=AdapterSettings(1, 2, 0.01, 0.02),
        transfer=TransferSettings(0.01, 500.0, hold_s=2.0),
        speculation=chosen.choice([None, Speculation(2, 0.5)]),
        async_scheduling=chosen.random() < 0.5,
    )
    now_s, every, aborted = 0.0, [], []
    for number in range(60):
        now_s += chosen.expovariate(20)
        match chosen.randrange(8):
            case 0 if every:
                aborted.append(chosen.choice(every))
                one.abort(now_s, aborted[-1])
            case 1 if every:
                one.release(now_s, chosen.choice(every))
            case 2 if chosen.random() < 0.3:
                one.sleep(now_s)
                one.wake(now_s + 0.1)
            case _:
                blocks = chain(*(chosen.randrange(2) for _ in range(chosen.randrange(5))))
                prompt, output = chosen.randrange(1, 60), chosen.randrange(1, 60)
                every.append(
                    one.submit(
                        max(now_s, 0.0),
                        request(
                            number, prompt, output, blocks[: (prompt + output) // 4 * 8],
                            adapter=chosen.choice(["", "x", "y"]),
                            hold_kv=chosen.random() < 0.2, remote_kv=chosen.random() < 0.2,
                        ),
                    )
                )  # fmt: skip
        now_s = max(now_s, 0.0)
        assert 0 <= one.used_blocks(now_s) <= 40
        assert one.num_running <= 4
    one.wake(now_s + 1)
    one.advance(FOREVER_S)
    assert one.used_blocks(FOREVER_S) == 0
    assert (one.num_running, one.num_waiting) == (0, 0)
    ended = set(one.finished)
    assert len(ended) == len(one.finished)
    for sequence in every:
        assert (sequence in ended) != (sequence.state is State.ABORTED)
    assert all(s.generated_tokens == s.request.output_tokens for s in ended)
    assert set(every) - ended <= set(aborted)
    generated = sum(s.generated_tokens for s in every)
    assert one.counters.generation_tokens == generated


def test_speculation_gives_what_acceptance_promises():
    """Leviathan et al.: (1 - a^(k+1)) / (1 - a) tokens an iteration."""
    one = engine(speculation=Speculation(3, 0.7), max_model_len=200_000, num_blocks=60_000)
    one.submit(0.0, request("a", 4, 100_001))
    one.advance(FOREVER_S)
    per_iteration = 100_000 / one.counters.spec_drafts
    assert per_iteration == pytest.approx((1 - 0.7**4) / 0.3, rel=0.03)
    accepted = one.counters.spec_accepted_tokens / one.counters.spec_drafted_tokens
    assert accepted == pytest.approx((per_iteration - 1) / 3, rel=0.01)


def test_jitter_keeps_the_mean():
    times = []
    for jitter in (0.0, 0.3):
        one = Engine(EngineSettings(jitter=jitter), LinearCost(0.01, 0, 0, 0, 0), seed=5)
        got = one.submit(0.0, request("a", 4, 20_000))
        one.advance(FOREVER_S)
        times.append(got.finished_s)
    assert times[1] == pytest.approx(times[0], rel=0.02)
    assert times[1] != times[0]
