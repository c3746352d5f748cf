"""Why replicas do not serve, in the words of whoever knows: the scheduler, the kubelet, the engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.serving.observed import Member, Replica


def trouble_of(replicas: Sequence[Replica]) -> str:
    """Of the first replica in trouble, as `POD: why`; empty while all serve or just start. What leaves anyway says
    nothing."""
    for replica in sorted(replicas, key=lambda r: r.name):
        if replica.is_leaving:
            continue
        for member in replica.members:
            said = "" if member.deleting else why_not(member)
            if said:
                return f"{member.name}: {said}"
    return ""


def why_not(member: Member) -> str:
    """Why one pod does not serve; empty where it does, or nothing is wrong yet."""
    if member.ready:
        return ""
    if member.unschedulable and not member.node:
        return member.unschedulable
    if member.waiting:
        said = _end(member) if member.exit_code is not None else member.message
        return f"{member.waiting}: {said}".rstrip(": ")
    if member.failed or (member.terminated and member.started_s is None):
        said = _end(member) if member.exit_code is not None else member.message
        return f"{member.terminated}: {said}".rstrip(": ")
    return ""


def _end(member: Member) -> str:
    return f"exit code {member.exit_code}" + (f" ({member.message})" if member.message else "")
