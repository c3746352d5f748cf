"""From what is wrong with replicas to what is done about it, within budgets. Pure.

The gravest first. What is done at once (`Recovery.step`) concerns replicas that do not serve. Those that still do are
marked as broken in `Recovery.snapshot`: the rollout planner makes their replacements first and drains them then. At
most `recovery.budget` replicas of a role are being replaced at any time; what is certain to be gone (its node is, or
the pod has ended) is outside it, as it could not become less. Every symptom ends in a deed or in a reason why not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed

from fairlead.api.model_service import RecoveryRecord, RoleName
from fairlead.engines.engine import STOP_MARGIN_S
from fairlead.serving.actions import Action, Delete, RestartMember, Step
from fairlead.serving.observed import Replica, Snapshot
from fairlead.serving.recovery.causes import ENGINE_HUNG, Symptom
from fairlead.serving.recovery.detect import detect
from fairlead.serving.recovery.ladder import Act, Hold, Surroundings, decide
from fairlead.serving.recovery.memory import OPEN_S, Entry, Memory, record
from fairlead.serving.recovery.policy import RecoveryPolicy
from fairlead.serving.recovery.storms import common_causes
from fairlead.serving.recovery.timing import next_look_s


@dataclass(frozen=True, slots=True)
class Finding:
    """One symptom and what came of it, for conditions, Events and people."""

    symptom: Symptom
    outcome: Act | Hold

    @property
    def text(self) -> str:
        """Two halves of a sentence: what is wrong, what is done or why nothing is."""
        if isinstance(self.outcome, Hold):
            return f"{self.symptom.message}; {self.outcome.reason}"
        return f"{self.symptom.message}; {_DONE[self.outcome.deed]}"


_DONE: Mapping[str, str] = {
    "Restarted": "it is made anew",
    "Replaced": "it is made anew",
    "Moved": "it is made anew on another node",
    "Draining": "its replacement comes first, then it leaves",
}


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to do now, and what to remember."""

    step: Step
    memory: Memory
    records: tuple[RecoveryRecord, ...]
    """New ones, which `memory` has already; to be written into the status."""
    snapshot: Snapshot
    """The one that was given, with `broken` set on replicas that are to be replaced before they leave."""
    findings: tuple[Finding, ...]


def recover(snapshot: Snapshot, policy: RecoveryPolicy, memory: Memory) -> Recovery:
    """One look at all replicas of a service."""
    now_s = snapshot.now_s
    symptoms = detect(snapshot, policy)
    by_name = {replica.name: replica for replica in snapshot.replicas}
    entries = memory.entries(now_s)
    around = Surroundings(snapshot.replicas, entries, common_causes(snapshot.replicas, symptoms), policy, now_s)
    wished = [
        (symptom, by_name[symptom.replica], decide(symptom, by_name[symptom.replica], around)) for symptom in symptoms
    ]
    budgets = _Budgets(snapshot, policy, entries, wished)
    findings: list[Finding] = []
    records: list[RecoveryRecord] = []
    for symptom, replica, outcome in wished:
        if outcome is None:
            continue
        if isinstance(outcome, Act) and not budgets.is_open(symptom, replica, outcome):
            outcome = outcome if budgets.take(symptom, replica) else budgets.refusal(replica)
            if isinstance(outcome, Act) and not replica.is_leaving:
                records.append(_record(now_s, symptom, replica, outcome))
        findings.append(Finding(symptom, outcome))
    return Recovery(
        Step(tuple(_actions(findings)), _reason(findings), _again_s(findings, snapshot, policy)),
        memory.with_records(records, now_s),
        tuple(records),
        changed(snapshot, replicas=_marked(snapshot.replicas, findings)),
        tuple(findings),
    )


_Wished = tuple[Symptom, Replica, Act | Hold | None]


class _Budgets:
    """How many more replicas of each role may be replaced now.

    Those count that wait for their replacement before they leave, and those that were made anew and are on their way:
    as many as the role lacks ready replicas, without those that are ill again themselves.
    """

    def __init__(
        self, snapshot: Snapshot, policy: RecoveryPolicy, entries: Sequence[Entry], wished: Sequence[_Wished]
    ) -> None:
        self._policy = policy
        self._open: dict[RoleName, int] = {}
        self._waiting: set[str] = set()
        latest = {entry.replica: entry for entry in entries if snapshot.now_s - entry.at_s < OPEN_S}
        acts = {replica.name for _, replica, wish in wished if isinstance(wish, Act)}
        here = {replica.name: replica for replica in snapshot.replicas}
        self._marked = {e.replica for e in entries if _is_marked(e, here.get(e.replica))}
        self._undone = {
            (e.replica, e.cause, e.deed)
            for e in latest.values()
            if (replica := here.get(e.replica)) is not None and e.is_of(replica.name, replica.created_s)
        }
        for role in {*policy.desired, *(replica.role for replica in snapshot.replicas)}:
            of_role = [entry for entry in latest.values() if entry.role == role]
            waiting = {e.replica for e in of_role if e.replica in acts and _is_marked(e, here.get(e.replica))}
            mine = [replica for replica in snapshot.replicas if replica.role == role]
            ready = sum(replica.is_ready for replica in mine)
            ill = sum(r.name in acts and not r.is_ready and not r.is_leaving for r in mine)
            lacking = max(0, policy.desired.get(role, 0) - ready - ill)
            self._open[role] = len(waiting) + min(len(of_role) - len(waiting), lacking)
            self._waiting |= waiting

    def is_open(self, symptom: Symptom, replica: Replica, act: Act) -> bool:
        """Whether it was decided before: that the replica leaves once its replacement is there, or to make it anew,
        which was not done, as it is still there."""
        if act.deed == "Draining" or act.member:
            return act.deed == "Draining" and replica.name in self._marked
        return (replica.name, symptom.cause.name, act.deed) in self._undone

    def take(self, symptom: Symptom, replica: Replica) -> bool:
        """Whether this one may be replaced too; if so, it counts."""
        if symptom.cause.certain or replica.is_leaving or replica.name in self._waiting:
            return True
        if self._open[replica.role] >= self._policy.budget_of(replica.role):
            return False
        self._open[replica.role] += 1
        return True

    def refusal(self, replica: Replica) -> Hold:
        most = self._policy.budget_of(replica.role)
        if most == 0:
            return Hold("Budget", "recovery.budget is 0: nothing is replaced")
        return Hold(
            "Budget",
            f"{self._open[replica.role]} of role {replica.role} are being replaced already, and recovery.budget "
            f"{self._policy.budget} allows {most}",
        )


def _is_marked(entry: Entry, replica: Replica | None) -> bool:
    """Whether this replica stays until its replacement is there."""
    if entry.deed != "Draining" or replica is None or replica.is_leaving:
        return False
    return entry.is_of(replica.name, replica.created_s)


def _record(now_s: float, symptom: Symptom, replica: Replica, act: Act) -> RecoveryRecord:
    node = symptom.node or _node_of(replica)
    return record(now_s, replica.name, replica.role, symptom.cause.name, act.deed, symptom.message, node)


def _node_of(replica: Replica) -> str:
    return next((m.node for m in replica.members if m.node), "")


def _actions(findings: Sequence[Finding]) -> list[Action]:
    actions: list[Action] = []
    for finding in findings:
        outcome, symptom = finding.outcome, finding.symptom
        if isinstance(outcome, Hold) or outcome.deed == "Draining":
            continue
        reason = f"{symptom.cause.name}: {symptom.message}"
        if outcome.member:
            actions.append(RestartMember(symptom.replica, outcome.member, reason))
        else:
            # What hangs ends nothing in its grace period, and holds its devices until that is over.
            grace_s = float(STOP_MARGIN_S) if symptom.cause is ENGINE_HUNG else None
            actions.append(Delete(symptom.replica, reason, outcome.force, grace_s))
    return actions


def _marked(replicas: Sequence[Replica], findings: Sequence[Finding]) -> tuple[Replica, ...]:
    broken = {
        finding.symptom.replica: f"{finding.symptom.cause.name}: {finding.symptom.message}"
        for finding in findings
        if isinstance(finding.outcome, Act) and finding.outcome.deed == "Draining"
    }
    return tuple(changed(r, broken=broken[r.name]) if r.name in broken else r for r in replicas)


def _reason(findings: Sequence[Finding]) -> str:
    return "; ".join(finding.text for finding in findings if isinstance(finding.outcome, Act))


def _again_s(findings: Sequence[Finding], snapshot: Snapshot, policy: RecoveryPolicy) -> float | None:
    waits = [f.outcome.again_s for f in findings if isinstance(f.outcome, Hold) and f.outcome.again_s is not None]
    coming_s = next_look_s(snapshot, policy)
    return min([*waits, *([coming_s] if coming_s is not None else [])], default=None)
