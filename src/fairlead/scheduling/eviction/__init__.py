"""Making room for a gang: who leaves or moves for it, by right and at the least cost, proven before anybody is told.

`find_room` decides; `Reservations` holds what was cleared until the gang is placed.
"""

from fairlead.scheduling.eviction.budgets import Budget, Budgets
from fairlead.scheduling.eviction.bystanders import Bystander, serves, stands_without, yields
from fairlead.scheduling.eviction.cost import Price, Rank, price_of
from fairlead.scheduling.eviction.queue_rights import QueueRights
from fairlead.scheduling.eviction.reasons import NoRoom
from fairlead.scheduling.eviction.reservations import Reservation, Reservations, is_stand_in
from fairlead.scheduling.eviction.rights import (
    BackfillRights,
    Cause,
    Denial,
    Ledger,
    NoLedger,
    PriorityRights,
    Right,
    Rights,
)
from fairlead.scheduling.eviction.room import EvictionLimits, find_room

__all__ = [
    "BackfillRights",
    "Budget",
    "Budgets",
    "Bystander",
    "Cause",
    "Denial",
    "EvictionLimits",
    "Ledger",
    "NoLedger",
    "NoRoom",
    "Price",
    "PriorityRights",
    "QueueRights",
    "Rank",
    "Reservation",
    "Reservations",
    "Right",
    "Rights",
    "find_room",
    "is_stand_in",
    "price_of",
    "serves",
    "stands_without",
    "yields",
]
