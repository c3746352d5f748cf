"""What people see of a queue: what it holds, wants and may count on, as its status says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.scheduling.queues.amounts import quantity_texts
from fairlead.scheduling.queues.order import Backlog
from fairlead.scheduling.queues.shares import Shares
from fairlead.scheduling.queues.tree import ROOT, Problem, QueueTree
from fairlead.scheduling.queues.usage import Holdings
from fairlead.scheduling.snapshot import Amounts


@dataclass(frozen=True, slots=True)
class QueueReport:
    """A queue, with those below it."""

    queue: str
    allocated: Amounts
    """What its gangs hold."""
    requested: Amounts
    """What they hold and wait for, never more than its limit."""
    fair_share: Amounts
    pending: int
    """Gangs that wait."""
    usage: Mapping[str, float]
    """Which part of the cluster it used lately; empty where the past does not matter."""
    problem: Problem | None = None
    """Why it cannot be used."""

    def as_status(self) -> dict[str, object]:
        """The fields of `QueueStatus` but conditions: amounts as Kubernetes quantities, in the order of their names."""
        return {
            "allocated": quantity_texts(self.allocated),
            "requested": quantity_texts(self.requested),
            "fairShare": quantity_texts(self.fair_share),
            "pending": self.pending,
            "usage": {name: round(self.usage[name], 6) for name in sorted(self.usage)},
        }


def report(
    tree: QueueTree,
    holdings: Holdings,
    shares: Shares,
    backlog: Backlog,
    usage: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, QueueReport]:
    """A report for every queue, the broken ones too. Amounts of 0 are left out."""
    pending = {name: backlog.pending(name) for name in tree.nodes}
    for name in reversed(list(tree.nodes)):
        if name != ROOT:
            pending[tree.nodes[name].view.parent] += pending[name]
    reports = {
        name: QueueReport(
            name,
            _positive(holdings.of(name)),
            _positive(shares.requested.get(name, {})),
            _positive(shares.of(name)),
            pending[name],
            dict((usage or {}).get(name, {})),
        )
        for name in tree.nodes
        if name != ROOT
    }
    for name, problem in tree.errors.items():
        reports[name] = QueueReport(name, _positive(holdings.of(name)), {}, {}, 0, {}, problem)
    return reports


def _positive(amounts: Amounts) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount > 0}
