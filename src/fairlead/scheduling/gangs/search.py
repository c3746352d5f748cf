"""Where a gang fits: one search over topology domains, nodes and devices, with backtracking over its members.

First by numbers: a domain that has room for all of a part, and its pods put down by the number where they fill it best.
Where that leads nowhere and numbers do not prove that nothing does, pod by pod, with devices chosen anew for several
pods of a row together, and rows and domains left out that are like ones that led nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.scheduling.fleet.options import Mask, Outlook
from fairlead.scheduling.gangs.attempts import Attempts
from fairlead.scheduling.gangs.extras import place_extras
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.outcome import lacking_claims, placed
from fairlead.scheduling.gangs.parts import divide
from fairlead.scheduling.gangs.refusal import refuse, refuse_single, refuse_unready
from fairlead.scheduling.gangs.rooms import survey_of
from fairlead.scheduling.gangs.trial import OutOfBudgetError, Place
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.topology import NO_DOMAIN
from fairlead.scheduling.verdict import Assignment, Placed, Refused

DEFAULT_BUDGET: Final = 200_000
"""Steps of one search: a look at a domain, at a row for a set of pods, or a pod put somewhere."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a search."""

    budget: int = DEFAULT_BUDGET
    rows: Mask | None = None
    """Only these rows; None for all."""
    explains: bool = True
    """Whether a refusal tells of every domain; without, only that there is none."""


def place_gang(outlook: Outlook, gang: Gang, limits: Limits = Limits()) -> Placed | Refused:
    """Places all of the gang that must be, and as much as can be of the rest, on the outlook's fleet.

    On Placed the fleet holds the pods and their devices, as changes that an enclosing mark can undo. On Refused the
    fleet is as it was. Refused too where nothing must be placed and nothing more can be.
    """
    pods = gang.pods
    if gang.is_single and len(pods) == 1:
        return _place_single(outlook, gang, pods[0], limits)
    if not pods:
        return Placed(gang, ())
    part = divide(gang)
    if not part.size or not part.is_possible:
        return refuse_unready(gang, part)
    fleet = outlook.fleet
    lacking = lacking_claims(fleet, gang)
    mark = fleet.mark()
    attempts = Attempts(outlook, part, limits.budget)
    places = _places(outlook, pods, max(1, part.need), limits)
    is_cut_off = False
    try:
        trial = None
        for place in places[:-1]:
            trial = trial or attempts.solve_soon(place)
        trial = trial or attempts.solve(places[-1])
    except OutOfBudgetError:
        trial, is_cut_off = None, True
    if trial is not None:
        place_extras(attempts, trial, part, places[-1])
        if trial.put:
            fleet.keep(mark)
            return placed(gang, trial, lacking, attempts.budget.steps)
    fleet.undo(mark)
    return refuse(gang, attempts, places[-1], is_cut_off=is_cut_off, explains=limits.explains)


def _place_single(outlook: Outlook, gang: Gang, pod: PodView, limits: Limits) -> Placed | Refused:
    fleet, rows = outlook.fleet, limits.rows
    options = outlook.of(pod.shape)
    row = None if pod.waits_for else options.best(rows, pod.nominated)
    steps = 0
    while row is not None:
        steps += 1
        node = fleet.nodes[row]
        try:
            made = fleet.place(pod, row)
        except LookupError:
            # Only the devices know better than the options, and then of one row.
            rows = np.ones(len(options.scores), dtype=np.bool_) if rows is None else rows.copy()
            rows[row] = False
            row = options.best(rows)
            continue
        assert node is not None
        return Placed(gang, (Assignment(pod, node.name, made),), steps=steps)
    return refuse_single(outlook, gang, pod, limits.rows, steps=steps, explains=limits.explains)


def _places(outlook: Outlook, pods: tuple[PodView, ...], need: int, limits: Limits) -> list[Place]:
    """Where the gang may go: first, where nodes were cleared for as many pods as it needs, these alone."""
    fleet = outlook.fleet
    # Cut by no level, all nodes are in one domain.
    there = survey_of(outlook).domains.cut(()).ids != NO_DOMAIN
    everywhere = Place(np.flatnonzero(there if limits.rows is None else there & limits.rows), "everywhere")
    cleared = [row for pod in pods if (row := fleet.row_of.get(pod.nominated)) is not None]
    if len(cleared) < need:
        return [everywhere]
    rows = everywhere.rows[np.isin(everywhere.rows, cleared)]
    return [Place(rows, "cleared"), everywhere]
