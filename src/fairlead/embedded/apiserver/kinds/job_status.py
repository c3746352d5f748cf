"""Validation of a Job's status: conditions that exclude or need each other, and counts that never fall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.clock import parse_time
from fairlead.embedded.apiserver.invalid import duplicate, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative
from fairlead.embedded.apiserver.kinds.job_validation import count_indexes, without_value
from fairlead.embedded.apiserver.registry import Object

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_CONDITIONS = "status.conditions"


def _true_conditions(status: Mapping[str, Any]) -> set[str]:
    return {c.get("type", "") for c in status.get("conditions") or () if c.get("status") == "True"}


def validate_job_status(errors: Errors, new: Object, old: Object) -> None:
    """A status update. What was wrong before and did not change is left alone."""
    after, before = new.get("status") or {}, old.get("status") or {}
    for key in _COUNTS:
        check_not_negative(errors, after.get(key), f"status.{key}")
    _validate_uncounted(errors, after.get("uncountedTerminatedPods") or {})
    if _true_conditions(after) != _true_conditions(before):
        _validate_conditions(errors, after, before)
    _validate_finished(errors, after, before)
    _validate_times(errors, new, after, before)
    _validate_indexes(errors, new["spec"], after, before)
    for key, noun in (("failed", "failed"), ("succeeded", "succeeded")):
        if after.get(key, 0) < before.get(key, 0):
            errors.append(invalid(f"status.{key}", after.get(key, 0), f"cannot decrease the {noun} counter"))
    ready = after.get("ready")
    if ready is not None and ready != before.get("ready") and ready > after.get("active", 0):
        errors.append(invalid("status.ready", ready, "cannot set more ready pods than active"))


def _validate_uncounted(errors: Errors, uncounted: Mapping[str, Any]) -> None:
    seen: set[str] = set()
    for key in ("succeeded", "failed"):
        for index, uid in enumerate(uncounted.get(key) or ()):
            path = f"status.uncountedTerminatedPods.{key}[{index}]"
            if not uid:
                errors.append(invalid(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(path, uid))
            seen.add(uid)


def _validate_conditions(errors: Errors, after: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    now, earlier = _true_conditions(after), _true_conditions(before)
    for one, other, detail in (
        ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
        ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
        ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ):
        if one in now and other in now:
            errors.append(without_value(_CONDITIONS, detail))
    for one, needed, detail in (
        ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
        (
            "Complete",
            "SuccessCriteriaMet",
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
    ):
        if one in now and one not in earlier and needed not in now:
            errors.append(without_value(_CONDITIONS, detail))
    for kind in ("Failed", "Complete", "FailureTarget"):
        if kind in earlier and kind not in now:
            errors.append(without_value(_CONDITIONS, f"cannot disable the terminal {kind}=True condition"))
    if "SuccessCriteriaMet" in earlier and "SuccessCriteriaMet" not in now:
        errors.append(without_value(_CONDITIONS, "cannot disable the SuccessCriteriaMet=True condition"))


def _validate_finished(errors: Errors, after: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    finished = _true_conditions(after) & {"Complete", "Failed"}
    if not finished:
        return
    newly = not _true_conditions(before) & {"Complete", "Failed"}
    if after.get("active", 0) > 0 and (newly or after.get("active") != before.get("active")):
        errors.append(invalid("status.active", after["active"], "active>0 is invalid for finished job"))
    if after.get("startTime") is None and (newly or before.get("startTime") is not None):
        errors.append(required("status.startTime", "startTime is required for finished job"))
    uncounted = after.get("uncountedTerminatedPods") or {}
    if newly and (uncounted.get("failed") or uncounted.get("succeeded")):
        shown = {"Succeeded": uncounted.get("succeeded"), "Failed": uncounted.get("failed")}
        detail = "uncountedTerminatedPods needs to be empty for finished job"
        errors.append(invalid("status.uncountedTerminatedPods", shown, detail))
    if (after.get("terminating") or 0) > 0 and newly:
        detail = "terminating>0 is invalid for finished job"
        errors.append(invalid("status.terminating", after["terminating"], detail))


def _validate_times(errors: Errors, job: Object, after: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    complete = "Complete" in _true_conditions(after)
    started, completed = after.get("startTime"), after.get("completionTime")
    path = "status.completionTime"
    if completed is not None and not complete:
        detail = "cannot set completionTime when there is no Complete=True condition"
        errors.append(invalid(path, completed, detail))
    if completed is None and complete:
        errors.append(required(path, "completionTime is required for Complete jobs"))
    if started is not None and completed is not None and parse_time(completed) < parse_time(started):
        errors.append(invalid(path, completed, "completionTime cannot be set before startTime"))
    if None not in (completed, before.get("completionTime")) and completed != before["completionTime"]:
        errors.append(invalid(path, completed, "completionTime cannot be mutated"))
    if before.get("startTime") is not None and started != before["startTime"] and not job["spec"].get("suspend"):
        errors.append(required("status.startTime", "startTime cannot be removed for unsuspended job"))


def _validate_indexes(
    errors: Errors, spec: Mapping[str, Any], after: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    completed, failed = after.get("completedIndexes") or "", after.get("failedIndexes")
    completions = spec.get("completions")
    if completed != (before.get("completedIndexes") or ""):
        if completed and spec.get("completionMode") != "Indexed":
            detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
            errors.append(invalid("status.completedIndexes", completed, detail))
        _validate_index_list(errors, completed, completions, "completedIndexes")
    if failed is not None and failed != before.get("failedIndexes"):
        if spec.get("backoffLimitPerIndex") is None:
            detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            errors.append(invalid("status.failedIndexes", failed, detail))
        else:
            _validate_index_list(errors, failed, completions, "failedIndexes")


def _validate_index_list(errors: Errors, text: str, completions: int | None, key: str) -> None:
    if completions is None:
        return
    try:
        count_indexes(text, completions)
    except ValueError as error:
        errors.append(invalid(f"status.{key}", text, f"error parsing {key}: {error}"))
