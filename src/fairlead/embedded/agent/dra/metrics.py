"""A node's DRA metrics under the kubelet's names (`pkg/kubelet/metrics`): how long preparing takes, what is in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead.embedded.agent.dra.state import ClaimRecord

ANY_DRIVER = "<any>"
BUCKETS_S = tuple(0.1 * (40 / 0.1) ** (step / 14) for step in range(15))
"""15 bounds from 0.1 s to 40 s, each the same multiple of the one before."""

_OPERATIONS = "dra_operations_duration_seconds"
_CALLS = "dra_grpc_operations_duration_seconds"
_IN_USE = "dra_resource_claims_in_use"


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, value_s: float) -> None:
        self.counts[next((i for i, bound in enumerate(BUCKETS_S) if value_s <= bound), len(BUCKETS_S))] += 1
        self.sum_s += value_s

    def lines(self, name: str, labels: str) -> list[str]:
        lines, total = [], 0
        for bound, count in zip((*map(_number, BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
        return [*lines, f"{name}_sum{{{labels}}} {self.sum_s!r}", f"{name}_count{{{labels}}} {total}"]


class DraMetrics:
    def __init__(self) -> None:
        self._operations: dict[str, _Histogram] = {}
        self._calls: dict[str, _Histogram] = {}

    def observe_operation(self, name: str, failed: bool, duration_s: float) -> None:
        """PrepareResources or UnprepareResources of a pod."""
        labels = f'is_error="{str(failed).lower()}",operation_name="{name}"'
        self._operations.setdefault(labels, _Histogram()).observe(duration_s)

    def observe_call(self, driver: str, method: str, status: str, duration_s: float) -> None:
        labels = f'driver_name="{driver}",grpc_status_code="{status}",method_name="{method}"'
        self._calls.setdefault(labels, _Histogram()).observe(duration_s)

    def render(self, records: Iterable[ClaimRecord]) -> str:
        """Prometheus text. A driver is listed while it has claims; `<any>` counts each claim once."""
        lines = []
        for name, help, series in (
            (_OPERATIONS, "Duration of handling all ResourceClaims of a pod that starts or stops.", self._operations),
            (_CALLS, "Duration of gRPC calls to DRA drivers.", self._calls),
        ):
            if series:
                lines += [f"# HELP {name} {help}", f"# TYPE {name} histogram"]
            for labels, histogram in series.items():
                lines += histogram.lines(name, labels)
        in_use: Counter[str] = Counter({ANY_DRIVER: 0})
        for record in records:
            if record.is_prepared:
                in_use.update([ANY_DRIVER, *record.drivers])
        lines += [
            f"# HELP {_IN_USE} ResourceClaims in use on the node, by driver and in all.",
            f"# TYPE {_IN_USE} gauge",
            *(f'{_IN_USE}{{driver_name="{driver}"}} {count}' for driver, count in sorted(in_use.items())),
        ]
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:.6g}"
