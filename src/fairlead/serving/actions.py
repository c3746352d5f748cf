"""What serving may do to replicas, as values: every decision returns these, and one place carries them out."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.api.model_service import RoleName
from fairlead.serving.observed import Track


@dataclass(frozen=True, slots=True)
class Create:
    """Make a replica, or the members of it that are missing."""

    role: RoleName
    revision: str
    ordinal: int
    track: Track
    reason: str
    alternative: str = ""
    """Entry of `accelerators`; empty for the first, or where there is none."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Let a replica get nothing new; once idle, or after its time, it is deleted. `limit_s` None: the service's."""

    replica: str
    reason: str
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Undrain:
    """Let a replica that leaves serve again: it has what a new one would take minutes to load."""

    replica: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a replica now: it has nothing to lose, or nothing can be saved."""

    replica: str
    reason: str
    force: bool = False
    """Without waiting for its node, which will not answer any more."""
    grace_s: float | None = None
    """Grace period in place of the pods' own, where nothing is lost by a shorter one."""


@dataclass(frozen=True, slots=True)
class RestartMember:
    """Make one pod of a replica anew, the others stay."""

    replica: str
    member: str
    reason: str


@dataclass(frozen=True, slots=True)
class MoveTrack:
    """Put a running replica into the other pool of its service."""

    replica: str
    track: Track
    reason: str


Action = Create | Drain | Undrain | Delete | RestartMember | MoveTrack


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now, why, and when to look again though nothing changes (seconds from now; None: no need)."""

    actions: tuple[Action, ...] = ()
    reason: str = ""
    again_s: float | None = None
