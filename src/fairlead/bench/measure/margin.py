"""The requests of a stage by one of their numbers: adapter, target or turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from fairlead.bench.measure.group import Group, Window
from fairlead.bench.records.columns import Bools, Columns, Ints, joined
from fairlead.bench.summary import Metrics

MOST_GROUPS = 128
"""Adapters, targets or turns that have figures of their own; the rest is in the stage's."""
TOGETHER = 4096
"""Requests to wait for before they are told apart: a group costs the same for one as for a hundred of them."""

Key = TypeVar("Key", str, int)


class Margin(Generic[Key]):
    """While all have the same number nothing is kept twice; when a second one comes, the figures of the first are a
    copy of the stage's until then."""

    def __init__(self, group: Callable[[], Group], name: Callable[[int], Key]) -> None:
        self._group: Callable[[], Group] = group
        self._name: Callable[[int], Key] = name
        self._groups: dict[int, Group] = {}
        self._only: int | None = None
        self._waiting: list[tuple[Columns, Bools, Ints]] = []
        self._waiting_rows = 0
        self._has_more = False

    def add(self, before: Group, columns: Columns, measured: Bools, numbers: Ints) -> None:
        """`before`: the stage without these requests."""
        if not len(numbers):
            return
        if self._only is None:
            self._only = int(numbers.min())
        if not self._groups:
            if bool((numbers == self._only).all()):
                return
            self._groups[self._only] = before.copy()
        self._waiting.append((columns, measured, numbers))
        self._waiting_rows += len(columns)
        if self._waiting_rows >= TOGETHER:
            self._tell_apart()

    @property
    def has_more(self) -> bool:
        """Whether there are some without figures of their own."""
        self._tell_apart()
        return self._has_more

    def metrics(self, window: Window) -> dict[Key, Metrics]:
        """None of one alone: they are the stage's."""
        self._tell_apart()
        return {self._name(number): group.metrics(window) for number, group in sorted(self._groups.items())}

    def _tell_apart(self) -> None:
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if not waiting:
            return
        columns = joined([columns for columns, _, _ in waiting])
        measured, numbers = (np.concatenate([each[at] for each in waiting]) for at in (1, 2))
        for number in np.unique(numbers):
            group = self._groups.get(int(number))
            if group is None:
                if len(self._groups) >= MOST_GROUPS:
                    self._has_more = True
                    continue
                group = self._groups[int(number)] = self._group()
            mine = numbers == number
            group.add(columns.take(mine), measured[mine])
