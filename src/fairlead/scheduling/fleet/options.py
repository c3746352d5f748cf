"""Where one more pod of a shape can go: for every row whether, how well, or why not; kept current by the fleet's log.

Asking again costs only what has changed since. Answers of a row are remembered, so that the next pod of a template is
placed by one look at an array.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.filters import FILTERS
from fairlead.scheduling.fleet.device_book import Refusal
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import Shape

Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

NOWHERE = -np.inf


class Options:
    """The options of one shape in one fleet. Call `refresh` before reading, after the fleet may have changed."""

    def __init__(self, fleet: Fleet, shape: Shape) -> None:
        self.fleet = fleet
        self.shape = shape
        self.scores: Scores = np.full(0, NOWHERE)
        """By row; NOWHERE where the shape does not fit."""
        self._read = -1
        self._shared_version = -1

    def refresh(self) -> None:
        """Looks again at every row that may have changed."""

    def best(self, mask: Mask | None = None) -> int | None:
        """The row with the highest score (of those in the mask), ties by row; None where there is none."""

    def fits(self, row: int) -> bool:
        return bool(self.scores[row] > NOWHERE)

    def reason(self, row: int) -> str:
        """The first constraint that speaks against the row, in kube-scheduler's words; "" where nothing does."""

    def refusal(self, row: int) -> Refusal | None:
        """What the devices of the row lack, where they are the reason."""

    def room(self, row: int, limit: int) -> int:
        """How many more pods of the shape fit on the row together, at most `limit`."""

    def rooms(self, rows: Sequence[int], limit: int) -> npt.NDArray[np.int64]:
        """`room` of many rows."""


class Outlook:
    """The options of every shape that is asked about, in one fleet."""

    def __init__(self, fleet: Fleet, most: int = 256) -> None:
        """`most` shapes are remembered; the one that was not asked for longest goes first."""
        self.fleet = fleet
        self._most = most
        self._options: dict[Shape, Options] = {}

    def of(self, shape: Shape) -> Options:
        """The options of a shape, refreshed."""
        options = self._options.pop(shape, None) or Options(self.fleet, shape)
        self._options[shape] = options
        if len(self._options) > self._most:
            del self._options[next(iter(self._options))]
        options.refresh()
        return options
