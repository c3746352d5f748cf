"""Whether a model fits into a node's cache, and what has to leave for it. Pure.

    counted  = bytes of all models + reservations of those on their way + what is set aside as damaged
    capacity : counted - left + needed <= capacity
    disk     : free + (bytes on disk of what leaves) - (reserved but not yet written) - needed >= spare

What is damaged leaves first, then what was not used for longest. Nothing leaves that is pinned, that a pod uses, or
that somebody is fetching; and nothing at all leaves for a model that would not fit anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["model", "partial", "damaged"]


@dataclass(frozen=True, slots=True)
class Occupant:
    """Something in the cache. `bytes` counts against the capacity, `disk_bytes` is what it takes on disk by now."""

    name: str
    kind: Kind
    bytes: int
    disk_bytes: int
    used_s: float
    is_pinned: bool = False
    users: int = 0
    """Pods that use it; of a partial one, whether somebody fetches it."""
    label: str = ""
    """Its source, for people."""

    @property
    def may_leave(self) -> bool:
        return not self.is_pinned and not self.users


@dataclass(frozen=True, slots=True)
class Room:
    """Names of what has to leave, in this order."""

    leave: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoRoom:
    """`reason` has the arithmetic."""

    reason: str


def plan_room(
    occupants: Sequence[Occupant],
    needed_bytes: int,
    *,
    capacity_bytes: int | None,
    free_bytes: int,
    spare_bytes: int,
) -> Room | NoRoom:
    """What leaves so that `needed_bytes` more can come. `capacity_bytes` None: as much as the disk has."""
    counted = sum(o.bytes for o in occupants)
    promised = sum(max(0, o.bytes - o.disk_bytes) for o in occupants if o.kind == "partial" and o.users)
    over = 0 if capacity_bytes is None else counted + needed_bytes - capacity_bytes
    short = needed_bytes + promised + spare_bytes - free_bytes
    leave: list[str] = []
    for occupant in sorted((o for o in occupants if o.may_leave), key=_order):
        if over <= 0 and short <= 0:
            break
        leave.append(occupant.name)
        over -= occupant.bytes
        short -= occupant.disk_bytes
    if over <= 0 and short <= 0:
        return Room(tuple(leave))
    if over > 0 and capacity_bytes is not None:
        return NoRoom(_over_capacity(occupants, needed_bytes, capacity_bytes, counted, over))
    return NoRoom(_disk_full(occupants, needed_bytes, free_bytes, promised, spare_bytes, short))


def amount(size: int) -> str:
    """Bytes as a person reads them."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _order(occupant: Occupant) -> tuple[bool, float, str]:
    return occupant.kind != "damaged", occupant.used_s, occupant.name


def _over_capacity(occupants: Sequence[Occupant], needed: int, capacity: int, counted: int, over: int) -> str:
    if needed > capacity:
        return (
            f"it takes {amount(needed)}, and the whole cache may hold {amount(capacity)}: raise --capacity to "
            f"{amount(needed)} at least"
        )
    return (
        f"it takes {amount(needed)}; of {amount(capacity)}, {amount(counted)} are taken, and of these only "
        f"{amount(_leaving(occupants, 'bytes'))} may leave ({_kept(occupants)}): {amount(over)} are lacking. "
        f"{_remedy(occupants)}"
    )


def _disk_full(occupants: Sequence[Occupant], needed: int, free: int, promised: int, spare: int, short: int) -> str:
    taken = f", {amount(promised)} are promised to models on their way" if promised else ""
    return (
        f"it takes {amount(needed)}; the disk has {amount(free)} free{taken}, {amount(spare)} stay free, and of the "
        f"cache {amount(_leaving(occupants, 'disk_bytes'))} may leave ({_kept(occupants)}): {amount(short)} are "
        f"lacking. {_remedy(occupants)}"
    )


def _leaving(occupants: Sequence[Occupant], what: Literal["bytes", "disk_bytes"]) -> int:
    return sum(o.bytes if what == "bytes" else o.disk_bytes for o in occupants if o.may_leave)


def _kept(occupants: Sequence[Occupant]) -> str:
    used = [o for o in occupants if o.users and o.kind == "model"]
    coming = [o for o in occupants if o.users and o.kind == "partial"]
    pinned = [o for o in occupants if o.is_pinned and not o.users]
    parts = [
        f"{amount(sum(o.bytes for o in group))} {what}{_labels(group)}"
        for group, what in ((used, "in use"), (pinned, "pinned"), (coming, "on their way"))
        if group
    ]
    return ", ".join(parts) or "nothing is kept"


def _labels(group: Sequence[Occupant]) -> str:
    names = [o.label or o.name for o in group]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" by {', '.join(names[:3])}{more}" if names else ""


def _remedy(occupants: Sequence[Occupant]) -> str:
    if any(o.is_pinned and not o.users for o in occupants):
        return "Unpin one (fairlead model cache unpin), or make the cache larger"
    return "Make the cache or its disk larger, or serve fewer models on this node"
