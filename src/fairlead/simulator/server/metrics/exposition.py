"""Metrics in the Prometheus text format, light enough for the token path: plain numbers, and text only when asked.

Counters and histograms have a `_created` gauge beside them, as Python's own Prometheus client writes it.
Protocol: Prometheus text exposition format 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from math import inf

Labels = Mapping[str, str]


class Histogram:
    """Observations in buckets with the upper bounds `bounds`; one `observe` counts for any number of equal values."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def observe(self, value: float, weight: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += weight
        self.sum += value * weight


class Page:
    """Collects families of samples; `created_s` is when counting began, seconds since the epoch."""

    def __init__(self, created_s: float) -> None:
        self._created_s = _number(created_s)
        self._lines: list[str] = []

    def gauge(self, name: str, help: str, samples: Iterable[tuple[Labels, float]]) -> None:
        self._family(name, "gauge", help, ((_text(labels), value) for labels, value in samples))

    def counter(self, name: str, help: str, samples: Iterable[tuple[Labels, float]]) -> None:
        """`name` without `_total`."""
        rendered = [(_text(labels), value) for labels, value in samples]
        self._family(f"{name}_total", "counter", help, rendered)
        self._created(name, help, [labels for labels, _ in rendered])

    def plain_counter(self, name: str, help: str, samples: Iterable[tuple[Labels, float]]) -> None:
        """A counter without `_created`, as collectors of the process are. `name` without `_total`."""
        self._family(f"{name}_total", "counter", help, ((_text(labels), value) for labels, value in samples))

    def histogram(self, name: str, help: str, samples: Iterable[tuple[Labels, Histogram]]) -> None:
        lines = self._lines
        lines.append(f"# HELP {name} {help}\n# TYPE {name} histogram\n")
        rendered = [(_text(labels), histogram) for labels, histogram in samples]
        for labels, histogram in rendered:
            inner = f"{labels[1:-1]}," if labels else ""
            total = 0
            for bound, count in zip((*histogram.bounds, inf), histogram.counts, strict=True):
                total += count
                lines.append(f'{name}_bucket{{{inner}le="{_number(bound)}"}} {float(total)}\n')
            lines.append(f"{name}_count{labels} {float(total)}\n{name}_sum{labels} {_number(histogram.sum)}\n")
        self._created(name, help, [labels for labels, _ in rendered])

    def summary(self, name: str, help: str, samples: Iterable[tuple[Labels, float, float]]) -> None:
        """Samples are (labels, count, sum)."""
        self._lines.append(f"# HELP {name} {help}\n# TYPE {name} summary\n")
        rendered = [(_text(labels), count, total) for labels, count, total in samples]
        for labels, count, total in rendered:
            self._lines.append(f"{name}_count{labels} {_number(count)}\n{name}_sum{labels} {_number(total)}\n")
        self._created(name, help, [labels for labels, _, _ in rendered])

    def text(self) -> bytes:
        return "".join(self._lines).encode()

    def _family(self, name: str, kind: str, help: str, samples: Iterable[tuple[str, float]]) -> None:
        self._lines.append(f"# HELP {name} {help}\n# TYPE {name} {kind}\n")
        self._lines.extend(f"{name}{labels} {_number(value)}\n" for labels, value in samples)

    def _created(self, name: str, help: str, labels: Iterable[str]) -> None:
        self._lines.append(f"# HELP {name}_created {help}\n# TYPE {name}_created gauge\n")
        self._lines.extend(f"{name}_created{each} {self._created_s}\n" for each in labels)


def _number(value: float) -> str:
    return "+Inf" if value == inf else repr(float(value))


def _text(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items())) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
