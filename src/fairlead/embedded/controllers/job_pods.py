"""The pods of a Job, made of its template. Pure."""

from __future__ import annotations

from fairlead.embedded.controllers.job_policy import INDEX, next_index_failures
from fairlead.embedded.controllers.pods import Object, owner_reference, pod_from_template

FINALIZER = "batch.kubernetes.io/job-tracking"
"""Keeps a pod until its end is counted."""


def pod_of_job(job: Object) -> Object:
    """A pod of a job whose pods are all alike."""
    pod = pod_from_template(job["spec"]["template"], job, owner_reference(job, "batch/v1", "Job"))
    if FINALIZER not in pod["metadata"]["finalizers"]:
        pod["metadata"]["finalizers"].append(FINALIZER)
    return pod


def pod_of_index(job: Object, index: int, last: Object | None) -> Object:
    """The pod of one completion index; `last` is the failed pod that it follows and whose count it carries on."""
    pod = pod_of_job(job)
    name = job["metadata"]["name"]
    pod["metadata"]["generateName"] = f"{name[: 57 - len(str(index)) - 1]}-{index}-"
    pod["metadata"]["annotations"][INDEX] = str(index)
    pod["metadata"]["labels"][INDEX] = str(index)
    if job["spec"].get("backoffLimitPerIndex") is not None:
        pod["metadata"]["annotations"] |= next_index_failures(job, last)
    pod["spec"]["hostname"] = f"{name}-{index}"
    reference = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
        env = container.setdefault("env", [])
        if all(e["name"] != "JOB_COMPLETION_INDEX" for e in env):
            env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": reference})
    return pod
