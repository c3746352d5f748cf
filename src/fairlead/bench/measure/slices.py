"""Sums over equal slices of time, as many as fit: a slice becomes twice as long rather than that there are too many.

Throughput within a window, requests in flight over time, trends, and how much successive requests depend on each other
are all made of these.
"""

from __future__ import annotations

import numpy as np

from fairlead.bench.records.columns import Floats

MOST = 512
FIRST_SLICE_S = 0.125


class Slices:
    """`rows` sums in each slice, from `begin_s` on. What lies before the first slice counts to it, if it is not left
    out."""

    __slots__ = ("begin_s", "slice_s", "sums", "used")

    def __init__(self, begin_s: float, rows: int, slice_s: float = FIRST_SLICE_S) -> None:
        self.begin_s, self.slice_s = begin_s, slice_s
        self.sums: Floats = np.zeros((rows, MOST))
        self.used = 0  # slices from the first to the last that something was added to

    def add(self, row: int, times_s: Floats, amounts: Floats | None = None) -> None:
        """Amounts (1 each) at their times; NaN times are left out, and so is what came before the beginning."""
        there = times_s >= self.begin_s
        if not there.all():
            times_s = times_s[there]
            amounts = amounts[there] if amounts is not None else None
        if not len(times_s):
            return
        self.reach(float(times_s.max()))
        at = ((times_s - self.begin_s) / self.slice_s).astype(np.int64)
        self.sums[row] += np.bincount(at, amounts, MOST)
        self.used = max(self.used, int(at.max()) + 1)

    def reach(self, time_s: float) -> None:
        """Make slices long enough for this time."""
        while time_s - self.begin_s >= self.slice_s * MOST:
            self.sums = _halved(self.sums)
            self.slice_s *= 2
            self.used = (self.used + 1) // 2

    def between(self, row: int, begin_s: float, end_s: float) -> float:
        """The sum within a window; slices on its edges count by how much of them is inside."""
        edges = self.begin_s + self.slice_s * np.arange(MOST + 1)
        inside = np.minimum(edges[1:], end_s) - np.maximum(edges[:-1], begin_s)
        return float((self.sums[row] * np.clip(inside / self.slice_s, 0.0, 1.0)).sum())

    def copy(self) -> Slices:
        made = Slices(self.begin_s, len(self.sums), self.slice_s)
        made.sums, made.used = self.sums.copy(), self.used
        return made


class InFlight:
    """How many requests were under way, as means over slices: each adds the part of a slice that it was there for."""

    __slots__ = ("_edges", "_partial", "begin_s", "ends_s", "slice_s")

    def __init__(self, begin_s: float, slice_s: float = FIRST_SLICE_S) -> None:
        self.begin_s, self.slice_s = begin_s, slice_s
        self._partial: Floats = np.zeros(MOST)  # request-seconds of slices that it began or ended in
        self._edges: Floats = np.zeros(MOST + 1)  # changes of the number that is there for whole slices
        self.ends_s = begin_s

    def add(self, sent_s: Floats, end_s: Floats) -> None:
        """Requests by the times between which they were under way; those that never were have NaN."""
        there = ~(np.isnan(sent_s) | np.isnan(end_s)) & (end_s >= self.begin_s)
        if not there.any():
            return
        sent = np.maximum(sent_s[there], self.begin_s) - self.begin_s
        end = np.maximum(end_s[there] - self.begin_s, sent)
        self.ends_s = max(self.ends_s, float(end.max()) + self.begin_s)
        while float(end.max()) >= self.slice_s * MOST:
            self._widen()
        width = self.slice_s
        first, last = (sent / width).astype(np.int64), (end / width).astype(np.int64)
        self._partial += np.bincount(first, (first + 1) * width - sent, MOST)
        self._partial -= np.bincount(last, (last + 1) * width - end, MOST)
        self._edges += np.bincount(first + 1, minlength=MOST + 1)
        self._edges -= np.bincount(last + 1, minlength=MOST + 1)

    def means(self, begin_s: float, end_s: float) -> tuple[Floats, Floats]:
        """Middles of the slices that lie in a window (seconds from the origin), and the mean number in each."""
        middles = self.begin_s + self.slice_s * (np.arange(MOST, dtype=np.float64) + 0.5)
        half = self.slice_s / 2
        inside = (middles - half >= begin_s - 1e-9) & (middles + half <= end_s + 1e-9)
        counts = np.cumsum(self._edges)[:MOST] + self._partial / self.slice_s
        return middles[inside], np.maximum(counts[inside], 0.0)

    def at(self, time_s: float) -> float:
        """About a time: the mean of its slice."""
        at = int((time_s - self.begin_s) / self.slice_s)
        if not 0 <= at < MOST:
            return 0.0
        return max(0.0, float(np.cumsum(self._edges)[at] + self._partial[at] / self.slice_s))

    def copy(self) -> InFlight:
        made = InFlight(self.begin_s, self.slice_s)
        made._partial, made._edges, made.ends_s = self._partial.copy(), self._edges.copy(), self.ends_s
        return made

    def _widen(self) -> None:
        # Request-seconds of every slice, as the two kinds of sums do not fold by themselves.
        seconds = np.cumsum(self._edges)[:MOST] * self.slice_s + self._partial
        self.slice_s *= 2
        self._partial, self._edges = _halved(seconds), np.zeros(MOST + 1)


def _halved(sums: Floats) -> Floats:
    """Pairs of slices as one, and as many empty ones behind."""
    pairs = sums[..., 0::2] + sums[..., 1::2]
    return np.concatenate([pairs, np.zeros_like(pairs)], axis=-1)
