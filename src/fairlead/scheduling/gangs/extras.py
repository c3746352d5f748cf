"""Pods beyond the minimum: placed where those that must be are, as far as there is room. They never cost the gang its
place."""

from __future__ import annotations

from typing import Final

from fairlead.scheduling.gangs.attempts import Attempts
from fairlead.scheduling.gangs.moves import Settle, put_down
from fairlead.scheduling.gangs.parts import Batch, Part
from fairlead.scheduling.gangs.trial import Budget, OutOfBudgetError, Place, Trial
from fairlead.scheduling.snapshot import PodView

_SHARE: Final = 0.1
"""What of the budget that is left a search for a further group may use."""


def place_extras(attempts: Attempts, trial: Trial, part: Part, within: Place) -> None:
    """Adds further pods of a part to what the trial has put down: of parts that are placed already, then whole further
    parts, then the part's own. `within` is where the part may go if it is not anywhere yet."""
    if all(pod.uid in trial.outlook.fleet.pods for pod in _pods(part)):
        return
    place = trial.place_of(part.number)
    if place is None:
        _begin(attempts, trial, part, within)
        return
    # What is placed already comes first: its domains are chosen.
    for each in sorted(part.parts, key=lambda each: trial.place_of(each.number) is None):
        place_extras(attempts, trial, each, place)
    for batch in part.batches:
        _fill_up(trial, part, place, batch)


def _begin(attempts: Attempts, trial: Trial, part: Part, within: Place) -> None:
    """Places a part of which nothing is placed, if it can be: what it needs, then more."""
    target = max(part.need, 1)
    if target <= part.size and (
        _settle(attempts, trial, part, within, target, is_thorough=False)
        or _settle(attempts, trial, part, within, target, is_thorough=True)
    ):
        place_extras(attempts, trial, part, within)


def _settle(attempts: Attempts, trial: Trial, part: Part, within: Place, target: int, *, is_thorough: bool) -> bool:
    budget = Budget(int((attempts.budget.limit - attempts.budget.steps) * _SHARE))
    search = attempts.trial(budget=budget, is_thorough=is_thorough)
    for pod, row in trial.put:
        search.note(pod, row)
    try:
        is_found = search.solve(Settle(attempts.rules, part, within, target))
    except OutOfBudgetError:
        is_found = False
    attempts.budget.steps += min(budget.steps, budget.limit)
    if is_found:
        for pod, row in search.put[len(trial.put) :]:
            trial.note(pod, row)
        trial.settled.extend(search.settled)
    return is_found


def _fill_up(trial: Trial, part: Part, place: Place, batch: Batch) -> None:
    fleet = trial.outlook.fleet
    left = [pod for pod in batch.pods if pod.uid not in fleet.pods]
    if not left:
        return
    options = trial.options(batch.shape)
    count = min(len(left), int(trial.survey.rooms(options, len(left))[place.rows].sum()))
    if count and put_down(trial, part, place, left[:count]):
        left = left[count:]
    # What the numbers did not promise, or promised in vain.
    for pod in left:
        if not put_down(trial, part, place, [pod]):
            break


def _pods(part: Part) -> list[PodView]:
    own = [pod for batch in part.batches for pod in batch.pods]
    return own + [pod for each in part.parts for pod in _pods(each)]
