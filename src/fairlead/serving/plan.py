"""The next step of a service's replicas: observed pods in, what to create and delete out. Pure.

A replica of the current template is "updated"; others are "old". The step keeps at least `desired` replicas ready
while it replaces old ones (surge of one at a time, nothing unavailable), and never deletes a ready old replica before
an updated one is ready in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_SURGE = 1


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod of the service as observed. `created_s` orders replicas of the same worth: the youngest goes first."""

    name: str
    updated: bool
    ready: bool
    deleting: bool = False
    failed: bool = False
    """The pod has ended (Succeeded or Failed) and will never serve again."""
    created_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now; empty when nothing is to be done."""

    create: int = 0
    delete: tuple[str, ...] = ()
    reason: str = ""


def compute_step(desired: int, replicas: Sequence[Replica]) -> Step:
    """One step towards `desired` updated ready replicas; repeated with fresh observations it terminates."""
    alive = [r for r in replicas if not r.deleting and not r.failed]
    ended = tuple(sorted(r.name for r in replicas if r.failed and not r.deleting))
    updated = [r for r in alive if r.updated]
    old = [r for r in alive if not r.updated]

    missing = desired - len(updated)
    room = desired + (MAX_SURGE if old else 0) - len(alive)
    create = max(0, min(missing, room))

    ready = sum(r.ready for r in alive)
    delete = list(ended)
    delete += [r.name for r in _least_worth(updated)[: max(0, -missing)]]
    # Old replicas that do not serve cost nothing to lose; ready ones only while enough others are ready.
    spare = ready - desired
    surplus = len(alive) - desired
    for replica in _least_worth(old):
        if not replica.ready and surplus > 0:
            delete.append(replica.name)
            surplus -= 1
        elif replica.ready and spare > 0:
            delete.append(replica.name)
            spare -= 1
            surplus -= 1
    return Step(create, tuple(delete), _reason(desired, updated, old, create, delete, ended))


def _least_worth(replicas: Sequence[Replica]) -> list[Replica]:
    return sorted(replicas, key=lambda r: (r.ready, -r.created_s, r.name))


def _reason(
    desired: int,
    updated: Sequence[Replica],
    old: Sequence[Replica],
    create: int,
    delete: list[str],
    ended: tuple[str, ...],
) -> str:
    if not create and not delete:
        return ""
    if ended:
        return f"{len(ended)} replica(s) ended and are replaced"
    if old:
        return f"replacing {len(old)} replica(s) of an older template"
    return f"{len(updated)} of {desired} replicas exist"
