"""Made workloads: rates, shares and conversations are what was asked for, and a seed gives one workload."""

import random
import statistics
from collections import Counter
from itertools import islice, pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.workload import (
    Adapters,
    Arrivals,
    Chains,
    Conversations,
    Diurnal,
    Fixed,
    LogNormal,
    Prefixes,
    Stage,
    Synthetic,
    TraceFile,
    TraceRequest,
    Uniform,
    generate,
    shaped,
    write_trace,
)


def made(config, seed=1):
    return list(generate(config, random.Random(seed)))


def cv(times):
    gaps = [b - a for a, b in pairwise(times)]
    return statistics.pstdev(gaps) / statistics.fmean(gaps)


@pytest.mark.parametrize(
    ("process", "asked_cv", "expected"),
    [("constant", 1.0, 0.0), ("poisson", 1.0, 1.0), ("gamma", 3.0, 3.0), ("gamma", 0.5, 0.5)],
)
def test_processes_have_their_rate_and_variation(process, asked_cv, expected):
    arrivals = Arrivals(process=process, rate_per_s=5, cv=asked_cv)
    times = list(islice(arrivals.times(random.Random(3)), 40_000))
    assert times == sorted(times)
    assert len(times) / times[-1] == pytest.approx(5, rel=0.06)
    assert cv(times) == pytest.approx(expected, rel=0.06, abs=1e-6)


def test_stages_rise_hold_and_fall():
    stages = (Stage(100, 0, 10), Stage(50, 10), Stage(30, 0), Stage(100, 10, 0))
    times = list(Arrivals(process="constant", stages=stages).times(random.Random(1)))
    assert times == sorted(times)
    counted = [sum(low <= t < high for t in times) for low, high in ((0, 50), (50, 100), (100, 150), (150, 180))]
    for count, expected in zip(counted, (125, 375, 500, 0), strict=True):
        assert abs(count - expected) <= 1
    assert abs(len(times) - 1500) <= 2
    assert times[-1] <= 280


def test_a_day_swings_around_its_mean():
    diurnal = Arrivals(process="constant", diurnal=Diurnal(5, 1.0, 1000))
    times = list(islice(diurnal.times(random.Random(1)), 15_000))
    assert times == sorted(times)
    assert times[-1] == pytest.approx(3000, abs=1)
    by_half = Counter(int(t % 1000 // 250) for t in times)
    assert by_half[0] == pytest.approx(by_half[3], rel=0.02)
    assert by_half[1] > 4 * by_half[0]


def test_exactly_one_rate_and_an_end():
    for given_rates in ({}, {"rate_per_s": 1.0, "diurnal": Diurnal(1)}):
        with pytest.raises(ValueError, match="exactly one"):
            Arrivals(**given_rates)
    with pytest.raises(ValueError, match="no end"):
        Synthetic(Arrivals(rate_per_s=1))
    with pytest.raises(msgspec.ValidationError, match="low must not be the greater"):
        msgspec.convert({"kind": "uniform", "low": 5, "high": 1}, Uniform)


def test_lengths_have_their_mean_and_bounds():
    draws = [LogNormal(1000, 1.2, 10, 50_000).draw(random.Random(n)) for n in range(20_000)]
    assert statistics.fmean(draws) == pytest.approx(1000, rel=0.05)
    assert min(draws) >= 10
    assert set(Uniform(2, 4).draw(random.Random(n)) for n in range(50)) == {2, 3, 4}


def test_prefixes_form_a_tree_with_zipf_weights():
    config = Synthetic(
        Arrivals(rate_per_s=10),
        requests=5000,
        prompt_tokens=Fixed(10),
        prefixes=(Prefixes(4, Fixed(64), 1.0), Prefixes(3, Fixed(32))),
    )
    requests = made(config)
    assert {r.prompt_tokens for r in requests} == {106}
    roots = Counter(r.hash_ids[:4] for r in requests)
    assert len(roots) == 4
    assert len({r.hash_ids for r in requests}) == 12
    most = [count for _, count in roots.most_common()]
    weights = [1 / rank for rank in (1, 2, 3, 4)]
    for count, weight in zip(most, weights, strict=True):
        assert count / 5000 == pytest.approx(weight / sum(weights), abs=0.03)


def test_a_turn_contains_everything_said_before():
    config = Synthetic(
        Arrivals(rate_per_s=2),
        requests=400,
        prompt_tokens=Uniform(5, 90),
        output_tokens=Uniform(1, 60),
        prefixes=(Prefixes(2, Fixed(50)),),
        conversations=Conversations(Fixed(4), pause_s=10),
    )
    requests = made(config)
    assert [r.time_s for r in requests] == sorted(r.time_s for r in requests)
    chains, before = Chains(16), {}
    followed = 0
    for request in requests:
        earlier = before.get(request.session)
        if earlier is not None:
            followed += 1
            assert request.prompt_tokens > earlier.prompt_tokens + earlier.output_tokens
            assert chains.of(request).startswith(chains.of(earlier))
            # A block in which the prompt ends and the answer too is named by an id that reads as the prompt's last.
            said = (earlier.prompt_tokens + earlier.output_tokens) // 16
            assert len(chains.of(earlier)) // 8 in (said, said - 1)
        before[request.session] = request
    assert followed > 200
    assert max(Counter(r.session for r in requests).values()) == 4
    # Nothing but the two system prompts (3 full blocks each) is common to two conversations.
    chains_of_sessions = [chains.of(r) for r in before.values()]
    names = Counter(b for chain in chains_of_sessions for b in {chain[i : i + 8] for i in range(0, len(chain), 8)})
    assert sum(count > 1 for count in names.values()) == 2 * 3


def test_conversations_end_at_the_longest_prompt():
    config = Synthetic(
        Arrivals(rate_per_s=1),
        requests=200,
        prompt_tokens=Fixed(400),
        output_tokens=Fixed(100),
        conversations=Conversations(Fixed(50)),
        max_prompt_tokens=1500,
        prefixes=(Prefixes(1, Fixed(2000)),),
    )
    requests = made(config)
    assert len(requests) == 200
    assert {r.prompt_tokens for r in requests} == {1500}
    assert all(len(r.hash_ids) == 100 for r in requests)


def test_adapters_have_their_shares():
    requests = made(Synthetic(Arrivals(rate_per_s=1), requests=6000, adapters=Adapters(3, 0.0, 0.25)))
    shares = Counter(r.adapter for r in requests)
    assert set(shares) == {"", "lora-0", "lora-1", "lora-2"}
    assert all(count / 6000 == pytest.approx(0.25, abs=0.03) for count in shares.values())


def test_lengths_from_a_trace_keep_their_pairs(tmp_path):
    write_trace(tmp_path / "t.jsonl", [TraceRequest(0, 10, 100), TraceRequest(1, 20, 200)])
    config = Synthetic(Arrivals(rate_per_s=1), requests=100, lengths_from=str(tmp_path / "t.jsonl"))
    assert {(r.prompt_tokens, r.output_tokens) for r in made(config)} == {(10, 100), (20, 200)}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32))
def test_a_seed_gives_one_workload_that_survives_a_file(tmp_path_factory, seed):
    config = Synthetic(
        Arrivals(process="gamma", rate_per_s=3, cv=2),
        duration_s=20,
        prefixes=(Prefixes(5, Uniform(10, 100), 0.8),),
        conversations=Conversations(Uniform(1, 5)),
        adapters=Adapters(4),
    )
    requests = made(config, seed)
    assert requests == made(config, seed)
    assert all(r.time_s < 20 for r in requests)
    path = tmp_path_factory.mktemp("made") / "t.jsonl"
    if write_trace(path, requests):
        assert list(TraceFile(path)) == requests


def arrivals(count):
    return (TraceRequest(float(n), n + 1, 1) for n in range(count))


def test_windows_speed_rate_and_limit():
    assert [(r.time_s, r.prompt_tokens) for r in shaped(arrivals(10), start_s=3, duration_s=3, speed=2)] == [
        (0.0, 4),
        (0.5, 5),
        (1.0, 6),
    ]
    assert len(list(shaped(arrivals(10), limit=4))) == 4
    faster = list(shaped(arrivals(4000), rate_per_s=50, rng=random.Random(2)))
    assert len(faster) / faster[-1].time_s == pytest.approx(50, rel=0.05)
    assert [r.prompt_tokens for r in faster] == list(range(1, 4001))


@pytest.mark.parametrize(
    "wrong", [{"speed": 0}, {"speed": float("inf")}, {"limit": -1}, {"start_s": -1}, {"rate_per_s": 0}]
)
def test_shapes_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("_s").removesuffix("_per")):
        list(shaped(arrivals(3), **wrong))
