"""Sums of requests that add up: of one engine, of one version, over a while. Values; nothing is changed in place."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from fairlead.api.traffic_report import Moments, TrafficGroup

Mean = Literal["ttft", "itl", "outputLength"]
"""Measures of which means of logarithms are compared."""

MEANS: Final[tuple[Mean, ...]] = ("ttft", "itl", "outputLength")


class Sums(NamedTuple):
    """Of (x, z, y), as `api.traffic_report.Moments`."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0
    z: float = 0.0
    zz: float = 0.0
    xz: float = 0.0
    zy: float = 0.0

    def plus(self, other: Sums) -> Sums:
        return Sums(
            self.n + other.n, self.x + other.x, self.y + other.y,
            self.xx + other.xx, self.xy + other.xy, self.yy + other.yy,
            self.z + other.z, self.zz + other.zz, self.xz + other.xz, self.zy + other.zy,
        )  # fmt: skip

    def minus(self, other: Sums) -> Sums:
        return Sums(
            self.n - other.n, self.x - other.x, self.y - other.y,
            self.xx - other.xx, self.xy - other.xy, self.yy - other.yy,
            self.z - other.z, self.zz - other.zz, self.xz - other.xz, self.zy - other.zy,
        )  # fmt: skip


class Counts(NamedTuple):
    """Requests, those of them that failed, and the sums of each measure."""

    requests: int = 0
    errors: int = 0
    ttft: Sums = Sums()
    itl: Sums = Sums()
    output_length: Sums = Sums()

    def plus(self, other: Counts) -> Counts:
        return Counts(
            self.requests + other.requests, self.errors + other.errors, self.ttft.plus(other.ttft),
            self.itl.plus(other.itl), self.output_length.plus(other.output_length),
        )  # fmt: skip

    def minus(self, other: Counts) -> Counts:
        return Counts(
            self.requests - other.requests, self.errors - other.errors, self.ttft.minus(other.ttft),
            self.itl.minus(other.itl), self.output_length.minus(other.output_length),
        )  # fmt: skip

    def of(self, measure: Mean) -> Sums:
        """The sums of one measure."""
        if measure == "ttft":
            return self.ttft
        return self.itl if measure == "itl" else self.output_length

    def goes_on_from(self, before: Counts) -> bool:
        """Whether it can be what `before` has become: sums of the same start never shrink."""
        return (
            self.requests >= before.requests
            and self.errors >= before.errors
            and all(self.of(measure).n >= before.of(measure).n for measure in MEANS)
        )


NOTHING: Final = Counts()


def counts_of(group: TrafficGroup) -> Counts:
    """What a report says of one group."""
    return Counts(
        group.requests, group.errors, _sums(group.ttft), _sums(group.itl), _sums(group.output_length)
    )  # fmt: skip


def _sums(moments: Moments) -> Sums:
    m = moments
    return Sums(m.n, m.x, m.y, m.xx, m.xy, m.yy, m.z, m.zz, m.xz, m.zy)
