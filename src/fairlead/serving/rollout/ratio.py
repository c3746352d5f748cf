"""Sets: how the roles of one generation keep together while it grows and the one before it shrinks. Pure arithmetic.

Prefill and decode engines of different generations never work with each other, so a generation is worth as much as
its scarcest role. A rollout therefore goes by sets. There are as many sets as the smallest role has replicas, and the
first `i` of `n` sets hold `ceil(i * desired / n)` replicas of each role: with prefill 2 and decode 6, a set is one
and three. What the new generation has in complete sets, the old one may lose, by the same formula; what one gains and
the other loses add up to the desired number at each step, whatever the rounding.

With one role a set is a replica, and all of this is the arithmetic of Deployments. The idea of stepping all roles
together is LeaderWorkerSet's (`DisaggregatedSet`, KEP-766); it interpolates between counts that it has written down,
whereas here the step follows from what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.api.model_service import RoleName
from fairlead.serving.rollout.intent import RoleIntent


def set_count(desired: Iterable[int]) -> int:
    """How many sets the roles make; roles without replicas are left out."""
    return min((number for number in desired if number > 0), default=0)


def share(desired: int, sets: int, some: int) -> int:
    """Replicas of a role in the first `some` of its sets; more sets than there are count as well (for surge)."""
    if sets <= 0 or some <= 0:
        return 0
    return -(-some * desired // sets)


@dataclass(frozen=True, slots=True)
class Sets:
    """The sets of a service and how many of them may be there twice (`surge`) or not at all (`unavailable`)."""

    roles: Mapping[RoleName, RoleIntent]
    total: int
    surge: int
    unavailable: int

    @classmethod
    def of(cls, roles: Sequence[RoleIntent]) -> Sets:
        """Budgets that are too small for a whole set are none; if both are, one set is made beyond the desired, or the
        rollout could never move."""
        present = [r for r in roles if r.desired > 0]
        total = set_count(r.desired for r in present)
        surge = min((r.surge * total // r.desired for r in present), default=0)
        unavailable = min((min(r.unavailable, r.desired) * total // r.desired for r in present), default=0)
        if surge == 0 and unavailable == 0:
            surge = 1
        return cls({r.role: r for r in roles}, total, surge, unavailable)

    def share(self, role: RoleName, some: int) -> int:
        """Replicas of a role in `some` sets."""
        return share(self.roles[role].desired, self.total, some)

    def complete(self, counts: Mapping[RoleName, int]) -> int:
        """How many sets these counts fill in all roles."""
        some = 0
        while some < self.total and all(
            counts.get(role, 0) >= self.share(role, some + 1) for role, r in self.roles.items() if r.desired > 0
        ):
            some += 1
        return some

    def at_most(self, room: Mapping[RoleName, int]) -> int:
        """The most sets that fit where there is room for so many replicas of each role."""
        return self.complete(room)

    def old(self, role: RoleName, new: int) -> int:
        """How many of the generations before have to stay while `new` complete sets of the new one serve."""
        desired = self.roles[role].desired
        return max(0, desired - self.share(role, min(self.total, new + self.unavailable)))

    def limit(self, role: RoleName) -> int:
        """How many replicas of a role there may be at most."""
        intent = self.roles[role]
        return intent.desired + max(intent.surge, self.share(role, self.surge))

    def floor(self, role: RoleName) -> int:
        """How many replicas of a role have to serve, as far as it is in our hands."""
        return self.roles[role].desired - self.share(role, self.unavailable)
