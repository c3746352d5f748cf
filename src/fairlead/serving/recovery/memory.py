"""What was done about replicas before, from the service's own status: a controller that starts anew goes on with it.

How far a replica is up the ladder (in place, elsewhere, given up), how many are being replaced just now, and which
nodes to keep away from are all read from `status.recoveries`. A record that could not be written because the controller
died between deed and word costs one step more on the ladder, never one without end; a deed that is on record, and whose
replica is still there, was not done, and is done without a second record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fairlead.api.model_service import RecoveryRecord, RoleName
from fairlead.clock import format_time, parse_time

WINDOW_S: Final = 3600.0
"""What lies further back has no part in what is done next: a replica that was well for so long starts anew."""
OPEN_S: Final = 900.0
"""A replacement that is not ready after so long holds up no other."""
KEPT: Final = 64
"""Records in a status at most; of those within the window the newest."""
SHOWN: Final = 10
"""Records that stay however old they are."""

Deed = Literal["Restarted", "Replaced", "Moved", "Draining"]
"""Restarted: in place. Replaced: made anew wherever. Moved: made anew, away from the node. Draining: its replacement
comes first, then it leaves."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, read."""

    at_s: float
    replica: str
    role: str
    cause: str
    deed: str
    node: str

    def is_of(self, replica: str, created_s: float) -> bool:
        """Whether it is about this replica, not about a former one of its name. Both times are in whole seconds."""
        return self.replica == replica and self.at_s >= math.floor(created_s)


@dataclass(frozen=True, slots=True)
class Memory:
    """The records of a service, the oldest first."""

    records: tuple[RecoveryRecord, ...] = ()

    def entries(self, now_s: float) -> tuple[Entry, ...]:
        """Those within the window. A time in the future (a clock that was set back) counts as now."""
        read = (_entry(record, now_s) for record in self.records)
        return tuple(entry for entry in read if entry is not None and now_s - entry.at_s <= WINDOW_S)

    def with_records(self, new: Sequence[RecoveryRecord], now_s: float) -> Memory:
        """With further ones, and without those that nothing depends on any more."""
        every = (*self.records, *new)
        recent = [r for r in every if (e := _entry(r, now_s)) is not None and now_s - e.at_s <= WINDOW_S]
        kept = recent[-KEPT:] if len(recent) >= SHOWN else every[-SHOWN:]
        return Memory(tuple(kept))


def memory_of(records: Iterable[RecoveryRecord]) -> Memory:
    """Of `status.recoveries`."""
    return Memory(tuple(records))


def record(
    now_s: float, replica: str, role: RoleName, cause: str, deed: Deed, message: str, node: str = ""
) -> RecoveryRecord:
    """What was done, as the status keeps it."""
    return RecoveryRecord(
        time=format_time(now_s), replica=replica, cause=cause, action=deed, message=message, node=node, role=role
    )


def _entry(written: RecoveryRecord, now_s: float) -> Entry | None:
    try:
        at_s = parse_time(written.time)
    except ValueError:
        return None
    return Entry(min(at_s, now_s), written.replica, written.role, written.cause, written.action, written.node)
