"""Symptoms of engines that run: what they say of themselves, and what they do not. Pure.

An engine is alive by the tokens that it makes. Its port, its health page and its metrics may all answer while no
request gets on; and a page that does not come is no proof of anything while nobody can tell whether the way to it is
open. So: work in flight without progress is a hang; a port that takes connections and answers no page is one too, if
the engine has answered before; a port that cannot be reached is only said.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.serving.observed import EngineView, Member, Replica, Snapshot
from fairlead.serving.recovery import causes
from fairlead.serving.recovery.causes import Symptom
from fairlead.serving.recovery.policy import RecoveryPolicy


def engine_symptoms(snapshot: Snapshot, policy: RecoveryPolicy) -> Iterator[Symptom]:
    """Of all replicas, those that leave too: what hangs will not finish."""
    if policy.hang_s <= 0:
        return
    for replica in snapshot.replicas:
        leader = next((m for m in replica.alive if m.index == 0), None)
        view = snapshot.engines.get(leader.uid) if leader is not None else None
        if leader is None or view is None or leader.started_s is None or leader.waiting:
            continue
        symptom = _of_engine(replica, leader, view, snapshot.now_s, policy.hang_s)
        if symptom is not None:
            yield symptom


def _of_engine(replica: Replica, leader: Member, view: EngineView, now_s: float, hang_s: float) -> Symptom | None:
    # What an engine said before its latest start is not said of this process.
    since_start_s = leader.started_s or 0.0
    heard = view.seen_s is not None and view.seen_s >= since_start_s
    if view.unreachable_s is not None:
        unreachable_s = now_s - max(view.unreachable_s, since_start_s)
        if unreachable_s < hang_s or not heard:
            return None
        why = f" ({view.problem})" if view.problem else ""
        if view.accepts:
            message = (
                f"{leader.name} takes connections and has not answered for {unreachable_s:.0f} s{why}, over "
                f"recovery.hangSeconds {hang_s:g}"
            )
            return Symptom(replica.name, causes.ENGINE_HUNG, message, leader.name, leader.node, view.unreachable_s)
        message = f"{leader.name} does not answer for {unreachable_s:.0f} s{why}: nobody knows what it has in flight"
        return Symptom(replica.name, causes.ENGINE_UNSEEN, message, leader.name, leader.node, view.unreachable_s)
    if view.stalled_s is None or view.seen_s is None or not heard or not view.in_flight:
        return None
    # Only what was seen counts: between the looks it may have got on.
    stalled_s = view.seen_s - max(view.stalled_s, since_start_s)
    if stalled_s < hang_s:
        return None
    message = (
        f"{leader.name} has {view.in_flight} {'request' if view.in_flight == 1 else 'requests'} in flight and has made "
        f"no token for {stalled_s:.0f} s, over recovery.hangSeconds {hang_s:g}"
    )
    return Symptom(replica.name, causes.ENGINE_HUNG, message, leader.name, leader.node, view.stalled_s)
