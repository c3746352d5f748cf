"""How many workers a load needs, and when there are too few. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from fairlead.bench.config import Benchmark, ClosedLoop, OpenLoop
from fairlead.bench.wire import Pulse

S_PER_REQUEST, S_PER_EVENT = 0.25e-3, 0.02e-3
"""CPU of a worker for a request, and for each event of its stream (`benchmarks/bench_worker.py`)."""
BUSY = 0.5
"""The share of a core that a worker is planned for: at half a core queues in front of it are short."""
TOO_BUSY = 0.7
"""The share from which on one more is started, before `client.cpu_share` makes the stage invalid."""
USERS_EACH = 500
EVENTS_GUESSED = 128.0


def workers_for(config: Benchmark, cores: int) -> int:
    """As many as were asked for, else as the load needs; one core stays for the coordinator."""
    if config.workers is not None:
        return config.workers
    most = max(1, cores - 1)
    load = config.load
    if isinstance(load, OpenLoop):
        rate = max((max(s.rate_per_s, s.to_rate_per_s or 0.0) for s in load.stages), default=1.0)
        return min(most, max(1, ceil(rate * (S_PER_REQUEST + S_PER_EVENT * _events(config)) / BUSY)))
    if isinstance(load, ClosedLoop):
        return min(most, max(1, ceil(max((s.users for s in load.stages), default=1) / USERS_EACH)))
    return 1


def needs_another(config: Benchmark, pulses: Sequence[Pulse], cores: int) -> bool:
    """Whether the busiest worker has too little of its core left, and there is a core to spare. A number of workers
    that was asked for is kept."""
    if config.workers is not None or not pulses or len(pulses) >= max(1, cores - 1):
        return False
    return max((p.cpu_s / p.wall_s for p in pulses if p.wall_s > 0), default=0.0) > TOO_BUSY


def _events(config: Benchmark) -> float:
    """Of an answer, by what the configuration says of its length."""
    lengths = getattr(config.content, "output_tokens", None)
    for field in ("tokens", "mean", "high"):
        if (value := getattr(lengths, field, None)) is not None:
            return float(value)
    return EVENTS_GUESSED
