"""What a search has granted so far: a plain value that can be printed, compared and taken back step by step."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from fairlead.kube.quantity import ZERO, Quantity
from fairlead.scheduling.allocator import constraints
from fairlead.scheduling.allocator.capacity import Amounts
from fairlead.scheduling.allocator.pools import Consumption
from fairlead.scheduling.allocator.requests import Alternative, Plan


@dataclass(frozen=True, slots=True)
class Grant:
    """One device given to one request, for as long as the search stays on this way."""

    alternative: Alternative
    position: int
    """The device's place among the node's candidates."""
    is_share: bool
    consumed: Amounts
    """What a share takes of the device's capacity."""
    counters: Consumption
    """What it takes of the pool's counters; nothing where they are taken already."""
    before: tuple[constraints.State, ...]
    """The claim's constraint states before it."""


@dataclass(slots=True)
class SearchState:
    """All that the rest of a search depends on."""

    grants: list[list[Grant]]
    """By claim."""
    constraints: list[list[constraints.State]]
    """By claim, then by constraint."""
    holders: dict[int, int] = field(default_factory=dict)
    """Devices held whole, by position: a bit for each claim that holds one."""
    watchers: dict[int, int] = field(default_factory=dict)
    """The same for admin access that takes nothing."""
    shares: dict[int, int] = field(default_factory=dict)
    """How many shares of a device were granted."""
    capacity: dict[int, dict[str, Quantity]] = field(default_factory=dict)
    """What these shares consume."""
    counters: dict[int, list[int]] = field(default_factory=dict)
    """What is left of each pool's counters, by place of the pool; pools that nobody asked for are absent."""

    @staticmethod
    def empty(plan: Plan) -> SearchState:
        return SearchState(
            [[] for _ in plan.claims],
            [[constraint.initial() for constraint in claim.constraints] for claim in plan.claims],
        )

    def add(self, claim: int, grant: Grant, pool: int, *, holds: bool) -> None:
        """Records a grant; its constraint states are in place already. `holds` says that others cannot have it."""
        self.grants[claim].append(grant)
        position = grant.position
        if grant.is_share:
            self._take_share(grant)
        else:
            book = self.holders if holds else self.watchers
            book[position] = book.get(position, 0) | 1 << claim
        for slot, taken in grant.counters:
            self.counters[pool][slot] -= taken

    def take_back(self, claim: int, pool: int, *, holds: bool) -> Grant:
        """Undoes the claim's last grant, except for the constraints."""
        grant = self.grants[claim].pop()
        position = grant.position
        if grant.is_share:
            self._return_share(grant)
        else:
            book = self.holders if holds else self.watchers
            rest = book[position] & ~(1 << claim)
            if rest:
                book[position] = rest
            else:
                del book[position]
        for slot, amount in grant.counters:
            self.counters[pool][slot] += amount
        return grant

    def fingerprint(self, claim: int) -> Hashable:
        """A value that is equal for two states from which the search of this claim and later ones goes on alike."""
        return (
            frozenset(self.holders.items()),
            frozenset(self.watchers.items()),
            frozenset((position, tuple(amounts.items())) for position, amounts in self.capacity.items()),
            frozenset(self.shares.items()),
            tuple(self.constraints[claim]),
            len(self.grants[claim]),
        )

    def _take_share(self, grant: Grant) -> None:
        position = grant.position
        self.shares[position] = self.shares.get(position, 0) + 1
        taken = self.capacity.setdefault(position, {})
        for name, amount in grant.consumed.items():
            taken[name] = taken.get(name, ZERO) + amount

    def _return_share(self, grant: Grant) -> None:
        position = grant.position
        self.shares[position] -= 1
        if not self.shares[position]:
            del self.shares[position], self.capacity[position]
            return
        taken = self.capacity[position]
        for name, amount in grant.consumed.items():
            taken[name] = taken[name] - amount
