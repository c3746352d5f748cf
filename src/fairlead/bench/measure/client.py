"""What the load generator was like, from the pulses of its workers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fairlead.bench.measure.sketch import Sketch
from fairlead.bench.summary import ClientHealth
from fairlead.bench.wire import Pulse

LEAST_WALL_S = 0.5
"""A share of a core over less time than this says nothing."""


@dataclass(slots=True)
class _Worker:
    cpu_s: float = 0.0
    wall_s: float = 0.0
    stalled_s: float = 0.0
    silent_s: float = 0.0
    last_s: float = 0.0
    ended_before: int = 0
    ended: int = 0
    ending_cpu_s: float = 0.0  # while `ended` rose from `ended_before`
    lags: Sketch = field(default_factory=Sketch)


class ClientMeter:
    """Of one stage. `stall_s`: a lag of an event loop that counts as a stall."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._workers: dict[int, _Worker] = {}

    def pulse(self, pulse: Pulse) -> None:
        worker = self._workers.get(pulse.worker)
        if worker is None:
            worker = self._workers[pulse.worker] = _Worker(ended_before=pulse.ended)
        else:
            worker.ending_cpu_s += pulse.cpu_s
        worker.ended = pulse.ended
        worker.cpu_s += pulse.cpu_s
        worker.wall_s += pulse.wall_s
        worker.silent_s = max(worker.silent_s, pulse.wall_s)
        worker.last_s = pulse.at_s
        lags = np.asarray(pulse.loop_lags_s, dtype=np.float64)
        worker.lags.add(np.maximum(lags, 0.0))
        worker.stalled_s += float(lags[lags > self._stall_s].sum())

    def health(self, lag_p50_s: float, lag_p99_s: float, end_s: float, lost: int) -> ClientHealth:
        """The worst worker's; lags of requests as given. What a worker has not told by `end_s` it was silent for. CPU
        per request is of those that ended meanwhile, whichever stage they were due in."""
        told = [w for w in self._workers.values() if w.wall_s > 0]
        timed = [w for w in told if w.wall_s >= LEAST_WALL_S]
        ended = sum(w.ended - w.ended_before for w in told)
        return ClientHealth(
            lag_p50_s, lag_p99_s,
            max((w.lags.percentile(99) for w in told if w.lags.count), default=0.0),
            max((w.cpu_s / w.wall_s for w in timed), default=0.0),
            sum(w.ending_cpu_s for w in told) / ended if ended else 0.0,
            lost,
            max((w.stalled_s / w.wall_s for w in timed), default=0.0),
            max((max(w.silent_s, end_s - w.last_s) for w in told), default=0.0),
            max((w.lags.percentile(50) for w in told if w.lags.count), default=0.0),
        )  # fmt: skip
