"""How many pods each piece of a part contributes: its own batches, its groups, its slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SKIPPED: Final = -1
"""The piece is a group that is not placed."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece: either skipped, where it is a group, or some number of pods from `least` to `most`."""

    least: int
    most: int
    is_group: bool


_MOST_SLOTS: Final = 200

Split = tuple[int, ...]


def splits(slots: Sequence[Slot], target: int, least_groups: int) -> Iterator[Split]:
    """All ways to share out `target` pods with at least `least_groups` groups not skipped, the obvious one first. More
    than `target` only where the last group needs more to be placed at all.

    Of very many slots only the obvious way is told.
    """
    obvious = _obvious(slots, target, least_groups)
    if obvious is not None:
        yield obvious
    if len(slots) > _MOST_SLOTS or (obvious is not None and target == sum(slot.most for slot in slots)):
        return
    for split in _all(slots, 0, target, least_groups, _reach(slots), _groups(slots)):
        if split != obvious:
            yield split


def _obvious(slots: Sequence[Slot], target: int, least_groups: int) -> Split | None:
    """Groups in order at their least, the rest from the part's own pods, then from slices, then from more of the
    groups."""
    counts = [SKIPPED if slot.is_group else 0 for slot in slots]
    left = target
    for i, slot in enumerate(slots):
        if slot.is_group and least_groups > 0 and slot.least <= slot.most:
            counts[i] = slot.least
            left -= slot.least
            least_groups -= 1
    if least_groups > 0:
        return None
    left = max(0, left)
    for wants_group in (False, True):
        for i, slot in enumerate(slots):
            if slot.is_group is wants_group and counts[i] != SKIPPED:
                more = min(left, slot.most - counts[i])
                counts[i] += more
                left -= more
    return None if left else tuple(counts)


def _all(
    slots: Sequence[Slot], i: int, target: int, least_groups: int, reach: Sequence[int], groups: Sequence[int]
) -> Iterator[Split]:
    if i == len(slots):
        if target == 0 and least_groups <= 0:
            yield ()
        return
    if target > reach[i] or least_groups > groups[i]:
        return
    slot = slots[i]
    values: list[int]
    if slot.is_group:
        values = [*range(slot.least, min(slot.most, max(target, slot.least)) + 1), SKIPPED]
    else:
        values = list(range(min(slot.most, target), slot.least - 1, -1))
    for value in values:
        placed = slot.is_group and value != SKIPPED
        rest = _all(slots, i + 1, max(0, target - max(0, value)), least_groups - placed, reach, groups)
        for others in rest:
            yield (value, *others)


def _reach(slots: Sequence[Slot]) -> list[int]:
    """By place: how many pods the slots from there on can have."""
    found = [0] * (len(slots) + 1)
    for i in range(len(slots) - 1, -1, -1):
        most = slots[i].most if slots[i].least <= slots[i].most else 0
        found[i] = found[i + 1] + most
    return found


def _groups(slots: Sequence[Slot]) -> list[int]:
    """By place: how many groups from there on can be placed."""
    found = [0] * (len(slots) + 1)
    for i in range(len(slots) - 1, -1, -1):
        found[i] = found[i + 1] + (slots[i].is_group and slots[i].least <= slots[i].most)
    return found
