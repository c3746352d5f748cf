"""What a service is to be, in the planner's terms: numbers by role, and which revision they are of. Values only.

Percentages, canary steps and the choice of an accelerator are resolved before (`budgets`, `canary`, `recovery`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead.api.model_service import RoleName

GangPolicy = Literal["Gang", "Member", "None"]
"""`recovery.policy`: what the loss of one pod of a replica costs."""


@dataclass(frozen=True, slots=True)
class RoleIntent:
    """One role: how many replicas there are to be, and how far the number may stray while they are exchanged.

    `surge` and `unavailable` are replicas of this role. With several roles both are used in whole sets (see `ratio`).
    """

    role: RoleName
    desired: int
    surge: int = 1
    unavailable: int = 0
    stable: int | None = None
    """Trial of the wanted revision: so many replicas of the stable one stay, and `canary` of the wanted one are made.
    None: no trial, the wanted revision replaces all others."""
    canary: int = 0
    """How many replicas of the wanted revision are in the canary's pool; 0 in a rolling update."""
    alternative: str = ""
    """Entry of `accelerators` that new replicas are made for."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One service. Revisions are hashes over the templates of all roles."""

    service: str
    wanted: str
    roles: tuple[RoleIntent, ...]
    """Those of `target`."""
    stable: str = ""
    """The revision that has served before; empty where none ever has."""
    rejected: str = ""
    """One that was tried and taken back: if it is wanted, the stable one is kept in its place."""
    paused: bool = False
    """The rollout stands still; numbers are kept and broken replicas replaced, each at its own revision."""
    gang: GangPolicy = "Gang"
    stable_roles: frozenset[RoleName] | None = None
    """Roles of the stable revision, where they are others than `roles`."""
    makeable: frozenset[str] | None = None
    """Revisions whose pods can be made; None: all."""
    max_ordinal: int = 99_999
    """Of a replica's name."""

    @property
    def target(self) -> str:
        """The revision that all replicas are to have in the end."""
        return self.stable if self.stable and self.wanted == self.rejected else self.wanted

    @property
    def is_trial(self) -> bool:
        """Whether two revisions are to stay beside each other."""
        return self.stable not in ("", self.target) and any(r.stable is not None for r in self.roles)

    def can_make(self, revision: str) -> bool:
        return bool(revision) and (self.makeable is None or revision in self.makeable)
