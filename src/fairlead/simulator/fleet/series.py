"""Load over time in at most some hundred bins: bins are merged in pairs whenever there are too many, so that memory is
flat whatever the length of a study."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.simulator.fleet.replica import Phase, Replica

_MOST_BINS = 480


class Bin:
    """Counts of one stretch of time, and sums of the samples taken in it."""

    __slots__ = (
        "arrivals", "finished", "held", "kv_ratio", "kv_samples", "lost", "output_tokens", "ready", "running",
        "samples", "starting", "ttft_max_s", "ttft_sum_s", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.arrivals = 0
        self.finished = 0
        self.lost = 0
        """Failed and abandoned requests."""
        self.output_tokens = 0
        self.ttft_sum_s = 0.0
        self.ttft_max_s = 0.0
        self.samples = 0
        self.running = 0
        self.waiting = 0
        self.held = 0
        self.ready = 0
        self.starting = 0
        self.kv_ratio = 0.0
        self.kv_samples = 0

    def merge(self, other: Bin) -> None:
        """Take over a neighbour."""
        longest_s = max(self.ttft_max_s, other.ttft_max_s)
        for name in Bin.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ttft_max_s = longest_s


class Series:
    """Bins of `bin_s` seconds from 0 on."""

    __slots__ = ("_bins", "bin_s")

    def __init__(self, bin_s: float = 1.0) -> None:
        self.bin_s = bin_s
        self._bins: list[Bin] = []

    def at(self, time_s: float) -> Bin:
        """The bin of a moment."""
        index = int(time_s / self.bin_s)
        bins = self._bins
        if index < len(bins):
            return bins[index]
        while index >= _MOST_BINS:
            self._halve()
            index = int(time_s / self.bin_s)
            bins = self._bins
        while index >= len(bins):
            bins.append(Bin())
        return bins[index]

    def sample(self, time_s: float, replicas: Iterable[Replica], held_requests: int) -> None:
        """How much there is of everything at this moment."""
        current = self.at(time_s)
        current.samples += 1
        current.held += held_requests
        for replica in replicas:
            if replica.phase is Phase.READY:
                current.ready += 1
            elif replica.phase is Phase.STARTING or replica.phase is Phase.PENDING:
                current.starting += 1
            for rank in replica.ranks:
                engine = rank.engine
                current.running += engine.num_running
                current.waiting += engine.num_waiting
                current.kv_ratio += engine.kv_usage(time_s)
                current.kv_samples += 1

    def _halve(self) -> None:
        for even, odd in zip(self._bins[::2], self._bins[1::2], strict=False):
            even.merge(odd)
        self._bins = self._bins[::2]
        self.bin_s *= 2

    def columns(self) -> dict[str, list[float | None]]:
        """Name -> one value per bin; None where nothing was sampled."""
        bins, width = self._bins, self.bin_s

        def mean(name: str) -> list[float | None]:
            return [getattr(b, name) / b.samples if b.samples else None for b in bins]

        return {
            "time_s": [n * width for n in range(len(bins))],
            "arrivals_per_s": [b.arrivals / width for b in bins],
            "finished_per_s": [b.finished / width for b in bins],
            "lost_per_s": [b.lost / width for b in bins],
            "output_tokens_per_s": [b.output_tokens / width for b in bins],
            "ttft_mean_s": [b.ttft_sum_s / b.finished if b.finished else None for b in bins],
            "ttft_max_s": [b.ttft_max_s if b.finished else None for b in bins],
            "running_requests": mean("running"),
            "waiting_requests": mean("waiting"),
            "held_requests": mean("held"),
            "ready_replicas": mean("ready"),
            "starting_replicas": mean("starting"),
            "kv_cache_usage_ratio": [b.kv_ratio / b.kv_samples if b.kv_samples else None for b in bins],
        }
