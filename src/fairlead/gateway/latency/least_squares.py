"""Recursive least squares with forgetting, robust to outliers and never negative: a line learned from a stream.

Errors are taken relative to what was predicted, since the noise of latencies grows with them. An observation far out
moves the line no further than one at `_CLIP` times the usual error would (Huber's estimator, online), so that one
request that hung does not, while a machine that has become slower does within some tens of observations.
Recursion: Ljung, System Identification, 1999, chapter 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from operator import mul

_NOISE = 0.3
"""Usual relative error at the start: latencies of batching engines scatter by about this much around any line."""

_CLIP = 3.0
"""Times the usual error, which itself follows errors only up to there: a drift moves it, a single outlier does not."""

_OVERSHOT = 0.75
"""An error below the line is never more than once the prediction: from here on it counts as far out."""

_DRIFT = 8
"""So many clipped errors of one sign in a row are no outliers: they count in full."""

_DRIFT_FORGETTING = 0.9
"""Then, what was before is forgotten faster."""

_SCALE_WEIGHT = 0.1
"""Weight of the newest error in the usual one."""

_LEAST_SCALE = 0.05


class NonNegativeLeastSquares:
    """y = sum of coefficients x inputs, all of them 0 or more."""

    __slots__ = ("_covariance", "_deviations", "_run", "_scale", "coefficients", "forgetting", "observations")

    def __init__(self, prior: Sequence[float], *, forgetting: float) -> None:
        """`prior` holds the coefficients to start from, all above 0; each may well be off by its own size."""
        self.coefficients = [float(p) for p in prior]
        self.observations = 0
        self.forgetting = forgetting
        self._scale = _NOISE
        self._run = 0
        """Clipped errors in a row, negative when the values were below the line."""
        self._deviations = [p / _NOISE for p in prior]
        """Standard deviations of the coefficients before anything was seen, in units of the noise."""
        n = len(self._deviations)
        self._covariance = [[d * d if i == j else 0.0 for j in range(n)] for i, d in enumerate(self._deviations)]

    def observe(self, inputs: Sequence[float], value: float, least: float) -> None:
        """Learn one value. Below `least` errors count in full, not relative to the prediction."""
        # Loops are plain: this runs once for every request, on 2 to 4 inputs.
        coefficients, covariance = self.coefficients, self._covariance
        predicted = sum(map(mul, coefficients, inputs))
        unit = 1.0 / (predicted if predicted > least else least)
        error = self._clipped((value - predicted) * unit)
        forgetting = self.forgetting if -_DRIFT < self._run < _DRIFT else _DRIFT_FORGETTING
        scaled = [x * unit for x in inputs]
        spread = [sum(map(mul, row, scaled)) for row in covariance]
        gain = 1.0 / (forgetting + sum(map(mul, spread, scaled)))
        step = gain * error
        grow = 1.0 / forgetting
        # Both halves are written from one: a difference between them would grow without bound.
        for position, row in enumerate(covariance):
            lost = gain * spread[position]
            for other in range(position, len(row)):
                row[other] = covariance[other][position] = grow * (row[other] - lost * spread[other])
        self.coefficients = coefficients = [c + step * s for c, s in zip(coefficients, spread)]  # noqa: B905
        if min(coefficients) < 0.0:
            self._project()
        for position, row in enumerate(covariance):
            limit = max(coefficients[position] / _NOISE, self._deviations[position])
            if row[position] > limit * limit:
                self._limit(position, limit)
        self.observations += 1

    def _project(self) -> None:
        """The most likely coefficients, given the covariance, of which none is negative.

        To set one to 0 and leave the others would bias the line: they were learned with it and move with it.
        """
        coefficients = self.coefficients
        for _ in coefficients:
            worst = min(range(len(coefficients)), key=coefficients.__getitem__)
            below = coefficients[worst]
            if below >= 0.0:
                return
            row = self._covariance[worst]
            shift = below / row[worst]
            for position, part in enumerate(row):
                coefficients[position] -= shift * part
            coefficients[worst] = 0.0
        self.coefficients = [max(0.0, c) for c in coefficients]

    def _limit(self, position: int, deviation: float) -> None:
        """Forgetting may not make a coefficient whose input never varies less certain than it began."""
        covariance = self._covariance
        row = covariance[position]
        scale = deviation / sqrt(row[position])
        for other in range(len(row)):
            row[other] = covariance[other][position] = row[other] * scale
        row[position] = deviation * deviation

    def _clipped(self, error: float) -> float:
        """The error as far as it counts; the usual error follows it."""
        size, scale = abs(error), self._scale
        limit = _CLIP * scale
        scale += _SCALE_WEIGHT * ((size if size < limit else limit) - scale)
        self._scale = scale if scale > _LEAST_SCALE else _LEAST_SCALE
        if error < 0.0 and limit > _OVERSHOT:
            limit = _OVERSHOT
        if size <= limit:
            self._run = 0
            return error
        self._run = max(1, self._run + 1) if error > 0.0 else min(-1, self._run - 1)
        if not -_DRIFT < self._run < _DRIFT:
            return error
        return limit if error > 0.0 else -limit
