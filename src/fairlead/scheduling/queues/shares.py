"""Fair shares: what each queue may count on now, of every resource, given who wants how much.

At each level of the tree, from the top, what the parent has is divided among its children:

1. Every queue gets min(quota, requested). Where that is more than there is, in proportion to it.
2. The rest goes by priority, the highest first, and among equals by over-quota weight, up to what each requests.

A queue requests what its gangs hold and wait for, and never more than its limit. All amounts are whole units: what a
division leaves over goes to the largest remainders, ties by name, so that a device is never shared out in parts.

Past usage lowers the weight, as in KAI's time-aware fairness: among the queues of one level and priority that want
more, a queue of weight w (all weights summing to 1) that used the part u of the cluster counts with
max(0, w + k * (w - u)). k is `usage_strength`; u is `DecayedUsage`'s. Quotas and priorities are not touched by it, and
what is left when those whose weight is positive have all they want is divided by the plain weights: nothing stays
undivided because of the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.scheduling.queues.tree import ROOT, QueueTree
from fairlead.scheduling.snapshot import Amounts

_MILLION = 10**6

Usage = Mapping[str, Mapping[str, float]]
"""Queue -> resource -> the part of the cluster that it used lately, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Fair shares and what they were reckoned from. Queues and resources without any are left out."""

    capacity: Amounts
    requested: Mapping[str, Amounts]
    """Per queue, those below it included, cut at its limit."""
    fair: Mapping[str, Amounts]

    def of(self, queue: str) -> Amounts:
        return self.fair.get(queue, {})


@dataclass(frozen=True, slots=True)
class _Claimant:
    """A child in the division of one resource."""

    name: str
    wants: int
    quota: int
    weight: int
    priority: int
    used: int
    """In millionths of the cluster."""


def fair_shares(
    tree: QueueTree,
    capacity: Amounts,
    requested: Mapping[str, Amounts],
    usage: Usage | None = None,
    usage_strength: float = 1.0,
) -> Shares:
    """The fair share of every queue.

    `requested` is what the gangs of each queue hold and wait for, without those of queues below it. Resources that are
    not in `capacity`, and queues that are not in the tree, do not count. `usage_strength` is k, 0 or more.
    """
    strength = round(max(0.0, usage_strength) * _MILLION) if usage else 0
    wants: dict[str, dict[str, int]] = {name: {} for name in tree.nodes}
    fair: dict[str, dict[str, int]] = {name: {} for name in tree.nodes}
    for resource, amount in capacity.items():
        _sum_up(tree, resource, requested, wants)
        if wants[ROOT].get(resource):
            fair[ROOT][resource] = min(max(amount, 0), wants[ROOT][resource])
            _hand_down(tree, resource, wants, fair, usage or {}, strength)
    return Shares(capacity, wants, fair)


def _sum_up(
    tree: QueueTree, resource: str, requested: Mapping[str, Amounts], wants: Mapping[str, dict[str, int]]
) -> None:
    """What each queue wants of a resource, from the leaves to the root."""
    totals = {name: amounts[resource] for name, amounts in requested.items() if amounts.get(resource, 0) > 0}
    if not totals:
        return
    for name in reversed(list(tree.nodes)):
        total = totals.get(name)
        if total is None:
            continue
        node = tree.nodes[name]
        if name != ROOT:
            limit = node.view.entitlement(resource).limit
            total = total if limit is None else min(limit, total)
            parent = node.view.parent
            totals[parent] = totals.get(parent, 0) + total
        if total:
            wants[name][resource] = total


def _hand_down(
    tree: QueueTree,
    resource: str,
    wants: Mapping[str, Amounts],
    fair: Mapping[str, dict[str, int]],
    usage: Usage,
    strength: int,
) -> None:
    for name, node in tree.nodes.items():
        amount = fair[name].get(resource, 0)
        if not amount or not node.children:
            continue
        claimants = []
        for child in node.children:
            want = wants[child].get(resource, 0)
            if want:
                view = tree.nodes[child].view
                used = round(usage[child].get(resource, 0.0) * _MILLION) if strength and child in usage else 0
                quota = tree.quotas[child].get(resource, 0)
                weight = view.entitlement(resource).weight_units
                claimants.append(_Claimant(child, want, quota, weight, view.priority, used))
        for claimant, part in zip(claimants, _divide(amount, claimants, strength), strict=True):
            if part:
                fair[claimant.name][resource] = part


def _divide(amount: int, claimants: Sequence[_Claimant], strength: int) -> list[int]:
    """What each claimant gets of `amount`. Claimants are in the order of their names."""
    first = [min(claimant.quota, claimant.wants) for claimant in claimants]
    if sum(first) >= amount:
        return pour(amount, first, first)
    parts = first
    left = amount - sum(parts)
    for priority in sorted({claimant.priority for claimant in claimants}, reverse=True):
        open_to = [i for i, c in enumerate(claimants) if c.priority == priority and parts[i] < c.wants and c.weight]
        for weights in (
            _aged_weights([claimants[i] for i in open_to], strength),
            [claimants[i].weight for i in open_to],
        ):
            more = pour(left, weights, [claimants[i].wants - parts[i] for i in open_to])
            for i, extra in zip(open_to, more, strict=True):
                parts[i] += extra
            left -= sum(more)
            if not left:
                return parts
    return parts


def _aged_weights(claimants: Sequence[_Claimant], strength: int) -> list[int]:
    """Weights lowered by past usage: w + k * (w - u), on a common scale of whole numbers."""
    if not strength:
        return [claimant.weight for claimant in claimants]
    total = sum(claimant.weight for claimant in claimants)
    return [max(0, (_MILLION + strength) * _MILLION * c.weight - strength * c.used * total) for c in claimants]


def pour(amount: int, weights: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Divide `amount` in proportion to `weights` and up to `caps`, as water fills vessels of these widths and volumes.

    Whole numbers throughout, 0 or more; a vessel of weight 0 gets nothing. All of `amount` is given out as far as the
    caps of the others allow. Rounded to the largest remainders, ties to the earlier one. A higher weight never gets
    less.
    """
    parts = [0] * len(caps)
    rising = [i for i, weight in enumerate(weights) if weight and caps[i]]
    while rising and amount:
        total = sum(weights[i] for i in rising)
        full = [i for i in rising if caps[i] * total <= amount * weights[i]]
        if not full:
            break
        for i in full:
            parts[i] = caps[i]
        amount -= sum(caps[i] for i in full)
        rising = [i for i in rising if not parts[i]]
    if rising and amount:
        _share_out(amount, weights, rising, parts)
    return parts


def _share_out(amount: int, weights: Sequence[int], among: Iterable[int], parts: list[int]) -> None:
    """Divide by the largest remainders among those whose caps are not reached."""
    members = list(among)
    total = sum(weights[i] for i in members)
    remainders = []
    for i in members:
        parts[i], remainder = divmod(amount * weights[i], total)
        remainders.append((-remainder, i))
    over = amount - sum(parts[i] for i in members)
    for _, i in sorted(remainders)[:over]:
        parts[i] += 1
