"""Who looks on during a run, as its configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairlead.bench.config import Benchmark
from fairlead.bench.run.observing import Observer


def observers_of(config: Benchmark, boundaries: Callable[[], Sequence[float]] = tuple) -> list[Observer]:
    """Imported where they are wanted: a run that is not looked at pays for no client of a cluster. `boundaries`: ends
    of the stages that are known, seconds from the origin of the run."""
    made: list[Observer] = []
    if config.server is not None:
        from fairlead.bench.server_side.observer import ServerObserver

        made.append(ServerObserver(config, boundaries))
    if config.scaling is not None:
        from fairlead.bench.replicas.observer import ScalingObserver

        made.append(ScalingObserver(config))
    return made
