"""Which nodes a replacement had better not go to, and how its pods say so. Pure.

Nodes that are gone, silent, cordoned or tainted keep pods away by themselves. What remains are nodes that look well and
on which engines of this service hung, crashed or could not start. Pods would rather go elsewhere but may go there: a
service whose only fitting node was blamed once must not stay without a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairlead.serving.recovery.causes import CAUSE_OF
from fairlead.serving.recovery.memory import Memory

MAX_AVOIDED: Final = 16
"""Nodes that a pod names at most, the latest blamed first."""
_WEIGHT: Final = 100

Json = dict[str, Any]


def avoid_nodes(memory: Memory, now_s: float) -> tuple[str, ...]:
    """The nodes that were blamed within the last hour, the latest first."""
    blamed = [
        entry.node
        for entry in reversed(memory.entries(now_s))
        if entry.node and entry.deed in ("Moved", "Draining") and _blames(entry.cause)
    ]
    return tuple(dict.fromkeys(blamed))[:MAX_AVOIDED]


def avoiding(affinity: Mapping[str, Any] | None, nodes: Sequence[str]) -> Json:
    """A pod's `affinity` that prefers nodes other than these; everything else in it stays. Empty for nothing to say."""
    if not nodes:
        return dict(affinity or {})
    # A matchFields requirement takes one value.
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in nodes]
    preferred = {"weight": _WEIGHT, "preference": {"matchFields": fields}}
    merged: Json = {**(affinity or {})}
    on_nodes: Json = {**merged.get("nodeAffinity", {})}
    before = on_nodes.get("preferredDuringSchedulingIgnoredDuringExecution", ())
    on_nodes["preferredDuringSchedulingIgnoredDuringExecution"] = [*before, preferred]
    return {**merged, "nodeAffinity": on_nodes}


def _blames(cause: str) -> bool:
    known = CAUSE_OF.get(cause)
    return known is not None and known.blames_node
