"""A queue at its limit: room within it, by the leaving of lesser work of the same queue.

Room in the cluster does not help where a limit is in the way. The least important gangs of the queue, the cheapest
first, go until the limit lets the newcomer in; whoever turns out not to be needed stays. As always the plan is tried
out first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fairlead.scheduling.eviction.budgets import BudgetTally
from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.outcome import nominations_of
from fairlead.scheduling.eviction.rights import Denial, Rights, objection
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.queues.rights import Rights as QueueRules
from fairlead.scheduling.queues.usage import Holdings
from fairlead.scheduling.snapshot import Amounts
from fairlead.scheduling.verdict import Cleared, Placed, Victims


def make_room_within_limit(
    outlook: Outlook,
    gang: Gang,
    queue: str,
    demand: Amounts,
    candidates: Sequence[Bystander],
    rules: QueueRules,
    rights: Rights,
    holdings: Holdings,
    budget: BudgetTally,
    now_s: float,
) -> Cleared | None:
    """Whose leaving lets a gang of `queue` in that a limit keeps out, and lets it fit; None where nobody's does."""

    def lets_in(victims: Sequence[Bystander]) -> bool:
        leaving = [running for each in victims if (running := holdings.get(each.gang.key)) is not None]
        return rules.may_start(queue, demand, gang.is_preemptible, leaving).is_allowed

    if not all(pod.may_preempt for pod in gang.pods):
        return None
    lesser = [each for each in candidates if _may_go(gang, queue, each, rights, holdings, now_s)]
    lesser.sort(key=lambda each: (each.gang.priority, each.price.at(now_s), -each.gang.created_s, each.gang.key))
    victims: list[Bystander] = []
    for each in lesser:
        if lets_in(victims):
            break
        if not isinstance(budget.take(each.pods), Denial):
            victims.append(each)
    if not victims or not lets_in(victims):
        return None
    return _proven(outlook, gang, _needed(victims, lets_in), now_s)


def _may_go(gang: Gang, queue: str, other: Bystander, rights: Rights, holdings: Holdings, now_s: float) -> bool:
    running = holdings.get(other.gang.key)
    if running is None or running.queue != queue or not other.pods or objection(other) is not None:
        return False
    return not isinstance(rights.to_evict(gang, other, now_s), Denial)


def _needed(victims: list[Bystander], lets_in: Callable[[Sequence[Bystander]], bool]) -> list[Bystander]:
    """Without those that need not go, the most important ones first."""
    kept = list(victims)
    for each in reversed(victims):
        rest = [other for other in kept if other is not each]
        if rest and lets_in(rest):
            kept = rest
    return kept


def _proven(outlook: Outlook, gang: Gang, victims: Sequence[Bystander], now_s: float) -> Cleared | None:
    with outlook.fleet.trial():
        for each in victims:
            for pod in each.pods:
                outlook.fleet.lift(pod.uid, frees_claims=True)
        placed = place_gang(outlook, gang, Limits(explains=False))
    if not isinstance(placed, Placed):
        return None
    names = ", ".join(each.gang.key for each in victims[:3]) + (" …" if len(victims) > 3 else "")
    told = tuple(
        Victims(
            each.gang, each.pods, True, each.price.at(now_s),
            f"makes room for {gang.key} within the limit of queue {each.queue}, of which it has the lesser claim",
        )
        for each in victims
    )  # fmt: skip
    why = f"{names} give way for {gang.key} within the queue's limit"
    return Cleared(gang, told, nominations_of(placed.assignments), "preemption", (), why, placed.assignments)
