"""Pods for tests of reading gangs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.kube.objects.meta import ObjectMeta, OwnerReference
from fairlead.kube.objects.pods import Pod, PodSchedulingGroup, PodSpec, PodStatus
from fairlead.scheduling.gangs.assemble import assemble, gang_key
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.sources import GangContext, Member
from fairlead.scheduling.snapshot import PodView, Shape

SHAPE = Shape("team", {"pods": 1})
NOTHING_ELSE = GangContext()


def member(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: tuple[str, str, str] | None = None,
    pod_group: str = "",
    node: str = "",
    phase: str = "Pending",
    waits_for: str = "",
    priority: int = 0,
    created_s: float = 0.0,
    is_leaving: bool = False,
) -> Member:
    """A pod of namespace team and its view; `owner` is apiVersion, kind and name of its controller."""
    owners = [OwnerReference(*owner, uid="u", controller=True)] if owner else []
    pod = Pod(
        metadata=ObjectMeta(
            name=name,
            namespace="team",
            labels=labels or {},
            annotations=annotations or {},
            owner_references=owners,
        ),
        spec=PodSpec(node_name=node, scheduling_group=PodSchedulingGroup(pod_group) if pod_group else None),
        status=PodStatus(phase=phase),
    )
    view = PodView(
        "team",
        name,
        f"uid-{name}",
        SHAPE,
        node=node,
        waits_for=waits_for,
        priority=priority,
        created_s=created_s,
        is_leaving=is_leaving,
    )
    return pod, view


def gang_of(members: Sequence[Member], context: GangContext = NOTHING_ELSE) -> Gang:
    """The gang that all of these pods are in; they must agree on it."""
    refs = [gang_key(pod, context) for pod, _ in members]
    first = refs[0]
    assert first is not None
    assert all(ref == first for ref in refs), refs
    gang = assemble(first, members, context)
    assert gang.identity == first.identity
    return gang


def names(pods: Sequence[PodView]) -> list[str]:
    return [pod.name for pod in pods]


def decode(kind: type[Any], obj: Mapping[str, Any]) -> Any:
    return msgspec.convert(obj, kind)
