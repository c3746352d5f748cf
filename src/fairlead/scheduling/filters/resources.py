"""What is free on a node against what a pod takes."""

from __future__ import annotations

from typing import Final

from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import Shape

_FIRST: Final = ("cpu", "memory", "ephemeral-storage")


def refuse_resources(shape: Shape, fleet: Fleet, row: int) -> str | None:
    """Of several resources that lack, the first as kube-scheduler lists them. Who asks for none of a resource fits
    where others have taken too much of it."""
    if fleet.free(row, "pods") < shape.requests.get("pods", 0):
        return "Too many pods"
    for name in _in_order(shape):
        if shape.requests[name] > max(0, fleet.free(row, name)):
            return f"Insufficient {name}"
    return None


def _in_order(shape: Shape) -> list[str]:
    first = [name for name in _FIRST if name in shape.requests]
    return first + sorted(shape.requests.keys() - {"pods", *_FIRST})
