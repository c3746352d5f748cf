"""What the policies of a Job say: of failed pods, of failed indexes, of success. Pure.

Protocol: `spec.podFailurePolicy`, `spec.backoffLimitPerIndex`, `spec.successPolicy` of batch/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fairlead.clock import parse_time
from fairlead.embedded.controllers.pods import Object, condition, created_s, is_deleting, phase

INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
BACKOFF_BASE_S = 10.0
BACKOFF_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class FailureVerdict:
    """What the pod failure policy says of one failed pod. `action` is empty where no rule matches; `message` is set
    where the whole job fails."""

    action: str = ""
    message: str = ""

    @property
    def is_counted(self) -> bool:
        return self.action != "Ignore"


def judge_failure(job: Object, pod: Object) -> FailureVerdict:
    """The first rule that matches decides."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        found = _by_exit_code(rule, pod) or _by_condition(rule, pod)
        if not found:
            continue
        action = rule["action"]
        message = f"{found} matching {action} rule at index {number}" if action == "FailJob" else ""
        return FailureVerdict(action, message)
    return FailureVerdict()


def _by_exit_code(rule: Object, pod: Object) -> str:
    wanted = rule.get("onExitCodes")
    if not wanted:
        return ""
    status = pod.get("status") or {}
    for container in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        ended = (container.get("state") or {}).get("terminated")
        if not ended or not ended.get("exitCode") or wanted.get("containerName") not in (None, container["name"]):
            continue
        if (ended["exitCode"] in wanted["values"]) == (wanted["operator"] == "In"):
            meta = pod["metadata"]
            who = f"Container {container['name']} for pod {meta['namespace']}/{meta['name']}"
            return f"{who} failed with exit code {ended['exitCode']}"
    return ""


def _by_condition(rule: Object, pod: Object) -> str:
    for pattern in rule.get("onPodConditions") or ():
        found = condition(pod, pattern["type"])
        if found is not None and found.get("status") == pattern.get("status", "True"):
            meta = pod["metadata"]
            return f"Pod {meta['namespace']}/{meta['name']} has condition {pattern['type']}"
    return ""


def only_failed_are_replaced(job: Object) -> bool:
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or bool(spec.get("podFailurePolicy"))


def is_failed(job: Object, pod: Object) -> bool:
    """Whether a pod counts as failed: one that is being deleted does too, unless only ended pods are replaced."""
    if phase(pod) == "Failed":
        return True
    return not only_failed_are_replaced(job) and is_deleting(pod) and phase(pod) != "Succeeded"


def completion_index(pod: Object) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX)
    return int(text) if text is not None and text.isdigit() else None


def index_failures(pod: Object) -> int:
    """Failures of the pod's index before it, those that the policy ignores left out."""
    return _annotated(pod, INDEX_FAILURES)


def all_index_failures(pod: Object) -> int:
    return _annotated(pod, INDEX_FAILURES) + _annotated(pod, INDEX_IGNORED_FAILURES)


def _annotated(pod: Object, name: str) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(name, "0")
    return int(text) if text.isdigit() else 0


def is_index_failed(job: Object, pod: Object) -> bool:
    """Whether a failed pod is the last one of its index."""
    if judge_failure(job, pod).action == "FailIndex":
        return True
    verdict = judge_failure(job, pod)
    return verdict.is_counted and index_failures(pod) >= int(job["spec"]["backoffLimitPerIndex"])


def next_index_failures(job: Object, last: Object | None) -> dict[str, str]:
    """Annotations of the pod that follows `last` in its index."""
    if last is None:
        return {INDEX_FAILURES: "0"}
    counted, ignored = index_failures(last), _annotated(last, INDEX_IGNORED_FAILURES)
    if judge_failure(job, last).is_counted:
        counted += 1
    else:
        ignored += 1
    return {INDEX_FAILURES: str(counted)} | ({INDEX_IGNORED_FAILURES: str(ignored)} if ignored else {})


def finished_s(pod: Object) -> float:
    """When a pod ended: its last container's end, else when it stopped being ready, was deleted, or was created."""
    ends = [
        ((c.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for c in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    known = [parse_time(e) for e in ends if e]
    if known:
        return max(known)
    ready = condition(pod, "Ready")
    if ready is not None and ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return parse_time(ready["lastTransitionTime"])
    deleted = pod["metadata"].get("deletionTimestamp")
    if deleted:
        return parse_time(deleted) - float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
    return created_s(pod)


def backoff_s(failures: int, last_s: float, now_s: float) -> float:
    """Seconds to wait before the next pod: 10 s doubling with each failure to 10 minutes, since the last one."""
    if failures <= 0:
        return 0.0
    return max(0.0, last_s + min(BACKOFF_BASE_S * 2.0 ** min(failures - 1, 10), BACKOFF_LIMIT_S) - now_s)


def job_backoff_s(job: Object, pods: Iterable[Object], now_s: float) -> float:
    """The wait of a job as a whole: failures since the last success count."""
    listed = list(pods)
    last_success_s = max((finished_s(p) for p in listed if phase(p) == "Succeeded"), default=float("-inf"))
    failures = [finished_s(p) for p in listed if is_failed(job, p)]
    recent = [s for s in failures if s > last_success_s]
    return backoff_s(len(recent), max(recent, default=0.0), now_s)


def met_success_rule(job: Object, done: set[int]) -> int | None:
    """The number of the first rule of the success policy that the succeeded indexes meet."""
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        named = rule.get("succeededIndexes")
        within = done & parse_indexes(named) if named is not None else done
        needed = rule.get("succeededCount")
        if needed is None:
            needed = len(parse_indexes(named)) if named is not None else None
        if needed is not None and len(within) >= int(needed):
            return number
    return None


def failed_indexes_verdict(job: Object, failed: set[int], done: set[int]) -> tuple[str, str] | None:
    """Reason and message when failed indexes end the job."""
    limit = job["spec"].get("maxFailedIndexes")
    if limit is not None and len(failed) > int(limit):
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if failed and len(failed) + len(done) >= int(job["spec"].get("completions") or 0):
        return "FailedIndexes", "Job has failed indexes"
    return None


def restarts_exceed(job: Object, pods: Sequence[Object]) -> bool:
    """With restartPolicy OnFailure, restarts of containers count against backoffLimit too."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    total = 0
    for pod in pods:
        if phase(pod) not in ("Running", "Pending"):
            continue
        status: Object = pod.get("status") or {}
        for kind in ("initContainerStatuses", "containerStatuses"):
            total += sum(int(c.get("restartCount", 0)) for c in status.get(kind) or ())
    limit = int(job["spec"].get("backoffLimit", 6))
    return total > 0 if limit == 0 else total >= limit


def parse_indexes(text: str) -> set[int]:
    """Numbers of a text such as "0,3-5"."""
    indexes: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes |= set(range(int(first), int(last or first) + 1))
    return indexes


def format_indexes(indexes: Iterable[int]) -> str:
    """Numbers as text, three or more in a row as a range."""
    ranges: list[list[int]] = []
    for i in sorted(indexes):
        if ranges and ranges[-1][1] == i - 1:
            ranges[-1][1] = i
        else:
            ranges.append([i, i])
    return ",".join(str(a) if a == b else (f"{a},{b}" if b == a + 1 else f"{a}-{b}") for a, b in ranges)
