"""Replicas to be ill: builders with defaults for tests of recovery."""

from dataclasses import replace

from fairlead.serving.observed import Member, NodeState, Replica, Snapshot
from fairlead.serving.recovery import Memory, RecoveryPolicy, recover

NOW_S = 1_700_000_000.0


def member(name="a-0", index=0, **fields):
    """One pod that serves since a while."""
    served = {
        "node": f"node-{name}", "ready": True, "created_s": NOW_S - 1000, "scheduled_s": NOW_S - 990,
        "started_s": NOW_S - 980, "ready_s": NOW_S - 900,
    }  # fmt: skip
    return Member(name, f"uid-{name}", index, **{**served, **fields})


def unready(name="a-0", index=0, **fields):
    return member(name, index, **{"ready": False, "ready_s": None, "unready_s": NOW_S - 10, **fields})


def replica(name="a-0", members=None, role="unified", **fields):
    return Replica(name, role, "rev", members or (member(name),), **fields)


def gang(name="a-0", size=2, changed=None, **fields):
    """`changed`: index -> fields of that member; None to leave it out."""
    changed = changed or {}
    members = tuple(
        member(name if i == 0 else f"{name}-{i}", i, **changed.get(i, {}))
        for i in range(size)
        if changed.get(i, {}) is not None
    )
    return replica(name, members, size=size, **fields)


def fleet(count, *ill):
    """`count` replicas, the first of which are these."""
    names = {r.name for r in ill}
    well = [replica(f"w-{i}") for i in range(count)]
    return (*ill, *[w for w in well if w.name not in names][: count - len(ill)])


def policy(**fields):
    return RecoveryPolicy(**{"desired": {"unified": 4}, **fields})


def look(replicas, memory=None, nodes=(), devices=(), engines=None, now_s=NOW_S, **fields):
    """One look at them."""
    snapshot = Snapshot(now_s, tuple(replicas), tuple(nodes), tuple(devices), engines or {})
    return recover(snapshot, policy(**fields), memory or Memory())


def node(name, **fields):
    return NodeState(name, **fields)


def outcome_of(recovery, name="a-0"):
    return next(f.outcome for f in recovery.findings if f.symptom.replica == name)


def with_member(r, **fields):
    return replace(r, members=(replace(r.members[0], **fields), *r.members[1:]))
