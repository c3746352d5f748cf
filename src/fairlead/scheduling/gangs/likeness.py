"""Which gangs are alike: what stands in the way of one stands in the way of the other."""

from __future__ import annotations

from collections.abc import Hashable

from fairlead.scheduling.gangs.model import Gang, Group


def likeness(gang: Gang) -> Hashable | None:
    """A value that is equal for gangs that can be placed at the same places; None for one that is like no other.

    Gangs with pods on nodes are bound by these, nominated ones by their nodes, and pods that look at their neighbours
    by what comes and goes elsewhere. Claims that are shared within a gang are that gang's own.
    """
    return _likeness(gang.root)


def _likeness(group: Group) -> Hashable | None:
    counts: dict[int, int] = {}
    for pod in group.pods:
        shape = pod.shape
        if pod.nominated or shape.near or shape.far or shape.spread or shape.shared_claims:
            return None
        counts[id(shape)] = counts.get(id(shape), 0) + 1
    if group.bound:
        return None
    parts = []
    for part in group.groups:
        found = _likeness(part)
        if found is None:
            return None
        parts.append(found)
    # With slices the order of the pods matters.
    order: Hashable = (
        tuple(id(pod.shape) for pod in group.pods) if group.topology.slice_size else frozenset(counts.items())
    )
    return order, group.minimum, group.minimum_groups, group.topology, tuple(parts)
