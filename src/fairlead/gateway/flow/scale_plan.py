"""What to do about a pool without a replica, by what the cluster says of the object that makes replicas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

SCALED_BY: Final = "fairlead.dev/scaled-by"
"""Annotation of a scale target: who owns its replica count. The gateway touches the count only where this is absent or
names the gateway."""

GATEWAY: Final = "fairlead-gateway"


class Target(NamedTuple):
    """An object with a `/scale` subresource. `kind` may carry its group: `Widget.example.com`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @staticmethod
    def parse(text: str) -> Target:
        """From `Kind/namespace/name`. Raises ValueError."""
        parts = text.split("/")
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"scale target {text!r}: want Kind/namespace/name, as in Deployment/default/llama")
        return Target(*parts)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the cluster says of a target."""

    replicas: int
    """Wanted by its spec."""
    is_deleting: bool = False
    scaled_by: str = ""
    """Value of the annotation; empty = absent."""
    autoscaler: str = ""
    """Kind and name of an autoscaler that has it as its target; empty = there is none."""


class Ask(NamedTuple):
    """Set the replicas to 1."""

    story: str


class Leave(NamedTuple):
    """Touch nothing: a replica comes, or does not, by somebody else's doing."""

    story: str


class Refuse(NamedTuple):
    """No replica can come."""

    story: str


def decide_first_replica(target: Target, seen: Seen) -> Ask | Leave | Refuse:
    """The step that a request for a pool without endpoints gives rise to."""
    if seen.is_deleting:
        return Refuse(f"{target} is being deleted.")
    if seen.replicas > 0:
        return Leave(f"{target} wants {seen.replicas} replica(s), of which none is ready yet.")
    if seen.scaled_by and seen.scaled_by != GATEWAY:
        return Leave(f"{target} has 0 replicas, and {seen.scaled_by} scales it ({SCALED_BY}).")
    if seen.autoscaler and seen.scaled_by != GATEWAY:
        return Leave(f"{target} has 0 replicas, and {seen.autoscaler} scales it.")
    return Ask(f"{target} had 0 replicas; the gateway asked for the first one.")
