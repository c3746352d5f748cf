"""Symptoms of what replicas run on: nodes and devices. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead.serving.observed import DeviceTrouble, NodeState, Replica, Snapshot
from fairlead.serving.recovery import causes
from fairlead.serving.recovery.causes import Symptom
from fairlead.serving.recovery.policy import RecoveryPolicy

ILL_FOR_S: Final = 30.0
"""A driver that prepares devices may report them not ready first."""


def place_symptoms(snapshot: Snapshot, policy: RecoveryPolicy) -> Iterator[Symptom]:
    """Of all replicas."""
    nodes = {node.name: node for node in snapshot.nodes}
    troubles: dict[str, list[DeviceTrouble]] = {}
    for trouble in snapshot.devices:
        troubles.setdefault(trouble.replica, []).append(trouble)
    for replica in snapshot.replicas:
        for member in replica.members:
            node = nodes.get(member.node)
            if node is not None and not member.failed:
                symptom = _of_node(replica, member.name, node, snapshot.now_s, policy)
                if symptom is not None:
                    yield symptom
        for trouble in troubles.get(replica.name, ()):
            if ill_from_s(trouble) <= snapshot.now_s:
                yield _of_device(replica, trouble)


def ill_from_s(trouble: DeviceTrouble) -> float:
    """From which wall time on it counts: a taint at once, a report of ill health once it has lasted."""
    return 0.0 if trouble.effect or trouble.since_s is None else trouble.since_s + ILL_FOR_S


def _of_node(replica: Replica, member: str, node: NodeState, now_s: float, policy: RecoveryPolicy) -> Symptom | None:
    said = f" ({node.reason})" if node.reason else ""
    if node.gone:
        return Symptom(
            replica.name, causes.NODE_GONE, f"{member}: node {node.name} is no more{said}", member, node.name
        )
    if node.silent_s > 0:
        if node.silent_s < policy.node_lost_s:
            return None
        message = f"{member}: node {node.name} has been silent for {node.silent_s:.0f} s{said}"
        return Symptom(replica.name, causes.NODE_LOST, message, member, node.name, now_s - node.silent_s)
    if node.cordoned:
        message = f"{member}: node {node.name} is being drained{said}"
        return Symptom(replica.name, causes.NODE_DRAINING, message, member, node.name)
    if not node.ready and node.unready_s >= policy.node_lost_s:
        message = f"{member}: node {node.name} has not been ready for {node.unready_s:.0f} s{said}"
        return Symptom(replica.name, causes.NODE_NOT_READY, message, member, node.name, now_s - node.unready_s)
    return None


def _of_device(replica: Replica, trouble: DeviceTrouble) -> Symptom:
    cause = {"NoExecute": causes.DEVICE_FAILED, "NoSchedule": causes.DEVICE_DEGRADED}.get(
        trouble.effect, causes.DEVICE_UNHEALTHY
    )
    said = f" ({trouble.effect})" if trouble.effect else ""
    message = f"device {trouble.device}: {trouble.reason}{said}"
    return Symptom(replica.name, cause, message, since_s=trouble.since_s)
