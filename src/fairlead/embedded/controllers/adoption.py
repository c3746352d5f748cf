"""Which objects belong to an owner by its selector: to adopt, to keep, to release. Pure.

Protocol: an object without a controller whose labels match is adopted; one of ours whose labels stopped matching loses
our reference and lives on by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.controllers.pods import Object, controller_of, is_deleting


@dataclass(slots=True)
class Claims:
    """`own` stay ours, `adopt` are to get our reference, `release` to lose it."""

    own: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def compute_claims(owner: Object, objects: Iterable[Object], matches: Callable[[Object], bool]) -> Claims:
    """Sort objects by what they are to `owner`. An owner that is going away adopts and releases nothing more."""
    claims = Claims()
    leaving = is_deleting(owner)
    for obj in objects:
        controller = controller_of(obj)
        if controller is not None:
            if controller["uid"] != owner["metadata"]["uid"]:
                continue
            if matches(obj):
                claims.own.append(obj)
            elif not leaving:
                claims.release.append(obj)
        elif not leaving and not is_deleting(obj) and matches(obj):
            claims.adopt.append(obj)
    return claims


def by_orphan_namespace(obj: Any) -> tuple[str, ...]:
    """Index function: the namespace of an object without a controller."""
    return () if controller_of(obj) is not None else (obj["metadata"].get("namespace", ""),)
