"""What a namespace that is being deleted says of its content. Pure.

Protocol: the conditions `NamespaceDeletion*`, `NamespaceContentRemaining` and `NamespaceFinalizersRemaining`, always
all five, False while there is nothing wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.controllers.pods import Object, set_condition
from fairlead.kube.resources import Resource

_FINE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentRemoved", "All content successfully removed"),
}
"""Condition type, in the order of the status -> reason and message while it is False."""


@dataclass(slots=True)
class Content:
    """What is left after one round of deletion."""

    remaining: Counter[str] = field(default_factory=Counter)
    """`plural.group` -> objects."""
    finalizers: Counter[str] = field(default_factory=Counter)
    """Finalizer -> objects that it holds."""
    errors: list[str] = field(default_factory=list)
    discovery_error: str = ""

    def count(self, resource: Resource[Any], objects: Iterable[Object]) -> None:
        for obj in objects:
            self.remaining[f"{resource.plural}.{resource.group}"] += 1
            self.finalizers.update(obj["metadata"].get("finalizers") or ())


def compute_conditions(old: Sequence[Object], content: Content, now: str) -> list[Object]:
    """The namespace's conditions after a round; `now` is the time of those that change."""
    wrong: dict[str, tuple[str, str]] = {}
    if content.discovery_error:
        wrong["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", content.discovery_error)
    if content.errors:
        told = (
            f"Failed to delete all resource types, {len(content.errors)} remaining: {', '.join(sorted(content.errors))}"
        )
        wrong["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", told)
    if content.remaining:
        told = ", ".join(sorted(f"{name} has {n} resource instances" for name, n in content.remaining.items()))
        wrong["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {told}")
    if content.finalizers:
        told = ", ".join(sorted(f"{name} in {n} resource instances" for name, n in content.finalizers.items()))
        wrong["NamespaceFinalizersRemaining"] = (
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {told}",
        )
    conditions = list(old)
    for kind, fine in _FINE.items():
        reason, message = wrong.get(kind, fine)
        made = {"type": kind, "status": "True" if kind in wrong else "False", "reason": reason, "message": message}
        conditions = set_condition(conditions, made, now)
    return conditions
