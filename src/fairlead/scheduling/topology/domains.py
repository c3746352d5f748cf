"""The domains of a fleet's rows, level by level, kept current by the fleet's log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import NodeView

Ints = npt.NDArray[np.int64]

NO_DOMAIN = -1


@dataclass(slots=True)
class Cut:
    """Rows cut by one or several levels: two rows are in one domain where all of their values are equal."""

    levels: tuple[str, ...]
    ids: Ints
    """By row: the number of its domain; NO_DOMAIN where the node lacks one of the labels, or is not there."""
    values: list[tuple[str, ...]] = field(default_factory=list)
    """By number of a domain: the value of each level."""
    _numbers: dict[tuple[str, ...], int] = field(default_factory=dict)

    def place(self, row: int, node: NodeView | None) -> None:
        """The row has this node, or none."""
        self.ids[row] = NO_DOMAIN if node is None else self._number(node)

    def grow(self, rows: int) -> None:
        more = rows - len(self.ids)
        if more > 0:
            self.ids = np.concatenate([self.ids, np.full(more, NO_DOMAIN, dtype=np.int64)])

    def _number(self, node: NodeView) -> int:
        value = []
        for level in self.levels:
            at = node.value(level)
            if at is None:
                return NO_DOMAIN
            value.append(at)
        key = tuple(value)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.values)
            self.values.append(key)
        return number


class Domains:
    """Cuts of one fleet, each made when it is first asked for."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._cuts: dict[tuple[str, ...], Cut] = {}
        self._seen: list[NodeView | None] = []
        self._read = fleet.log.end

    def cut(self, levels: tuple[str, ...]) -> Cut:
        """The rows by domain of these levels as nodes are now."""
        self._refresh()
        found = self._cuts.get(levels)
        if found is None:
            found = self._cuts[levels] = Cut(levels, np.full(len(self._seen), NO_DOMAIN, dtype=np.int64))
            for row, node in enumerate(self._seen):
                found.place(row, node)
        return found

    def _refresh(self) -> None:
        fleet = self._fleet
        end = fleet.log.end
        if end == self._read and len(self._seen) == len(fleet.nodes):
            return
        changes = fleet.log.since(self._read)
        self._read = end
        rows: Iterable[int]
        if changes is None or len(self._seen) != len(fleet.nodes):
            self._seen.extend([None] * (len(fleet.nodes) - len(self._seen)))
            for cut in self._cuts.values():
                cut.grow(len(self._seen))
            rows = range(len(fleet.nodes))
        else:
            # What pods do moves no node.
            rows = {change.row for change in changes if change.shape is None and change.row >= 0}
        for row in rows:
            node = fleet.nodes[row]
            if node is not self._seen[row]:
                self._seen[row] = node
                for cut in self._cuts.values():
                    cut.place(row, node)
