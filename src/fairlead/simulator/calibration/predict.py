"""What an engine profile says about requests that were really sent, and how far from the truth that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.simulator.calibration.observation import Observation
from fairlead.simulator.engine import Engine, Request
from fairlead.simulator.profile import EngineProfile

METRICS = ("ttft", "itl", "e2e")
QUANTILES = (0.5, 0.95)
_END_S = 1e15
"""After everything."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Per request, in the order given: time to first token and to the last (seconds); pooled gaps with weights."""

    ttft_s: np.ndarray
    e2e_s: np.ndarray
    gaps_s: np.ndarray
    gap_weights: np.ndarray


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantile of one metric. `error` is signed and relative to what was observed."""

    metric: str
    quantile: float
    observed_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        return self.predicted_s / self.observed_s - 1


def predict(profile: EngineProfile, observations: Sequence[Observation], *, seed: int = 0) -> Prediction:
    """Send the same requests at the same times to the engine of the profile. Raises RequestTooLong."""
    assert profile.cost is not None
    frontend = profile.frontend
    engine = Engine(profile.engine, profile.cost, seed=seed)
    arrivals = sorted(
        (o.sent_s + frontend.request_s + o.prompt_tokens * frontend.prompt_token_s, number)
        for number, o in enumerate(observations)
    )
    sequences = {}
    for at_s, number in arrivals:
        one = observations[number]
        sequences[number] = engine.submit(at_s, Request(number, one.prompt_tokens, one.output_tokens))
    engine.advance(_END_S)
    sent_s = np.array([o.sent_s for o in observations])
    order = range(len(observations))
    first_s = np.array([sequences[i].first_token_s for i in order]) + frontend.response_s
    last_s = np.array([sequences[i].finished_s for i in order]) + frontend.response_s
    gaps = list(engine.itl.buckets())
    return Prediction(first_s - sent_s, last_s - sent_s, np.array([g for g, _ in gaps]), np.array([w for _, w in gaps]))


def compare(observations: Sequence[Observation], prediction: Prediction) -> list[Comparison]:
    """Observed against predicted, for every metric and quantile."""
    observed = {
        "ttft": np.array([o.ttft_s for o in observations]),
        "itl": np.array([gap for o in observations for gap in o.itl_s]),
        "e2e": np.array([o.e2e_s for o in observations]),
    }
    found = []
    for metric in METRICS:
        for quantile in QUANTILES:
            if not observed[metric].size:
                continue
            if metric == "itl":
                predicted = weighted_quantile(prediction.gaps_s, prediction.gap_weights, quantile)
            else:
                predicted = float(np.quantile(prediction.ttft_s if metric == "ttft" else prediction.e2e_s, quantile))
            found.append(Comparison(metric, quantile, float(np.quantile(observed[metric], quantile)), predicted))
    return found


def weighted_quantile(values: np.ndarray, weights: np.ndarray, quantile: float) -> float:
    """The smallest of the rising `values` below which a share `quantile` of the weight lies."""
    if not values.size:
        return 0.0
    total = np.cumsum(weights)
    return float(values[min(len(values) - 1, int(np.searchsorted(total, quantile * total[-1])))])
