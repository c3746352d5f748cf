"""From observations to an engine profile: coefficients of iterations first, then what only a simulation can tell.

1. Every gap between tokens, and every time to first token on an idle engine, is a sum of non-negative coefficients
   times what was computed (`iterations`); the part of decoding is a rising curve through a few batch sizes.
   Non-negative least squares on relative errors (Lawson and Hanson, 1974), with
   Huber weights against the stalls of a busy machine, gives them.
2. What remains unexplained of single decode iterations is their jitter.
3. Queueing, chunked prompts and the time outside of the engine show only in whole runs. So the observed arrivals are
   simulated, and a few factors on the coefficients are moved until the quantiles agree (Nelder and Mead, 1965).

Whether the engine schedules an iteration ahead cannot be seen from outside: both ways are tried, the better is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize, nnls

from fairlead.perf.measured import MeasuredCost
from fairlead.simulator.calibration.iterations import COLUMNS, Timeline, decode_rows, idle_rows
from fairlead.simulator.calibration.observation import Observation
from fairlead.simulator.calibration.predict import Comparison, compare, compare_quantiles, observed_quantiles, predict
from fairlead.simulator.engine import EngineSettings
from fairlead.simulator.profile import EngineProfile, FrontendCost

_HUBER = 1.0
"""Error relative to the prediction from which on an observation counts less."""
_IDLE_SHARE = 0.25
"""Weight of all idle first tokens together against all gaps."""
_TRIALS = 160
_MAX_JITTER = 0.5


@dataclass(frozen=True, slots=True)
class Fit:
    """The profile, and how it does on what it was fitted to."""

    profile: EngineProfile
    comparisons: tuple[Comparison, ...]
    gaps: int
    idle_requests: int


def fit(
    observations: Sequence[Observation],
    settings: EngineSettings,
    *,
    seed: int = 0,
    find_async: bool = True,
    on_trial: Callable[[int, int], None] | None = None,
) -> Fit:
    """Fit a profile for an engine with these settings; with `find_async`, `async_scheduling` is found out too.

    `on_trial(done, planned)` is told of progress.
    """
    timeline = Timeline(observations)
    rows, durations_s = decode_rows(observations, timeline)
    idle, idle_s = idle_rows(observations, timeline)
    batch = _batch_sizes(rows)
    coefficients = _Coefficients(batch, _solve(_features(rows, batch), durations_s, _features(idle, batch), idle_s))
    first = coefficients.profile(settings, np.ones(_FACTORS), observations)
    noisy = replace(settings, jitter=_jitter(rows, durations_s, first))
    variants = [replace(noisy, async_scheduling=a) for a in (True, False)] if find_async else [noisy]
    planned = _TRIALS * len(variants)
    tried: list[tuple[EngineProfile, float]] = []
    for variant in variants:
        before = _TRIALS * len(tried)
        told = None if on_trial is None else _counted(on_trial, before, planned)
        tried.append(_refine(coefficients, variant, observations, seed, told))
    profile = min(tried, key=lambda pair: pair[1])[0]
    found = compare(observations, predict(profile, observations, seed=seed))
    return Fit(profile, tuple(found), len(durations_s), len(idle_s))


def _counted(on_trial: Callable[[int, int], None], before: int, planned: int) -> Callable[[int], None]:
    return lambda done: on_trial(before + done, planned)


def _batch_sizes(rows: np.ndarray) -> tuple[int, ...]:
    """Powers of two up to the largest batch that was seen more than now and then, and that one."""
    largest = max(1, int(np.quantile(rows[:, 0], 0.995)))
    return tuple(sorted({largest, *(2**i for i in range(largest.bit_length()) if 2**i < largest)}))


def _features(rows: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
    """Rows with the number of sequences spread over what each batch size adds to the one before.

    The first feature is 1; a later one rises from 0 at the size before to 1 at its own.
    """
    ramps = [np.ones(len(rows))]
    ramps += [np.clip((rows[:, 0] - low) / (high - low), 0, 1) for low, high in pairwise(batch)]
    return np.column_stack((*ramps, rows[:, 1:]))


def _solve(gaps: np.ndarray, gaps_s: np.ndarray, idle: np.ndarray, idle_s: np.ndarray) -> np.ndarray:
    """Robust non-negative least squares on relative errors; one coefficient per column."""
    every = np.vstack((gaps, idle))
    seconds = np.concatenate((gaps_s, idle_s))
    weights = np.ones(len(seconds))
    if len(idle_s):
        weights[len(gaps_s) :] = max(1.0, _IDLE_SHARE * len(gaps_s) / len(idle_s))
    scale = np.maximum(every.max(axis=0), 1e-12)
    least_s = np.median(seconds) / 4
    # Relative to the prediction, not to the observation: tokens that were read together have gaps of almost nothing.
    predicted_s = np.maximum(seconds, 2 * least_s)
    robust = np.ones(len(seconds))
    found = np.zeros(every.shape[1])
    for _ in range(10):
        factor = np.sqrt(weights * robust) / predicted_s
        found = nnls((every / scale) * factor[:, None], seconds * factor)[0] / scale
        predicted_s = np.maximum(every @ found, least_s)
        error = np.abs(seconds / predicted_s - 1)
        robust = np.minimum(1.0, _HUBER / np.maximum(error, 1e-9))
    return found


_FACTORS = 4
"""Moved by the refinement: decoding, prompts, time outside of the engine, and its part before the engine."""


@dataclass(frozen=True, slots=True)
class _Coefficients:
    """What step 1 has found, for the batch sizes `batch`."""

    batch: tuple[int, ...]
    values: np.ndarray

    def profile(
        self, settings: EngineSettings, factors: np.ndarray, observations: Sequence[Observation]
    ) -> EngineProfile:
        decode, prefill, outside, before = (float(f) for f in factors)
        sizes = len(self.batch)
        batch_s = np.cumsum(self.values[:sizes]) * decode
        prefill_base, prefill_token, prefill_pair, context, outside_s = (float(c) for c in self.values[sizes:])
        # A fit without idle requests knows nothing of the time outside: start from a small share of the fastest answer.
        outside_s = outside_s or 0.05 * min(o.ttft_s for o in observations)
        before = min(1.0, before)
        return EngineProfile(
            settings,
            MeasuredCost(
                batch=self.batch,
                batch_s=tuple(float(s) for s in batch_s),
                prefill_token_s=prefill_token * prefill,
                prefill_pair_s=prefill_pair * prefill,
                context_s=context * decode,
                prefill_base_s=prefill_base * prefill,
            ),
            FrontendCost(request_s=outside_s * outside * before, response_s=outside_s * outside * (1 - before)),
        )


def _refine(
    coefficients: _Coefficients,
    settings: EngineSettings,
    observations: Sequence[Observation],
    seed: int,
    on_trial: Callable[[int], None] | None,
) -> tuple[EngineProfile, float]:
    """Move the factors until simulated quantiles and single requests agree best with the observed ones; returns the
    profile and what remains of disagreement."""
    ttft_s = np.array([o.ttft_s for o in observations])
    e2e_s = np.array([o.e2e_s for o in observations])
    observed = observed_quantiles(observations)
    trials = 0

    def profile_at(logarithms: np.ndarray) -> EngineProfile:
        return coefficients.profile(settings, np.exp(np.clip(logarithms, -3, 3)), observations)

    def loss(logarithms: np.ndarray) -> float:
        nonlocal trials
        trials += 1
        if on_trial is not None:
            on_trial(min(trials, _TRIALS))
        prediction = predict(profile_at(logarithms), observations, seed=seed)
        quantiles = sum(
            abs(np.log(c.predicted_s / c.observed_s)) * (1.0 if c.quantile == 0.5 else 0.5)
            for c in compare_quantiles(observed, prediction)
            if c.predicted_s > 0
        )
        single = np.mean(np.abs(np.log(prediction.ttft_s / ttft_s))) + np.mean(np.abs(np.log(prediction.e2e_s / e2e_s)))
        return float(quantiles + single + 0.02 * np.sum(logarithms**2))

    start = np.array([0.0, 0.0, 0.0, -0.1])
    simplex = np.vstack([start, *(start + 0.15 * np.eye(_FACTORS))])
    found = minimize(
        loss,
        start,
        method="Nelder-Mead",
        options={"maxfev": _TRIALS, "initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-4},
    )
    return profile_at(found.x), float(found.fun)


def _jitter(rows: np.ndarray, durations_s: np.ndarray, profile: EngineProfile) -> float:
    """Half the distance between the quantiles that lie a standard deviation from the mean, over what is explained, of
    decode iterations: prompts that were assigned to a wrong one do not count as noise."""
    cost = profile.cost
    assert cost is not None
    without_prompt = rows[:, COLUMNS.index("prefill_base")] == 0
    decode, durations_s = rows[without_prompt], durations_s[without_prompt]
    columns = (decode[:, COLUMNS.index("sequences")], decode[:, COLUMNS.index("context")])
    explained_s = np.array([cost.step_s(0, 0, int(n), int(context)) for n, context in zip(*columns, strict=True)])
    usable = explained_s > 0
    if not usable.any():
        return 0.0
    low, high = np.quantile(durations_s[usable] / explained_s[usable], (0.159, 0.841))
    return float(min(_MAX_JITTER, (high - low) / 2))
