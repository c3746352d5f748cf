"""Columns of the groups apps and batch, and of replication controllers."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.clock import parse_time
from fairlead.embedded.apiserver.printing.cells import (
    AGE,
    NAME,
    NONE,
    UNSET,
    computed,
    containers,
    get,
    labels,
    number,
    selector,
    text,
)
from fairlead.embedded.apiserver.printing.duration import age, human_duration
from fairlead.embedded.apiserver.registry import Column, Object

_TEMPLATE = ("spec", "template", "spec")
_SELECTOR = computed(
    "Selector", "Which pods belong to it.", lambda obj: selector(get(obj, "spec", "selector")), priority=1
)


def _ready(obj: Object) -> str:
    return f"{get(obj, 'status', 'readyReplicas', default=0)}/{get(obj, 'spec', 'replicas', default=0)}"


_READY = computed("Ready", "Ready replicas and wanted ones.", _ready)
_REPLICAS = (
    number("Desired", "Wanted replicas.", "spec", "replicas"),
    number("Current", "Replicas there are.", "status", "replicas"),
    number("Ready", "Ready replicas.", "status", "readyReplicas"),
)


def _has_condition(job: Object, type_: str) -> bool:
    conditions = get(job, "status", "conditions", default=())
    return any(item.get("type") == type_ and item.get("status") == "True" for item in conditions)


def _job_status(job: Object) -> str:
    for type_ in ("Complete", "Failed"):
        if _has_condition(job, type_):
            return type_
    if get(job, "metadata", "deletionTimestamp"):
        return "Terminating"
    for type_ in ("Suspended", "FailureTarget"):
        if _has_condition(job, type_):
            return type_
    return "Running"


def _job_completions(job: Object) -> str:
    succeeded = get(job, "status", "succeeded", default=0)
    wanted = get(job, "spec", "completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallel = get(job, "spec", "parallelism", default=0)
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


def _job_duration(job: Object, now: float) -> str:
    started, completed = get(job, "status", "startTime"), get(job, "status", "completionTime")
    if not started:
        return ""
    return human_duration((parse_time(completed) if completed else now) - parse_time(started))


def _last_schedule(cron_job: Object, now: float) -> str:
    scheduled = get(cron_job, "status", "lastScheduleTime")
    return age(scheduled, now) if scheduled else NONE


def _suspended(cron_job: Object) -> str:
    suspend = get(cron_job, "spec", "suspend")
    return UNSET if suspend is None else str(bool(suspend))


def _controller(obj: Object) -> str:
    for owner in get(obj, "metadata", "ownerReferences", default=()):
        if owner.get("controller"):
            group = owner.get("apiVersion", "").rpartition("/")[0]
            kind = owner.get("kind", "").lower()
            return f"{kind}.{group}/{owner.get('name', '')}" if group else f"{kind}/{owner.get('name', '')}"
    return NONE


COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    ("", "ReplicationController"): (
        NAME,
        *_REPLICAS,
        AGE,
        *containers(_TEMPLATE),
        computed("Selector", "Which pods belong to it.", lambda obj: labels(get(obj, "spec", "selector")), priority=1),
    ),
    ("apps", "ControllerRevision"): (
        NAME,
        computed("Controller", "Whose revision it is.", _controller),
        text("Revision", "Number of the revision.", "revision"),
        AGE,
    ),
    ("apps", "DaemonSet"): (
        NAME,
        number("Desired", "Nodes that should run the pod.", "status", "desiredNumberScheduled"),
        number("Current", "Nodes that run the pod and should.", "status", "currentNumberScheduled"),
        number("Ready", "Nodes whose pod is ready.", "status", "numberReady"),
        number("Up-to-date", "Nodes whose pod is of the newest template.", "status", "updatedNumberScheduled"),
        number("Available", "Nodes whose pod is available.", "status", "numberAvailable"),
        computed(
            "Node Selector",
            "Which nodes run the pod.",
            lambda obj: labels(get(obj, *_TEMPLATE, "nodeSelector")),
        ),
        AGE,
        *containers(_TEMPLATE),
        _SELECTOR,
    ),
    ("apps", "Deployment"): (
        NAME,
        _READY,
        text("Up-to-date", "Replicas of the newest template.", "status", "updatedReplicas", default=0),
        text("Available", "Available replicas.", "status", "availableReplicas", default=0),
        AGE,
        *containers(_TEMPLATE),
        _SELECTOR,
    ),
    ("apps", "ReplicaSet"): (NAME, *_REPLICAS, AGE, *containers(_TEMPLATE), _SELECTOR),
    ("apps", "StatefulSet"): (NAME, _READY, AGE, *containers(_TEMPLATE)),
    ("batch", "CronJob"): (
        NAME,
        text("Schedule", "When it runs, as cron writes it.", "spec", "schedule"),
        text("Timezone", "Time zone of the schedule.", "spec", "timeZone", default=NONE),
        computed("Suspend", "Whether it is on hold.", _suspended, type_="boolean"),
        computed(
            "Active",
            "Jobs that run now.",
            lambda obj: len(get(obj, "status", "active", default=())),
            type_="integer",
        ),
        Column("Last Schedule", "string", "How long ago it ran last.", _last_schedule),
        AGE,
        *containers(("spec", "jobTemplate", *_TEMPLATE)),
        computed(
            "Selector",
            "Which pods belong to its jobs.",
            lambda obj: selector(get(obj, "spec", "jobTemplate", "spec", "selector")),
            priority=1,
        ),
    ),
    ("batch", "Job"): (
        NAME,
        computed("Status", "Where the job stands.", _job_status),
        computed("Completions", "Completed pods and wanted ones.", _job_completions),
        Column("Duration", "string", "How long the job took, or runs.", _job_duration),
        AGE,
        *containers(_TEMPLATE),
        _SELECTOR,
    ),
}
