"""The replicas of one role by generation: which count, which leave, which are ready. Mutable while one step is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairlead.api.model_service import RoleName
from fairlead.serving.observed import Replica
from fairlead.serving.rollout.intent import Intent


@dataclass(slots=True)
class RoleFleet:
    """Replicas of one role. `counted` are those that stay as far as is known; what leaves does not count."""

    role: RoleName
    counted: list[Replica] = field(default_factory=list)
    leaving: list[Replica] = field(default_factory=list)

    def of(self, *revisions: str) -> list[Replica]:
        return [r for r in self.counted if r.revision in revisions]

    def before(self, target: str) -> list[Replica]:
        """Those of all other generations."""
        return [r for r in self.counted if r.revision != target]

    def remove(self, replica: Replica) -> None:
        """It leaves with this step."""
        self.counted.remove(replica)


def fleets_of(intent: Intent, replicas: Iterable[Replica]) -> dict[RoleName, RoleFleet]:
    """Fleets of the intent's roles and of those that only older generations have."""
    fleets: dict[RoleName, RoleFleet] = {r.role: RoleFleet(r.role) for r in intent.roles}
    for replica in replicas:
        fleet = fleets.setdefault(replica.role, RoleFleet(replica.role))
        (fleet.leaving if replica.is_leaving else fleet.counted).append(replica)
    return fleets


def ready(replicas: Iterable[Replica]) -> int:
    return sum(r.is_ready for r in replicas)


def sound(replicas: Iterable[Replica]) -> list[Replica]:
    """Those that need not be replaced."""
    return [r for r in replicas if not r.broken]
