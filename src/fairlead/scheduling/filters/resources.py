"""What is free on a node against what a pod takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import Shape

_FIRST: Final = ("cpu", "memory", "ephemeral-storage")


def refuse_resources(shape: Shape, fleet: Fleet, row: int) -> str | None:
    """The first resource that lacks, as kube-scheduler lists them."""
    return next(_lacking(shape, fleet, row), None)


def lacking_resources(shape: Shape, fleet: Fleet, row: int) -> tuple[str, ...]:
    """All resources that lack: kube-scheduler names each of them."""
    return tuple(_lacking(shape, fleet, row))


def _lacking(shape: Shape, fleet: Fleet, row: int) -> Iterator[str]:
    """Who asks for none of a resource fits where others have taken too much of it."""
    if fleet.free(row, "pods") < shape.requests.get("pods", 0):
        yield "Too many pods"
    for name in _in_order(shape):
        if shape.requests[name] > max(0, fleet.free(row, name)):
            yield f"Insufficient {name}"


def _in_order(shape: Shape) -> list[str]:
    first = [name for name in _FIRST if name in shape.requests]
    return first + sorted(shape.requests.keys() - {"pods", *_FIRST})
