"""From observations to an engine profile: coefficients of iterations first, then what only a simulation can tell.

1. Every gap between tokens, and every time to first token on an idle engine, is a sum of non-negative coefficients
   times what was computed (`iterations`). Non-negative least squares on relative errors (Lawson and Hanson, 1974), with
   Huber weights against the stalls of a busy machine, gives them.
2. Queueing, chunked prompts and the time outside of the engine show only in whole runs. So the observed arrivals are
   simulated, and a few factors on the coefficients are moved until the quantiles agree (Nelder and Mead, 1965).
3. What remains unexplained of single decode iterations is their jitter.

Whether the engine schedules an iteration ahead cannot be seen from outside: both ways are tried, the better is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize, nnls

from fairlead.perf.step import LinearCost
from fairlead.simulator.calibration.iterations import COLUMNS, Timeline, decode_rows, idle_rows
from fairlead.simulator.calibration.observation import Observation
from fairlead.simulator.calibration.predict import Comparison, compare, predict
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
    coefficients = _coefficients(rows, durations_s, idle, idle_s)
    quiet = replace(settings, jitter=0.0)
    variants = [replace(quiet, async_scheduling=a) for a in (True, False)] if find_async else [quiet]
    planned = _TRIALS * len(variants)
    tried: list[tuple[EngineProfile, float]] = []
    for variant in variants:
        before = _TRIALS * len(tried)
        told = None if on_trial is None else _counted(on_trial, before, planned)
        tried.append(_refine(coefficients, variant, observations, seed, told))
    profile = min(tried, key=lambda pair: pair[1])[0]
    profile = replace_jitter(profile, _jitter(rows, durations_s, profile))
    found = compare(observations, predict(profile, observations, seed=seed))
    return Fit(profile, tuple(found), len(durations_s), len(idle_s))


def _counted(on_trial: Callable[[int, int], None], before: int, planned: int) -> Callable[[int], None]:
    return lambda done: on_trial(before + done, planned)


def replace_jitter(profile: EngineProfile, jitter: float) -> EngineProfile:
    """The same profile with another jitter of its engine."""
    return replace(profile, engine=replace(profile.engine, jitter=jitter))


def _coefficients(rows: np.ndarray, durations_s: np.ndarray, idle: np.ndarray, idle_s: np.ndarray) -> np.ndarray:
    """Robust non-negative least squares on relative errors; one coefficient per column."""
    every = np.vstack((rows, idle))
    seconds = np.concatenate((durations_s, idle_s))
    weights = np.ones(len(seconds))
    if len(idle_s):
        weights[len(durations_s) :] = max(1.0, _IDLE_SHARE * len(durations_s) / len(idle_s))
    scale = np.maximum(every.max(axis=0), 1e-12)
    least_s = np.median(seconds) / 4
    # Relative to the prediction, not to the observation: tokens that were read together have gaps of almost nothing.
    predicted_s = np.maximum(seconds, 2 * least_s)
    robust = np.ones(len(seconds))
    found = np.zeros(len(COLUMNS))
    for _ in range(10):
        factor = np.sqrt(weights * robust) / predicted_s
        found = nnls((every / scale) * factor[:, None], seconds * factor)[0] / scale
        predicted_s = np.maximum(every @ found, least_s)
        error = np.abs(seconds / predicted_s - 1)
        robust = np.minimum(1.0, _HUBER / np.maximum(error, 1e-9))
    return found


_FACTORS = 4
"""Moved by the refinement: decoding, prompts, time outside of the engine, and its part after the engine."""


def _profile(
    coefficients: np.ndarray, settings: EngineSettings, factors: np.ndarray, observations: Sequence[Observation]
) -> EngineProfile:
    decode, prefill, outside, response_share = (float(f) for f in factors)
    base, prefill_base, prefill_token, prefill_pair, decode_token, context, outside_s = (float(c) for c in coefficients)
    # A fit without idle requests knows nothing of the time outside: start from a small share of the fastest answer.
    outside_s = outside_s or 0.05 * min(o.ttft_s for o in observations)
    response = min(1.0, response_share)
    return EngineProfile(
        settings,
        LinearCost(
            base_s=base * decode,
            prefill_token_s=prefill_token * prefill,
            prefill_pair_s=prefill_pair * prefill,
            decode_token_s=decode_token * decode,
            context_s=context * decode,
            prefill_base_s=prefill_base * prefill,
        ),
        FrontendCost(request_s=outside_s * outside * response, response_s=outside_s * outside * (1 - response)),
    )


def _cost_vector(profile: EngineProfile) -> np.ndarray:
    cost = profile.cost
    assert cost is not None
    return np.array([getattr(cost, name) for name in COLUMNS[:-1]])


def _refine(
    coefficients: np.ndarray,
    settings: EngineSettings,
    observations: Sequence[Observation],
    seed: int,
    on_trial: Callable[[int], None] | None,
) -> tuple[EngineProfile, float]:
    """Move the factors until simulated quantiles and single requests agree best with the observed ones; returns the
    profile and what remains of disagreement."""
    ttft_s = np.array([o.ttft_s for o in observations])
    e2e_s = np.array([o.e2e_s for o in observations])
    trials = 0

    def profile_at(logarithms: np.ndarray) -> EngineProfile:
        return _profile(coefficients, settings, np.exp(np.clip(logarithms, -3, 3)), observations)

    def loss(logarithms: np.ndarray) -> float:
        nonlocal trials
        trials += 1
        if on_trial is not None:
            on_trial(min(trials, _TRIALS))
        prediction = predict(profile_at(logarithms), observations, seed=seed)
        quantiles = sum(
            abs(np.log(c.predicted_s / c.observed_s)) * (1.0 if c.quantile == 0.5 else 0.5)
            for c in compare(observations, prediction)
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
    explained_s = rows[:, :-1] @ _cost_vector(profile)
    decode = (rows[:, COLUMNS.index("prefill_base_s")] == 0) & (explained_s > 0)
    if not decode.any():
        return 0.0
    low, high = np.quantile(durations_s[decode] / explained_s[decode], (0.159, 0.841))
    return float(min(_MAX_JITTER, (high - low) / 2))
