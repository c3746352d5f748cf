"""Small worlds for the planner: a state is a sorted tuple of (role, revision, condition), turned into replicas to plan
for and advanced by what the planner orders and by what a cluster does by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fairlead.api.model_service import RoleName
from fairlead.serving.actions import Create, Delete, Drain, MoveTrack, RestartMember, Step, Undrain
from fairlead.serving.names import replica_name
from fairlead.serving.observed import Member, Replica, Snapshot
from fairlead.serving.rollout.leave import OWN_REASONS

OLD, NEW, BETWEEN = "aaaaaaaa", "bbbbbbbb", "cccccccc"
NOW_S = 1000.0

Atom = tuple[RoleName, str, str]
State = tuple[Atom, ...]
CONDITIONS = (
    "placeless", "starting", "ready", "broken-ready", "broken-starting", "failed", "draining", "deleting",
)  # fmt: skip


def replica_of(role: RoleName, revision: str, ordinal: int, condition: str) -> Replica:
    """A replica of one pod in a condition."""
    name = replica_name("s", role, revision, ordinal)
    member = Member(name, name, node="n", ready="ready" in condition or condition == "draining", created_s=1.0)
    if condition == "placeless":
        member = replace(member, node="")
    if condition == "failed":
        member = replace(member, failed=True)
    if condition == "deleting":
        member = replace(member, deleting=True)
    found = Replica(name, role, revision, (member,))
    if condition.startswith("broken"):
        found = replace(found, broken="its device is tainted")
    if condition == "draining":
        found = replace(found, draining_s=900.0, drain_reason=OWN_REASONS[0])
    return found


def snapshot_of(state: State) -> tuple[Snapshot, dict[str, Atom]]:
    """The replicas, and which part of the state each is."""
    numbers: dict[tuple[RoleName, str], int] = {}
    replicas: list[Replica] = []
    atoms: dict[str, Atom] = {}
    for atom in state:
        role, revision, condition = atom
        ordinal = numbers.get((role, revision), 0)
        numbers[role, revision] = ordinal + 1
        made = replica_of(role, revision, ordinal, condition)
        replicas.append(made)
        atoms[made.name] = atom
    return Snapshot(NOW_S, replicas), atoms


def carried_out(state: State, atoms: dict[str, Atom], step: Step) -> State:
    """The state once the step's orders are written."""
    there = dict(atoms)
    for action in step.actions:
        match action:
            case Create():
                name = replica_name("s", action.role, action.revision, action.ordinal)
                assert name not in there, f"{name} is in use"
                there[name] = (action.role, action.revision, "starting")
            case Drain():
                there[action.replica] = (*there[action.replica][:2], "draining")
            case Undrain():
                there[action.replica] = (*there[action.replica][:2], "ready")
            case Delete():
                there[action.replica] = (*there[action.replica][:2], "deleting")
            case RestartMember() | MoveTrack():
                pass
    return tuple(sorted(there.values()))


def helpful_events(state: State) -> Iterator[State]:
    """What a cluster that works does next, one thing at a time."""
    onward = {
        "placeless": "starting",
        "failed": "deleting",
        "starting": "ready",
        "draining": "deleting",
        "deleting": "",
    }
    for i, (role, revision, condition) in enumerate(state):
        if i and state[i - 1] == state[i]:
            continue
        after = onward.get(condition)
        if after is None:
            continue
        rest = state[:i] + state[i + 1 :]
        yield tuple(sorted((*rest, (role, revision, after)))) if after else rest


def harmful_events(state: State) -> Iterator[State]:
    """What may go wrong next: a pod ends, a node is gone, a probe fails, a device breaks, somebody deletes a pod."""
    for i, (role, revision, condition) in enumerate(state):
        if condition in ("deleting", "draining"):
            continue
        rest = state[:i] + state[i + 1 :]
        yield rest
        for after in ("failed", "deleting", "starting", f"broken-{'ready' if condition == 'ready' else 'starting'}"):
            yield tuple(sorted((*rest, (role, revision, after))))
