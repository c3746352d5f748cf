"""Moving small work so that a large gang fits: nobody loses a place, all of it is proven before anybody is told.

What is moved gets a new place in the same trial, after the gang. It never goes to a node that was empty: that would
break up another free node for one that is put together, and large gangs would find no more room than before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.case import Case, Question
from fairlead.scheduling.eviction.outcome import cleared_by
from fairlead.scheduling.eviction.reasons import Reasons
from fairlead.scheduling.eviction.rights import NoLedger
from fairlead.scheduling.eviction.search import find_plan
from fairlead.scheduling.eviction.steps import Steps
from fairlead.scheduling.eviction.units import Unit, units_to_move
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import NOWHERE, Mask, Outlook
from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.snapshot import PodView, Shape
from fairlead.scheduling.verdict import Assignment, Cleared, Placed

_MOST_LEVELS: Final = 12
"""Steps from the fullest nodes to all."""
_MOST_SHAPES: Final = 64
"""Shapes of which it is asked whether there is any room for one more; others are taken to have some."""


def consolidate(question: Question) -> Cleared | None:
    """Whom to move so that the gang fits; None where that is not enough, or not all would have a place again."""
    movers = _Movers(question.outlook, question.steps)
    reasons = Reasons()
    units = units_to_move(
        question, [other for other in question.candidates if other.is_ours and movers.may_fit(other)], reasons
    )
    if not units.all:
        return None
    plan = find_plan(Case(question, units, reasons, NoLedger, afterwards=movers.place))
    return None if plan is None else cleared_by(question.gang, plan, units)


class _Movers:
    """Who may go elsewhere, and where to."""

    def __init__(self, outlook: Outlook, steps: Steps) -> None:
        self._outlook = outlook
        self._steps = steps
        self._in_use = _rows_in_use(outlook.fleet)
        self._from_fullest = _from_fullest(outlook.fleet, self._in_use)
        self._has_room: dict[Shape, bool] = {}

    def may_fit(self, other: Bystander) -> bool:
        """Whether there is room now for one more of each of its pods; a quick no for full fleets."""
        return all(self._has_any(pod.shape) for pod in other.pods)

    def place(self, units: Sequence[Unit]) -> tuple[Assignment, ...] | None:
        """Places all who were taken, the largest first; None where one of them has no place."""
        moves: list[Assignment] = []
        for unit in sorted(units, key=lambda unit: (-len(unit.pods), unit.order)):
            assignments = self._place(_again(unit))
            if assignments is None:
                return None
            moves += assignments
        return tuple(moves)

    def _place(self, gang: Gang) -> tuple[Assignment, ...] | None:
        """On the fullest nodes that have room: emptier ones may be what the next large gang gets."""
        for rows in self._from_fullest:
            verdict = place_gang(self._outlook, gang, Limits(max(1, self._steps.left), rows, explains=False))
            if isinstance(verdict, Placed):
                self._steps.spend(max(1, verdict.steps))
                return verdict.assignments
            self._steps.spend(max(1, verdict.explanation.steps))
        return None

    def _has_any(self, shape: Shape) -> bool:
        known = self._has_room.get(shape)
        if known is None:
            if len(self._has_room) >= _MOST_SHAPES:
                return True
            scores = self._outlook.of(shape).scores
            self._steps.spend(len(scores))
            known = self._has_room[shape] = bool(np.any(scores[: len(self._in_use)][self._in_use] > NOWHERE))
        return known


def _again(unit: Unit) -> Gang:
    """The gang of a unit, or the pod that it can spare, as it would be placed anew: all of it."""
    gang = unit.of.gang
    uids = {pod.uid for pod in unit.pods}
    return Gang(gang.namespace, gang.name, _group_again(gang.root, uids), gang.kind, gang.queue, gang.priority)


def _group_again(group: Group, uids: set[str]) -> Group:
    parts = tuple(_group_again(part, uids) for part in group.groups)
    pods = tuple(pod for pod in group.bound if pod.uid in uids)
    stay = tuple(pod for pod in group.bound if pod.uid not in uids and not pod.is_leaving)
    count = len(pods) + len(stay) + sum(part.minimum for part in parts)
    return Group(group.name, pods, parts, count, None, group.topology, stay)


def _rows_in_use(fleet: Fleet) -> Mask:
    """Rows on which there is anything that is not of the node itself."""
    mask = np.zeros(len(fleet.nodes), dtype=np.bool_)
    for row, pods in enumerate(fleet.on):
        mask[row] = any(not _is_of_node(standing.pod) for standing in pods.values())
    return mask


def _from_fullest(fleet: Fleet, in_use: Mask) -> list[Mask]:
    """Ever more of the rows in use, those first on which most is held: devices, then pods."""
    held: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(in_use).tolist():
        pods = [standing.pod for standing in fleet.on[row].values()]
        devices = sum(amount for pod in pods for name, amount in pod.shape.demand.items() if "/" in name)
        held.setdefault((devices, len(pods)), []).append(row)
    levels = sorted(held, reverse=True)
    masks: list[Mask] = []
    mask = np.zeros(len(in_use), dtype=np.bool_)
    for number, level in enumerate(levels):
        mask[held[level]] = True
        if number < _MOST_LEVELS - 1 or number == len(levels) - 1:
            masks.append(mask.copy())
    return masks


def _is_of_node(pod: PodView) -> bool:
    return pod.facts is not None and pod.facts.is_mirror_or_daemon
