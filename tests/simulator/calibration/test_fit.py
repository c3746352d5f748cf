"""The fit finds what made the observations."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fairlead.perf.step import LinearCost
from fairlead.simulator.calibration import Observation, compare, fit, predict
from fairlead.simulator.engine import Engine, EngineSettings, Request
from fairlead.simulator.profile import EngineProfile, FrontendCost

SETTINGS = EngineSettings(num_blocks=4000, max_num_seqs=64, async_scheduling=False)
TRUE = EngineProfile(
    SETTINGS,
    LinearCost(
        base_s=0.006, prefill_token_s=5e-5, prefill_pair_s=1e-8, decode_token_s=4e-4, context_s=3e-7,
        prefill_base_s=0.002,
    ),
    FrontendCost(request_s=0.004, response_s=0.001),
)  # fmt: skip


def observe(profile: EngineProfile, count: int, rates_per_s: tuple[float, ...], seed: int) -> list[Observation]:
    """What a client of such an engine sees: every token's time."""
    chosen = random.Random(seed)
    frontend, at_s, sent = profile.frontend, 0.0, []
    for number in range(count):
        at_s += chosen.expovariate(rates_per_s[number * len(rates_per_s) // count])
        sent.append((at_s, round(16 * 64 ** chosen.random()), round(4 * 16 ** chosen.random())))
    engine = Engine(profile.engine, profile.cost, seed=seed)
    tokens: dict[int, list[float]] = {number: [] for number in range(count)}
    sequences, coming, now_s = {}, list(enumerate(sent)), 0.0
    while coming or engine.next_s < float("inf"):
        arrival_s = coming[0][1][0] + frontend.request_s if coming else float("inf")
        boundary_s = engine.next_boundary_s(now_s)
        if arrival_s <= boundary_s:
            number, (_, prompt, output) = coming.pop(0)
            now_s = arrival_s
            sequences[number] = engine.submit(now_s, Request(number, prompt, output))
        else:
            now_s = boundary_s
            engine.advance(now_s)
        for number, sequence in sequences.items():
            made = engine.tokens_of(sequence, now_s)
            tokens[number] += [now_s + frontend.response_s] * (made - len(tokens[number]))
    return [Observation(sent[n][0], sent[n][1], tuple(tokens[n])) for n in range(count)]


def test_prediction_of_the_true_profile_is_what_happened():
    observations = observe(TRUE, 60, (2.0, 20.0), seed=1)
    prediction = predict(TRUE, observations)
    for number, one in enumerate(observations):
        assert prediction.ttft_s[number] == pytest.approx(one.ttft_s, abs=1e-9)
        assert prediction.e2e_s[number] == pytest.approx(one.e2e_s, abs=1e-9)
    assert all(abs(c.error) < 0.02 for c in compare(observations, prediction))


def test_iterations_of_a_quiet_engine_are_found():
    found = fit(observe(TRUE, 240, (1.5, 15.0, 5.0), seed=2), SETTINGS).profile
    for decoding in (1, 2, 5, 10):
        assert found.cost.step_s(0, 0, decoding, 200 * decoding) == pytest.approx(
            TRUE.cost.step_s(0, 0, decoding, 200 * decoding), rel=0.1
        )
    for prompt in (50, 300, 900):
        extra = found.cost.step_s(prompt, prompt * prompt // 2, 2, 0) - found.cost.step_s(0, 0, 2, 0)
        true = TRUE.cost.step_s(prompt, prompt * prompt // 2, 2, 0) - TRUE.cost.step_s(0, 0, 2, 0)
        assert extra == pytest.approx(true, rel=0.15)
    outside_s = found.frontend.request_s + found.frontend.response_s
    assert outside_s == pytest.approx(0.005, rel=0.3)
    assert found.engine.jitter < 0.05
    assert not found.engine.async_scheduling


def test_what_was_fitted_on_one_part_predicts_another_with_other_load():
    noisy = replace(TRUE, engine=replace(SETTINGS, jitter=0.15))
    profile = fit(observe(noisy, 300, (2.0, 12.0, 6.0), seed=3), SETTINGS).profile
    others = observe(noisy, 200, (4.0, 18.0), seed=4)
    for one in compare(others, predict(profile, others)):
        assert abs(one.error) < (0.1 if one.quantile == 0.5 else 0.2), one
    assert profile.engine.jitter == pytest.approx(0.15, abs=0.06)
