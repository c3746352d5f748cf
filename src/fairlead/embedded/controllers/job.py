"""Job: pods to create and delete, and the status. Pure.

Protocol: batch/v1 as the Job controller implements it: pods carry the finalizer `batch.kubernetes.io/job-tracking`,
which is removed only after the pod's uid is in `status.uncountedTerminatedPods`; a uid leaves that list for the totals
only after the finalizer is gone. So no end is counted twice or missed, wherever the controller is killed. Successes of
an Indexed job need no such list: `completedIndexes` is a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.clock import format_time, parse_time
from fairlead.embedded.controllers.job_pods import FINALIZER, pod_of_index, pod_of_job
from fairlead.embedded.controllers.job_policy import (
    all_index_failures,
    backoff_s,
    completion_index,
    failed_indexes_verdict,
    finished_s,
    format_indexes,
    is_failed,
    is_index_failed,
    job_backoff_s,
    judge_failure,
    met_success_rule,
    only_failed_are_replaced,
    parse_indexes,
    restarts_exceed,
)
from fairlead.embedded.controllers.pods import (
    Object,
    deletion_order,
    is_deleting,
    is_ready,
    phase,
    set_condition,
)

CONTROLLER = "kubernetes.io/job-controller"
BURST_PODS = 500
UNCOUNTED_LIMIT = 500
"""Uids in `uncountedTerminatedPods` at most, so that a status stays small."""


@dataclass(slots=True)
class JobStep:
    """What to do, in this order: write the status; release; create; discard; delete."""

    status: Object = field(default_factory=dict)
    release: list[str] = field(default_factory=list)
    """Pods whose end the status records: their tracking finalizer may go."""
    create: list[Object] = field(default_factory=list)
    discard: list[str] = field(default_factory=list)
    """Surplus pods: the finalizer goes first, so that their end is not counted, then the pod."""
    delete: list[str] = field(default_factory=list)
    """Pods that run although the job has ended."""
    events: list[tuple[str, str, str]] = field(default_factory=list)
    """Type, reason and message of what the new status says."""
    recheck_in_s: float | None = None
    delete_job: bool = False
    """The job's ttlSecondsAfterFinished has passed."""


@dataclass(slots=True)
class _Round:
    """What one step knows. Totals include what is recorded but not yet counted."""

    job: Object
    pods: Sequence[Object]
    active: list[Object]
    now_s: float
    succeeded: int = 0
    failed: int = 0
    counted_succeeded: int = 0
    counted_failed: int = 0
    uncounted: dict[str, list[str]] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    failed_indexes: set[int] | None = None
    delayed: dict[int, Object] = field(default_factory=dict)
    """Index -> its last failed pod, kept until its successor carries the count of failures on."""

    @property
    def completions(self) -> int | None:
        given = self.job["spec"].get("completions")
        return None if given is None else int(given)

    @property
    def indexed(self) -> bool:
        return bool(self.job["spec"].get("completionMode") == "Indexed")

    @property
    def suspended(self) -> bool:
        return bool(self.job["spec"].get("suspend"))

    @property
    def terminating(self) -> int:
        return sum(is_deleting(p) and phase(p) not in ("Succeeded", "Failed") for p in self.pods)

    def index_of(self, pod: Object) -> int | None:
        """The pod's index, None if it is not one of the job's."""
        index = completion_index(pod)
        return index if index is not None and index < (self.completions or 0) else None


def compute_job(job: Object, pods: Sequence[Object], now_s: float) -> JobStep:
    """One step. `pods` are those the job controls, ended ones included."""
    step = JobStep()
    old = job.get("status") or {}
    if finished_condition(old) is not None:
        step.status = dict(old)
        step.release = [p["metadata"]["name"] for p in pods if is_tracked(p)]
        _expire(job, old, now_s, step)
        return step
    active = [p for p in pods if phase(p) not in ("Succeeded", "Failed") and not is_deleting(p)]
    now = _Round(job, pods, active, now_s)
    _take_stock(now)
    status: Object = {k: v for k, v in old.items() if k in ("conditions", "startTime")}
    if "startTime" not in status and not now.suspended:
        status["startTime"] = format_time(now_s)
    verdict = _verdict(now, status, step)
    _record_ends(now, verdict, step)
    if verdict is None:
        _balance(now, step)
        alive = len(active) - len(step.discard) + len(step.create)
        if now.succeeded >= (1 if now.completions is None else now.completions) and not alive:
            verdict = _made("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
        else:
            _suspend(now, status, step)
    else:
        step.delete = [p["metadata"]["name"] for p in active]
    if verdict is not None:
        _finish(now, status, verdict, step)
    _fill_counts(now, status, step)
    step.status = status
    return step


def finished_condition(status: Object) -> Object | None:
    """The Complete or Failed condition that is true, or None while the job runs."""
    return next((c for c in _true(status) if c["type"] in ("Complete", "Failed")), None)


def is_tracked(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def is_ours(job: Object) -> bool:
    """Whether the job leaves its pods to this controller, and not to another one (`spec.managedBy`)."""
    return job["spec"].get("managedBy") in (None, CONTROLLER)


def _true(status: Object) -> list[Object]:
    return [c for c in status.get("conditions") or () if c["status"] == "True"]


def _made(kind: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def _take_stock(now: _Round) -> None:
    """Totals from the stored status and from pods that still carry the finalizer."""
    old = now.job.get("status") or {}
    tracked = {p["metadata"]["uid"]: p for p in now.pods if is_tracked(p)}
    recorded = {k: list(v) for k, v in (old.get("uncountedTerminatedPods") or {}).items() if v}
    # A recorded pod whose finalizer has gone is counted for good; it can never be seen as fresh again.
    now.uncounted = {k: [uid for uid in uids if uid in tracked] for k, uids in recorded.items()}
    gone = {k: len(recorded[k]) - len(now.uncounted[k]) for k in recorded}
    now.counted_succeeded = int(old.get("succeeded", 0)) + gone.get("succeeded", 0)
    now.counted_failed = int(old.get("failed", 0)) + gone.get("failed", 0)
    known = {uid for uids in recorded.values() for uid in uids}
    fresh = [p for uid, p in tracked.items() if uid not in known and (not now.indexed or now.index_of(p) is not None)]
    failures = [p for p in fresh if is_failed(now.job, p)]
    now.failed = now.counted_failed + len(now.uncounted.get("failed", ()))
    now.failed += sum(judge_failure(now.job, p).is_counted for p in failures)
    successes = [p for p in fresh if phase(p) == "Succeeded"]
    if not now.indexed:
        now.succeeded = now.counted_succeeded + len(now.uncounted.get("succeeded", ())) + len(successes)
        return
    stored = (i for i in parse_indexes(old.get("completedIndexes", "")) if i < (now.completions or 0))
    now.done = {*stored, *(i for p in successes if (i := now.index_of(p)) is not None)}
    now.succeeded = now.counted_succeeded = len(now.done)
    if now.job["spec"].get("backoffLimitPerIndex") is not None:
        _take_stock_of_indexes(now, failures)


def _take_stock_of_indexes(now: _Round, failures: Sequence[Object]) -> None:
    stored = parse_indexes((now.job.get("status") or {}).get("failedIndexes") or "")
    now.failed_indexes = stored | {
        i for p in failures if is_index_failed(now.job, p) and (i := now.index_of(p)) is not None
    }
    now.failed_indexes -= now.done
    running = {now.index_of(p) for p in now.active}
    for pod in failures:
        index = now.index_of(pod)
        if index is None or index in running or index in now.done or index in now.failed_indexes:
            continue
        last = now.delayed.get(index)
        if last is None or all_index_failures(pod) >= all_index_failures(last):
            now.delayed[index] = pod


def _verdict(now: _Round, status: Object, step: JobStep) -> Object | None:
    """The interim condition (SuccessCriteriaMet or FailureTarget) that ends the job, or None while it goes on."""
    for c in _true(status):
        if c["type"] in ("SuccessCriteriaMet", "FailureTarget"):
            return c
    failure = _failure(now, status, step)
    if failure is not None:
        return _made("FailureTarget", *failure)
    rule = met_success_rule(now.job, now.done) if now.indexed else None
    if rule is not None:
        return _made("SuccessCriteriaMet", "SuccessPolicy", f"Matched rules at index {rule}")
    return None


def _failure(now: _Round, status: Object, step: JobStep) -> tuple[str, str] | None:
    spec = now.job["spec"]
    failures = (judge_failure(now.job, p) for p in now.pods if is_failed(now.job, p))
    fatal = next((v.message for v in failures if v.message), None)
    if fatal is not None:
        return "PodFailurePolicy", fatal
    if now.failed > int(spec.get("backoffLimit", 6)) or restarts_exceed(now.job, now.pods):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    limit = spec.get("activeDeadlineSeconds")
    if limit is not None and not now.suspended:
        left_s = parse_time(status["startTime"]) + float(limit) - now.now_s
        if left_s <= 0:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        step.recheck_in_s = left_s
    if now.failed_indexes is not None:
        return failed_indexes_verdict(now.job, now.failed_indexes, now.done)
    return None


def _record_ends(now: _Round, verdict: Object | None, step: JobStep) -> None:
    """Put the uids of ended pods into the status' list; name the pods whose finalizer may then go."""
    known = {uid for uids in now.uncounted.values() for uid in uids}
    delayed = {p["metadata"]["uid"] for p in now.delayed.values()} if verdict is None else set()
    has_failed = verdict is not None and verdict["type"] == "FailureTarget"
    for pod in now.pods:
        uid = pod["metadata"]["uid"]
        failed = is_failed(now.job, pod)
        if not is_tracked(pod) or uid in delayed:
            continue
        if verdict is None and not failed and phase(pod) != "Succeeded":
            continue
        if sum(map(len, now.uncounted.values())) >= UNCOUNTED_LIMIT:
            return
        step.release.append(pod["metadata"]["name"])
        if uid in known or (now.indexed and now.index_of(pod) is None):
            continue
        if phase(pod) == "Succeeded":
            if not now.indexed:
                now.uncounted.setdefault("succeeded", []).append(uid)
        elif (failed or has_failed) and judge_failure(now.job, pod).is_counted:
            # Once a job has failed, whatever still runs has failed with it.
            now.uncounted.setdefault("failed", []).append(uid)


def _finish(now: _Round, status: Object, verdict: Object, step: JobStep) -> None:
    stamp = format_time(now.now_s)
    conditions = list(status.get("conditions") or ())
    if not any(c["type"] == verdict["type"] and c["status"] == "True" for c in conditions):
        conditions = set_condition(conditions, {"lastProbeTime": stamp} | verdict, stamp)
    status["conditions"] = conditions
    if any(now.uncounted.values()) or now.terminating or step.delete:
        return
    kind = "Complete" if verdict["type"] == "SuccessCriteriaMet" else "Failed"
    made = {"lastProbeTime": stamp} | _made(kind, verdict.get("reason", ""), verdict.get("message", ""))
    status["conditions"] = set_condition(conditions, made, stamp)
    if kind == "Failed":
        step.events.append(("Warning", verdict["reason"], verdict["message"]))
        return
    status["completionTime"] = stamp
    if now.completions is not None and now.succeeded > now.completions:
        told = "Too many succeeded pods running after completion count reached"
        step.events.append(("Warning", "TooManySucceededPods", told))
    step.events.append(("Normal", "Completed", "Job completed"))


def _suspend(now: _Round, status: Object, step: JobStep) -> None:
    conditions = list(status.get("conditions") or ())
    old = next((c for c in conditions if c["type"] == "Suspended"), None)
    if now.suspended == (old is not None and old["status"] == "True"):
        return
    stamp = format_time(now.now_s)
    made = _made("Suspended", "JobSuspended", "Job suspended")
    if now.suspended:
        status.pop("startTime", None)
    else:
        made |= {"status": "False", "reason": "JobResumed", "message": "Job resumed"}
        status["startTime"] = stamp
    status["conditions"] = set_condition(conditions, {"lastProbeTime": stamp} | made, stamp)
    step.events.append(("Normal", "Suspended" if now.suspended else "Resumed", made["message"]))


def _fill_counts(now: _Round, status: Object, step: JobStep) -> None:
    leaving = {*step.discard, *step.delete}
    counts = {
        "active": len(now.active) - len(leaving) + len(step.create),
        "succeeded": now.counted_succeeded,
        "failed": now.counted_failed,
    }
    status |= {k: v for k, v in counts.items() if v}
    status["ready"] = sum(is_ready(p) for p in now.active if p["metadata"]["name"] not in leaving)
    status["terminating"] = now.terminating + len(leaving)
    if now.done:
        status["completedIndexes"] = format_indexes(now.done)
    if now.failed_indexes is not None:
        status["failedIndexes"] = format_indexes(now.failed_indexes)
    status["uncountedTerminatedPods"] = {k: v for k, v in now.uncounted.items() if v}


def _balance(now: _Round, step: JobStep) -> None:
    spec, active = now.job["spec"], now.active
    if is_deleting(now.job):
        return
    parallelism = int(spec.get("parallelism", 1))
    if now.suspended:
        wanted = 0
    elif now.completions is None:
        wanted = len(active) if now.succeeded else parallelism
    else:
        wanted = min(parallelism, max(0, now.completions - now.succeeded))
    step.discard = [p["metadata"]["name"] for p in _surplus(now, max(0, len(active) - wanted))[:BURST_PODS]]
    if step.discard or now.suspended:
        return
    missing = wanted - len(active) - (now.terminating if only_failed_are_replaced(now.job) else 0)
    if missing <= 0:
        return
    wait_s = 0.0 if now.failed_indexes is not None else job_backoff_s(now.job, now.pods, now.now_s)
    if wait_s <= 0 and now.indexed:
        indexes, wait_s = _free_indexes(now, min(missing, BURST_PODS))
        step.create = [pod_of_index(now.job, i, now.delayed.get(i)) for i in indexes]
    elif wait_s <= 0:
        step.create = [pod_of_job(now.job) for _ in range(min(missing, BURST_PODS))]
    if wait_s > 0:
        step.recheck_in_s = min(wait_s, step.recheck_in_s or wait_s)


def _surplus(now: _Round, count: int) -> list[Object]:
    """Pods that are too many: at least `count`, and all that repeat an index or have none."""
    ordered = deletion_order(now.active, now.now_s)
    if not now.indexed:
        return ordered[:count]
    by_index: dict[int, list[Object]] = {}
    wrong = []
    for pod in ordered:
        index = now.index_of(pod)
        if index is None:
            wrong.append(pod)
        else:
            by_index.setdefault(index, []).append(pod)
    wrong += [p for same in by_index.values() for p in same[:-1]]
    names = {p["metadata"]["name"] for p in wrong}
    return wrong + [p for p in ordered if p["metadata"]["name"] not in names][: max(0, count - len(wrong))]


def _free_indexes(now: _Round, count: int) -> tuple[list[int], float]:
    """Indexes to start now, and the seconds until the next one where all of them have to wait."""
    failed = now.failed_indexes or set()
    taken = now.done | failed | {i for p in now.active if (i := now.index_of(p)) is not None}
    free = [i for i in range(now.completions or 0) if i not in taken][:count]
    waits = {
        i: backoff_s(all_index_failures(p) + 1, finished_s(p), now.now_s) if (p := now.delayed.get(i)) else 0.0
        for i in free
    }
    ready = [i for i in free if waits[i] <= 0]
    return ready, 0.0 if ready or not waits else min(waits.values())


def _expire(job: Object, status: Object, now_s: float, step: JobStep) -> None:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    ended = finished_condition(status)
    if ttl is None or is_deleting(job) or ended is None:
        return
    left_s = parse_time(ended["lastTransitionTime"]) + float(ttl) - now_s
    step.delete_job = left_s <= 0
    step.recheck_in_s = left_s if left_s > 0 else None
