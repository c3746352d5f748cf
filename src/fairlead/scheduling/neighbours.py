"""What the pods on the nodes mean for one more pod: affinity both ways, and spreading. By shape, never by pod.

Rules: the inter-pod affinity and topology spread plugins of kube-scheduler. A pod that is being deleted counts until it
is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.scheduling.fleet.columns import Columns, Integers
from fairlead.scheduling.snapshot import PodTerm, Shape, SpreadConstraint

HARD_AFFINITY_WEIGHT: Final = 1
"""What a required affinity of a pod on a node is worth to the pod that it wants near (`hardPodAffinityWeight`)."""


_MOST_RELATIONS: Final = 16384


@dataclass(frozen=True, slots=True)
class Relation:
    """What one pod of a shape, standing somewhere, is to a newcomer of another."""

    is_wanted: bool = False
    """It satisfies all of the newcomer's required affinity."""
    shunned: tuple[str, ...] = ()
    """Levels at which the newcomer must not be with it."""
    shuns: tuple[str, ...] = ()
    """Levels at which it must not be with the newcomer."""
    pull: tuple[tuple[str, int], ...] = ()
    """Level and weight of wishes, of either."""
    counts: tuple[int, ...] = ()
    """Which of the newcomer's spread constraints count it."""


_NONE: Final = Relation()


def relate(newcomer: Shape, standing: Shape) -> Relation | None:
    """The relation; None where each is nothing to the other."""
    if not (newcomer.near or newcomer.far or newcomer.spread or standing.near or standing.far):
        return None
    wanted = [term for term in newcomer.near if not term.weight]
    pull = [
        *((t.level, t.weight) for t in newcomer.near if t.weight and means(t, standing)),
        *((t.level, -t.weight) for t in newcomer.far if t.weight and means(t, standing)),
        *((t.level, t.weight or HARD_AFFINITY_WEIGHT) for t in standing.near if means(t, newcomer)),
        *((t.level, -t.weight) for t in standing.far if t.weight and means(t, newcomer)),
    ]
    found = Relation(
        is_wanted=bool(wanted) and all(means(term, standing) for term in wanted),
        shunned=_levels(newcomer, standing),
        shuns=_levels(standing, newcomer),
        pull=tuple(pull),
        counts=tuple(
            index
            for index, each in enumerate(newcomer.spread)
            if standing.namespace == newcomer.namespace and counts(each, standing)
        ),
    )
    return None if found == _NONE else found


def means(term: PodTerm, other: Shape) -> bool:
    """Whether the pods that a term speaks of include those of a shape."""
    return (not term.namespaces or other.namespace in term.namespaces) and term.selector.matches(other.labels)


def counts(constraint: SpreadConstraint, other: Shape) -> bool:
    """Whether a constraint counts the pods of a shape. One whose selector is empty counts none, as in kube-scheduler,
    though everywhere else such a selector matches everything."""
    return not constraint.selector.is_everything and constraint.selector.matches(other.labels)


def _levels(one: Shape, other: Shape) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t.level for t in one.far if not t.weight and means(t, other)))


class Neighbours:
    """For one shape: how many of the pods on each row matter to it, and how. Counts by row, so that rows may change
    their domains."""

    def __init__(self, shape: Shape, columns: Columns) -> None:
        self.shape = shape
        self._columns = columns
        self._relations: dict[Shape, Relation | None] = {}
        self._size = columns.size
        self.wanted = self._zeros()
        """Pods that satisfy all required affinity."""
        self.shunned: dict[str, Integers] = {}
        self.shuns: dict[str, Integers] = {}
        self.pull: dict[str, Integers] = {}
        """By level and row: pods not to be with, those that do not want to be with it, and weights of wishes."""
        self.counts: list[Integers] = [self._zeros() for _ in shape.spread]
        for standing, rows in columns.placed.items():
            relation = self._relation(standing)
            if relation is not None:
                for row, number in rows.items():
                    self._add(relation, row, number)

    @property
    def is_idle(self) -> bool:
        """Whether nothing here can speak for or against any row."""
        shape = self.shape
        return not (shape.near or shape.spread or self.shunned or self.shuns or self.pull)

    def note(self, standing: Shape, row: int, delta: int) -> bool:
        """Pods of a shape came or went. Whether that matters."""
        relation = self._relation(standing)
        if relation is None:
            return False
        self._add(relation, row, delta)
        return True

    def _relation(self, standing: Shape) -> Relation | None:
        try:
            return self._relations[standing]
        except KeyError:
            if len(self._relations) >= _MOST_RELATIONS:
                self._relations.clear()
            found = self._relations[standing] = relate(self.shape, standing)
            return found

    def _add(self, relation: Relation, row: int, number: int) -> None:
        if relation.is_wanted:
            self.wanted[row] += number
        for level in relation.shunned:
            self._of(self.shunned, level)[row] += number
        for level in relation.shuns:
            self._of(self.shuns, level)[row] += number
        for level, weight in relation.pull:
            self._of(self.pull, level)[row] += number * weight
        for index in relation.counts:
            self.counts[index][row] += number

    def _of(self, by_level: dict[str, Integers], level: str) -> Integers:
        found = by_level.get(level)
        if found is None:
            found = by_level[level] = self._zeros()
        return found

    def _zeros(self) -> Integers:
        return np.zeros(self._size, np.int64)
