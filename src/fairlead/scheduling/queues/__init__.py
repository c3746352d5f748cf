"""Whose turn it is: queues, what is theirs, and what they may take back.

Pure decisions about amounts: which nodes a gang gets is no business of queues.
"""

from fairlead.scheduling.queues.holds import Waiting
from fairlead.scheduling.queues.order import Backlog, OrderPolicy, demand_of
from fairlead.scheduling.queues.read import read_queue, view_of
from fairlead.scheduling.queues.rights import Ground, Right, Rights
from fairlead.scheduling.queues.shares import Shares, fair_shares
from fairlead.scheduling.queues.tree import DEFAULT_QUEUE, ROOT, Entitlement, Membership, Problem, QueueTree, QueueView
from fairlead.scheduling.queues.usage import DecayedUsage, Holdings, Running
from fairlead.scheduling.queues.view import QueueReport, report

__all__ = [
    "DEFAULT_QUEUE",
    "ROOT",
    "Backlog",
    "DecayedUsage",
    "Entitlement",
    "Ground",
    "Holdings",
    "Membership",
    "OrderPolicy",
    "Problem",
    "QueueReport",
    "QueueTree",
    "QueueView",
    "Right",
    "Rights",
    "Running",
    "Shares",
    "Waiting",
    "demand_of",
    "fair_shares",
    "read_queue",
    "report",
    "view_of",
]
