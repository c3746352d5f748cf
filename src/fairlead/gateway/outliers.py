"""Which endpoints are taken out for a while because requests sent to them fail. Pure.

An endpoint whose requests fail `FAILURES` times in a row (the connection is not taken, or it ends before the answer is
whole) is out for `BASE_S`, twice as long each time it happens again soon, up to `MAX_S`. Then it is to be probed; after
a good probe it is on probation, where one failure takes it out again and one success clears it. As in Envoy's outlier
detection, at most half of a pool is out at a time, and never the only endpoint: a fault that all have (the network, a
request that kills any engine) must not take away what there is.

One that answers `REFUSALS` times in a row that it cannot serve (429, 500, 502 to 504) is out too, if its siblings can:
it looks idle, since nothing stays there, and would draw all requests. While a sibling answers so as well, the requests
may be at fault, and nobody is taken out.

An engine's metrics page tells little of this: it is often served by another process than the one that computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FAILURES = 3
REFUSALS = 5
BASE_S = 5.0
MAX_S = 120.0
FORGIVE_S = 300.0
"""After this long without being out, the next time counts as the first."""


@dataclass(slots=True)
class _Record:
    failures: int = 0
    """In a row."""
    refusals: int = 0
    """In a row."""
    times_out: int = 0
    out_until_s: float | None = None
    """None = it is not out."""
    back_at_s: float = 0.0
    on_probation: bool = False


class Outliers:
    """What is known of endpoints that have failed lately; those that have not take no memory. Times are monotonic."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def is_suspect(self, address: str) -> bool:
        """Whether a success there would change anything."""
        return address in self._records

    def is_out(self, address: str) -> bool:
        record = self._records.get(address)
        return record is not None and record.out_until_s is not None

    @property
    def out(self) -> Iterable[str]:
        return [address for address, record in self._records.items() if record.out_until_s is not None]

    def failed(self, address: str, now_s: float, siblings: Sequence[str]) -> float | None:
        """A request failed there. Returns how long it is out from now, or None where it stays in.

        `siblings` are all endpoints of its pool, itself among them.
        """
        record = self._records.setdefault(address, _Record())
        record.failures += 1
        if record.failures < FAILURES and not record.on_probation:
            return None
        return self._may_be_out(address, record, now_s, siblings)

    def refused(self, address: str, now_s: float, siblings: Sequence[str]) -> float | None:
        """The endpoint answered that it cannot serve. Returns as `failed` does."""
        record = self._records.setdefault(address, _Record())
        record.refusals += 1
        if record.refusals < REFUSALS or any(self._refuses(s) for s in siblings if s != address):
            return None
        return self._may_be_out(address, record, now_s, siblings)

    def _refuses(self, address: str) -> bool:
        record = self._records.get(address)
        return record is not None and record.refusals > 0 and record.out_until_s is None

    def _may_be_out(self, address: str, record: _Record, now_s: float, siblings: Sequence[str]) -> float | None:
        if record.out_until_s is not None:
            return None
        already = sum(1 for sibling in siblings if sibling != address and self.is_out(sibling))
        if already + 1 > len(siblings) // 2:
            return None
        if now_s - record.back_at_s > FORGIVE_S:
            record.times_out = 0
        return self._take_out(record, now_s)

    def succeeded(self, address: str, now_s: float) -> None:
        """A request was answered in full."""
        record = self._records.get(address)
        if record is None or record.out_until_s is not None:
            return
        record.failures, record.refusals, record.on_probation = 0, 0, False
        if now_s - record.back_at_s > FORGIVE_S or not record.times_out:
            del self._records[address]

    def probed(self, address: str, now_s: float, *, well: bool) -> float | None:
        """The probe at the end of its time; None = it is back, on probation. Else how long it is out from now."""
        record = self._records.get(address)
        if record is None or record.out_until_s is None:
            return None
        if not well:
            return self._take_out(record, now_s)
        record.out_until_s, record.back_at_s, record.on_probation = None, now_s, True
        record.failures = record.refusals = 0
        return None

    def forget(self, address: str) -> None:
        """The endpoint is no more, or is another one than before."""
        self._records.pop(address, None)

    def _take_out(self, record: _Record, now_s: float) -> float:
        out_s = min(MAX_S, BASE_S * 2.0 ** min(record.times_out, 16))
        record.times_out += 1
        record.out_until_s = now_s + out_s
        return out_s
