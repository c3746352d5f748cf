"""What an engine profile says about requests that were really sent, and how far from the truth that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairlead.simulator.calibration.observation import Observation
from fairlead.simulator.engine import Engine, Request, Sketch
from fairlead.simulator.profile import EngineProfile

METRICS = ("ttft", "itl", "e2e")
QUANTILES = (0.5, 0.95)
_END_S = 1e15
"""After everything."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Per request, in the order given: time to first token and to the last (seconds); gaps between tokens, pooled."""

    ttft_s: np.ndarray
    e2e_s: np.ndarray
    itl: Sketch

    def quantile(self, metric: str, quantile: float) -> float:
        """Seconds; 0 for gaps where there are none."""
        if metric == "itl":
            return self.itl.quantile(quantile) or 0.0
        return float(np.quantile(self.ttft_s if metric == "ttft" else self.e2e_s, quantile))


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
    return Prediction(first_s - sent_s, last_s - sent_s, engine.itl)


def observed_quantiles(observations: Sequence[Observation]) -> dict[tuple[str, float], float]:
    """(metric, quantile) -> seconds, for those that the observations have."""
    values = {
        "ttft": np.array([o.ttft_s for o in observations]),
        "itl": np.array([gap for o in observations for gap in o.itl_s]),
        "e2e": np.array([o.e2e_s for o in observations]),
    }
    return {(m, q): float(np.quantile(values[m], q)) for m in METRICS for q in QUANTILES if values[m].size}


def compare(observations: Sequence[Observation], prediction: Prediction) -> list[Comparison]:
    """Observed against predicted, for every metric and quantile."""
    return compare_quantiles(observed_quantiles(observations), prediction)


def compare_quantiles(observed: Mapping[tuple[str, float], float], prediction: Prediction) -> list[Comparison]:
    """`compare` for observations whose quantiles are known already."""
    return [Comparison(m, q, seconds, prediction.quantile(m, q)) for (m, q), seconds in observed.items()]
