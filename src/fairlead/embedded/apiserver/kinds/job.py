"""Job: a selector made from the uid, and a spec that is fixed but for a few fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.job_status import validate_job_status
from fairlead.embedded.apiserver.kinds.job_validation import validate_job_spec
from fairlead.embedded.apiserver.kinds.names import dns_label
from fairlead.embedded.apiserver.kinds.pod_defaults import default_pod_template
from fairlead.embedded.apiserver.kinds.pod_warnings import template_warnings
from fairlead.embedded.apiserver.kinds.selectors import matches, validate_label_selector
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.kinds.workload import name_warnings, validate_template_labels
from fairlead.embedded.apiserver.registry import Object, RequestContext

UID_LABEL, NAME_LABEL = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
_OLD_UID_LABEL, _OLD_NAME_LABEL = "controller-uid", "job-name"
_LARGEST_INT32 = 2**31 - 1
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def default_failure_policy(spec: Object) -> None:
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"


class JobStrategy(StatusStrategy):
    metadata_rechecks = 1
    orphans_by_default = True
    deletion_warning = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
        "set propagationPolicy=Orphan to suppress this warning"
    )

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        default_pod_template(spec.setdefault("template", {}))
        default_failure_policy(spec)
        if spec.get("completions") is None and spec.get("parallelism") is None:
            spec["completions"] = spec["parallelism"] = 1
        if spec.get("parallelism") is None:
            spec["parallelism"] = 1
        if spec.get("backoffLimit") is None:
            spec["backoffLimit"] = 6 if spec.get("backoffLimitPerIndex") is None else _LARGEST_INT32
        labels = spec["template"]["metadata"].get("labels")
        metadata = obj.setdefault("metadata", {})
        if labels and not metadata.get("labels"):
            metadata["labels"] = dict(labels)
        for key, value in (("completionMode", "NonIndexed"), ("suspend", False), ("manualSelector", False)):
            if spec.get(key) is None:
                spec[key] = value
        if spec.get("podReplacementPolicy") is None:
            failed_only = spec.get("podFailurePolicy") is not None
            spec["podReplacementPolicy"] = "Failed" if failed_only else "TerminatingOrFailed"

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        super().prepare_create(obj, context)
        spec = obj["spec"]
        if spec.get("manualSelector"):
            return
        name, uid = obj["metadata"].get("name", ""), obj["metadata"]["uid"]
        metadata = spec["template"]["metadata"]
        own = {_OLD_NAME_LABEL: name, NAME_LABEL: name, _OLD_UID_LABEL: uid, UID_LABEL: uid}
        metadata["labels"] = {**own, **(metadata.get("labels") or {})}
        selector = spec.get("selector") or {}
        spec["selector"] = {**selector, "matchLabels": {UID_LABEL: uid, **(selector.get("matchLabels") or {})}}

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        _validate_generated(errors, obj)
        _validate_spec(errors, obj["spec"])
        _validate_pod_host_names(errors, obj)
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        # The API checks the spec as that of a new object, and as that of a changed one.
        errors: Errors = list(self.validate(new, context))
        after, before = new["spec"], old["spec"]
        _validate_spec(errors, after)
        _validate_completions(errors, after, before)
        check_immutable(errors, after.get("selector"), before.get("selector"), "spec.selector")
        template = _with_placement(before["template"], after["template"]) if _may_place(old) else before["template"]
        check_immutable(errors, after["template"], template, "spec.template")
        for key in _FIXED:
            check_immutable(errors, after.get(key), before.get(key), f"spec.{key}")
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        validate_job_status(errors, new, old)
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        found = name_warnings(obj) if old is None else []
        spec = obj["spec"]
        many = (spec.get("completions") or 0) > 100_000 and (spec.get("parallelism") or 0) > 10_000
        if many and old is None and spec.get("completionMode") == "Indexed":
            found.append(
                "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
                "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
            )
        return found + template_warnings(obj, old, "spec", "template")


def _validate_spec(errors: Errors, spec: Object) -> None:
    validate_job_spec(errors, spec, "spec")
    selector = spec.get("selector")
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        validate_label_selector(errors, selector, "spec.selector")
    validate_template_labels(errors, spec)


def _validate_generated(errors: Errors, job: Object) -> None:
    """The labels and the selector that the server makes must not be made up by the client."""
    spec = job["spec"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    name, uid = job["metadata"].get("name", ""), job["metadata"]["uid"]
    labels = spec["template"]["metadata"].get("labels") or {}
    for key, value in (
        (_OLD_UID_LABEL, uid), (_OLD_NAME_LABEL, name), (UID_LABEL, uid), (NAME_LABEL, name),
    ):  # fmt: skip
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            errors.append(required(path, f"must be '{value}'"))
        elif labels[key] != value:
            errors.append(invalid(path, dict(sorted(labels.items())), f"must be '{value}'"))
    expected = {UID_LABEL: uid, NAME_LABEL: name, _OLD_UID_LABEL: uid, _OLD_NAME_LABEL: name}
    if not matches(spec["selector"], expected):
        errors.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))


def _validate_pod_host_names(errors: Errors, job: Object) -> None:
    spec, name = job["spec"], job["metadata"].get("name", "")
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        details = (
            f"will not able to create pod with invalid DNS label: {name}-{completions - 1}"
            for _ in dns_label(f"{name}-{completions - 1}")
        )
        add_each(errors, "metadata.name", name, details)


def _validate_completions(errors: Errors, after: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    value = after.get("completions")
    if after.get("completionMode") != "Indexed":
        check_immutable(errors, value, before.get("completions"), "spec.completions")
    elif value is not None and value != before.get("completions") and value != after.get("parallelism"):
        detail = "can only be modified in tandem with spec.parallelism"
        errors.append(invalid("spec.completions", value, detail))


def _may_place(job: Object) -> bool:
    """Whether a job that has not started yet may still change where its pods go."""
    return bool(job["spec"].get("suspend")) and (job.get("status") or {}).get("startTime") is None


def _with_placement(before: Object, after: Object) -> Object:
    template = {**before, "metadata": dict(before.get("metadata") or {}), "spec": dict(before.get("spec") or {})}
    for part, keys in (
        ("metadata", ("annotations", "labels")),
        ("spec", ("nodeSelector", "tolerations", "schedulingGates")),
    ):
        for key in keys:
            value = (after.get(part) or {}).get(key)
            if value is None:
                template[part].pop(key, None)
            else:
                template[part][key] = value
    affinity = dict(template["spec"].get("affinity") or {})
    wanted = (after.get("spec") or {}).get("affinity")
    affinity.pop("nodeAffinity", None)
    if wanted is not None and wanted.get("nodeAffinity") is not None:
        affinity["nodeAffinity"] = wanted["nodeAffinity"]
    if affinity or wanted is not None:
        template["spec"]["affinity"] = affinity
    else:
        template["spec"].pop("affinity", None)
    return template
