"""Job: pods to create and delete, and the status. Pure.

Protocol: batch/v1 as the Job controller implements it: pods carry the finalizer `batch.kubernetes.io/job-tracking`,
which is removed only after the pod's uid is in `status.uncountedTerminatedPods`; a uid leaves that list for the totals
only after the finalizer is gone. So no end is counted twice or missed, wherever the controller is killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fairlead.clock import format_time, parse_time
from fairlead.embedded.controllers.pods import (
    Object,
    created_s,
    is_deleting,
    is_ready,
    owner_reference,
    phase,
    pod_from_template,
    set_condition,
)

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
BACKOFF_BASE_S = 10.0
BACKOFF_LIMIT_S = 600.0


@dataclass(slots=True)
class JobStep:
    create: list[Object] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    """Pods whose end the stored status has recorded: their tracking finalizer may go."""
    status: Object = field(default_factory=dict)
    recheck_in_s: float | None = None
    delete_job: bool = False
    """The job's ttlSecondsAfterFinished has passed."""


def compute_job(job: Object, pods: Sequence[Object], now_s: float) -> JobStep:
    """One step. `pods` are those the job controls, ended ones included."""
    step = JobStep()
    spec, old = job["spec"], job.get("status") or {}
    ended = finished_condition(old)
    active = [p for p in pods if phase(p) not in ("Succeeded", "Failed") and not is_deleting(p)]
    ledger = _count(job, pods, step)
    succeeded, failed, done = ledger.succeeded, ledger.failed, ledger.indexes
    indexed = spec.get("completionMode") == "Indexed"
    status: Object = {k: v for k, v in old.items() if k in ("conditions", "startTime", "completionTime")}
    suspended = bool(spec.get("suspend"))
    if "startTime" not in status and not suspended:
        status["startTime"] = format_time(now_s)
    if ended is None:
        verdict = _verdict(job, status, active, succeeded, failed, now_s)
        if verdict is not None:
            step.delete = [p["metadata"]["name"] for p in active]
            running = any(_tracked(p) and phase(p) not in ("Succeeded", "Failed") for p in pods)
            _finish(status, verdict, now_s, whole=not ledger.uncounted and not running)
        elif suspended:
            step.delete = [p["metadata"]["name"] for p in active]
            _suspend(status, True, now_s)
        else:
            if any(c["type"] == "Suspended" and c["status"] == "True" for c in status.get("conditions") or ()):
                _suspend(status, False, now_s)
                status["startTime"] = format_time(now_s)
            _balance(job, pods, active, succeeded, done, failed, now_s, step)
    else:
        step.delete = [p["metadata"]["name"] for p in active]
        _expire(job, status, now_s, step)
    alive = len(active) - len(step.delete) + len(step.create)
    counts = {"active": alive, "succeeded": ledger.counted_succeeded, "failed": ledger.counted_failed}
    status |= {k: v for k, v in counts.items() if v}
    status["ready"] = sum(is_ready(p) for p in active)
    status["terminating"] = sum(is_deleting(p) and phase(p) not in ("Succeeded", "Failed") for p in pods)
    if indexed and done:
        status["completedIndexes"] = _format_indexes(done)
    status["uncountedTerminatedPods"] = ledger.uncounted
    step.status = status
    return step


@dataclass(slots=True)
class _Ledger:
    """Ended pods: `counted_*` are in the status' totals; `uncounted` lists uids that are recorded but whose finalizer
    is still there. The totals for decisions are both together."""

    counted_succeeded: int
    counted_failed: int
    indexes: set[int]
    uncounted: Object

    @property
    def succeeded(self) -> int:
        return self.counted_succeeded + len(self.uncounted.get("succeeded", ()))

    @property
    def failed(self) -> int:
        return self.counted_failed + len(self.uncounted.get("failed", ()))


def _count(job: Object, pods: Sequence[Object], step: JobStep) -> _Ledger:
    old = job.get("status") or {}
    tracked = {p["metadata"]["uid"]: p for p in pods if _tracked(p)}
    recorded = {k: list(v) for k, v in (old.get("uncountedTerminatedPods") or {}).items() if v}
    ledger = _Ledger(
        int(old.get("succeeded", 0)), int(old.get("failed", 0)), _parse_indexes(old.get("completedIndexes", "")), {}
    )
    # A recorded pod whose finalizer has gone is counted for good; it can never be seen as fresh again.
    ledger.counted_succeeded += sum(uid not in tracked for uid in recorded.get("succeeded", ()))
    ledger.counted_failed += sum(uid not in tracked for uid in recorded.get("failed", ()))
    known = {uid for uids in recorded.values() for uid in uids}
    for uid, pod in tracked.items():
        if phase(pod) not in ("Succeeded", "Failed") and not is_deleting(pod):
            continue
        side = "succeeded" if phase(pod) == "Succeeded" else "failed"
        if uid in known:
            side = next(k for k, uids in recorded.items() if uid in uids)
            step.release.append(pod["metadata"]["name"])
        ledger.uncounted.setdefault(side, []).append(uid)
        index = completion_index(pod)
        if side == "succeeded" and index is not None:
            ledger.indexes.add(index)
    return ledger


def finished_condition(status: Object) -> Object | None:
    """The Complete or Failed condition that is true, or None while the job runs."""
    for c in status.get("conditions") or ():
        if c["type"] in ("Complete", "Failed") and c["status"] == "True":
            return c  # type: ignore[no-any-return]
    return None


def completion_index(pod: Object) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX)
    return int(text) if text is not None and text.isdigit() else None


def _tracked(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def _verdict(
    job: Object, status: Object, active: Sequence[Object], succeeded: int, failed: int, now_s: float
) -> Object | None:
    spec = job["spec"]
    for c in status.get("conditions") or ():
        # Decided before, and only waiting for the last pods to end.
        if c["type"] in ("SuccessCriteriaMet", "FailureTarget") and c["status"] == "True":
            kind = "Complete" if c["type"] == "SuccessCriteriaMet" else "Failed"
            return {"type": kind, "status": "True", "reason": c["reason"], "message": c["message"]}
    if failed > int(spec.get("backoffLimit", 6)):
        message = "Job has reached the specified backoff limit"
        return {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": message}
    limit = spec.get("activeDeadlineSeconds")
    started = status.get("startTime")
    if limit is not None and started and now_s - parse_time(started) >= float(limit) and not spec.get("suspend"):
        message = "Job was active longer than specified deadline"
        return {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": message}
    completions = spec.get("completions")
    if completions is None:
        complete = succeeded > 0 and not active
    else:
        complete = succeeded >= int(completions) and (not active or int(completions) > 0)
    if complete:
        message = "Reached expected number of succeeded pods"
        return {"type": "Complete", "status": "True", "reason": "CompletionsReached", "message": message}
    return None


def _finish(status: Object, verdict: Object, now_s: float, *, whole: bool) -> None:
    now = format_time(now_s)
    conditions = list(status.get("conditions") or ())
    before = "SuccessCriteriaMet" if verdict["type"] == "Complete" else "FailureTarget"
    for made in (verdict | {"type": before}, verdict) if whole else (verdict | {"type": before},):
        conditions = set_condition(conditions, {"lastProbeTime": now} | made, now)
    status["conditions"] = conditions
    if whole and verdict["type"] == "Complete":
        status["completionTime"] = now


def _suspend(status: Object, suspended: bool, now_s: float) -> None:
    now = format_time(now_s)
    made = {
        "type": "Suspended",
        "status": "True" if suspended else "False",
        "reason": "JobSuspended" if suspended else "JobResumed",
        "message": f"Job {'suspended' if suspended else 'resumed'}",
    }
    conditions = list(status.get("conditions") or ())
    if any(c["type"] == "Suspended" and c["status"] == made["status"] for c in conditions):
        return
    status["conditions"] = set_condition(conditions, {"lastProbeTime": now} | made, now)
    if suspended:
        status.pop("startTime", None)


def _balance(
    job: Object,
    pods: Sequence[Object],
    active: Sequence[Object],
    succeeded: int,
    done: set[int],
    failed: int,
    now_s: float,
    step: JobStep,
) -> None:
    spec = job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    completions = spec.get("completions")
    if completions is None:
        wanted = len(active) if succeeded else parallelism
    else:
        wanted = min(parallelism, max(0, int(completions) - succeeded))
    if len(active) > wanted:
        surplus = sorted(active, key=lambda p: (phase(p) == "Running", is_ready(p), -created_s(p)))
        step.delete = [p["metadata"]["name"] for p in surplus[: len(active) - wanted]]
        return
    missing = wanted - len(active)
    if spec.get("podReplacementPolicy") == "Failed":
        missing -= sum(is_deleting(p) and phase(p) not in ("Succeeded", "Failed") for p in pods)
    if missing <= 0:
        return
    wait_s = _backoff_s(pods, failed, now_s)
    if wait_s > 0:
        step.recheck_in_s = wait_s
        return
    if spec.get("completionMode") == "Indexed":
        taken = done | {i for p in active if (i := completion_index(p)) is not None}
        free = (i for i in range(int(completions or 0)) if i not in taken)
        indexes = [i for i, _ in zip(free, range(missing), strict=False)]
        step.create = [_pod(job, index) for index in indexes]
    else:
        step.create = [_pod(job, None) for _ in range(missing)]


def _backoff_s(pods: Iterable[Object], failed: int, now_s: float) -> float:
    """Seconds until the next pod may be created after a failure: 10 s doubling to 10 minutes since the last one."""
    ends = []
    for pod in pods:
        if phase(pod) != "Failed":
            continue
        for c in (pod.get("status") or {}).get("containerStatuses") or ():
            finished = ((c.get("state") or {}).get("terminated") or {}).get("finishedAt")
            if finished:
                ends.append(parse_time(finished))
    if not failed or not ends:
        return 0.0
    delay_s = min(BACKOFF_BASE_S * 2.0 ** (failed - 1), BACKOFF_LIMIT_S)
    return max(0.0, max(ends) + delay_s - now_s)


def _expire(job: Object, status: Object, now_s: float, step: JobStep) -> None:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or is_deleting(job):
        return
    ended = finished_condition(status)
    assert ended is not None
    left_s = parse_time(ended["lastTransitionTime"]) + float(ttl) - now_s
    if left_s <= 0:
        step.delete_job = True
    else:
        step.recheck_in_s = left_s


def _pod(job: Object, index: int | None) -> Object:
    pod = pod_from_template(job["spec"]["template"], job, owner_reference(job, "batch/v1", "Job"))
    pod["metadata"]["finalizers"].append(FINALIZER)
    if index is not None:
        name = job["metadata"]["name"]
        pod["metadata"]["generateName"] = f"{name[:50]}-{index}-"
        pod["metadata"]["annotations"][INDEX] = str(index)
        pod["metadata"]["labels"][INDEX] = str(index)
        pod["spec"]["hostname"] = f"{name}-{index}"[:63]
        reference = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
        for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
            env = container.setdefault("env", [])
            if all(e["name"] != "JOB_COMPLETION_INDEX" for e in env):
                env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": reference})
    return pod


def _parse_indexes(text: str) -> set[int]:
    indexes: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes |= set(range(int(first), int(last or first) + 1))
    return indexes


def _format_indexes(indexes: set[int]) -> str:
    ranges: list[list[int]] = []
    for i in sorted(indexes):
        if ranges and ranges[-1][1] == i - 1:
            ranges[-1][1] = i
        else:
            ranges.append([i, i])
    return ",".join(str(a) if a == b else (f"{a},{b}" if b == a + 1 else f"{a}-{b}") for a, b in ranges)
