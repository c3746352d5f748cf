"""CronJob: jobs on a schedule."""

from __future__ import annotations

import re
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from fairlead.embedded.apiserver.invalid import FieldError, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.cron_schedule import check_schedule
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative, check_one_of
from fairlead.embedded.apiserver.kinds.job import default_failure_policy
from fairlead.embedded.apiserver.kinds.job_validation import validate_job_spec
from fairlead.embedded.apiserver.kinds.pod_defaults import default_pod_template
from fairlead.embedded.apiserver.kinds.pod_warnings import template_warnings
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.kinds.workload import name_warnings
from fairlead.embedded.apiserver.registry import Object, RequestContext

_POLICIES = ("Allow", "Forbid", "Replace")
# A job's name is the cron job's and a suffix of eleven characters.
_LONGEST_NAME = 52
_zone_part_matches = re.compile(r"[A-Za-z._0-9+-]{1,14}").fullmatch


class CronJobStrategy(StatusStrategy):
    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        template = spec.setdefault("jobTemplate", {})
        template.setdefault("metadata", {})
        job_spec = template.setdefault("spec", {})
        default_pod_template(job_spec.setdefault("template", {}))
        default_failure_policy(job_spec)
        if not spec.get("concurrencyPolicy"):
            spec["concurrencyPolicy"] = "Allow"
        for key, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
            if spec.get(key) is None:
                spec[key] = value

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(super().validate_create(obj, context))
        name = obj["metadata"].get("name", "")
        if len(name) > _LONGEST_NAME:
            errors.append(invalid("metadata.name", name, f"must be no more than {_LONGEST_NAME} characters"))
        return errors

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        _validate_spec(errors, obj["spec"], None)
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        _validate_spec(errors, new["spec"], old["spec"])
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        found = name_warnings(obj) if old is None else []
        if "TZ" in obj["spec"].get("schedule", ""):
            found.append(
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead, see https://kubernetes.io/docs/"
                "concepts/workloads/controllers/cron-jobs/#time-zones"
            )
        return found + template_warnings(obj, old, "spec", "jobTemplate", "spec", "template")


def _validate_spec(errors: Errors, spec: Object, old: Object | None) -> None:
    if not spec.get("schedule"):
        errors.append(required("spec.schedule"))
    else:
        _validate_schedule(errors, spec, old)
    check_not_negative(errors, spec.get("startingDeadlineSeconds"), "spec.startingDeadlineSeconds")
    zone = spec.get("timeZone")
    if zone is not None and (old is None or zone != old.get("timeZone")):
        _validate_zone(errors, zone)
    check_one_of(errors, spec.get("concurrencyPolicy"), _POLICIES, "spec.concurrencyPolicy")
    job_spec = spec["jobTemplate"]["spec"]
    validate_job_spec(errors, job_spec, "spec.jobTemplate.spec")
    if job_spec.get("selector") is not None:
        detail = "`selector` will be auto-generated"
        errors.append(invalid("spec.jobTemplate.spec.selector", job_spec["selector"], detail))
    if job_spec.get("manualSelector"):
        errors.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        check_not_negative(errors, spec.get(key), f"spec.{key}")


def _validate_schedule(errors: Errors, spec: Object, old: Object | None) -> None:
    schedule = spec["schedule"]
    try:
        check_schedule(schedule)
    except ValueError as error:
        errors.append(invalid("spec.schedule", schedule, str(error)))
    if "TZ" not in schedule:
        return
    allowed = old is not None and "TZ" in old.get("schedule", "")
    if not allowed:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid("spec.schedule", schedule, detail))
    elif spec.get("timeZone") is not None:
        detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errors.append(invalid("spec.schedule", schedule, detail))


def _validate_zone(errors: Errors, zone: str) -> None:
    path = "spec.timeZone"
    if not zone:
        errors.append(invalid(path, zone, "timeZone must be nil or non-empty string"))
        return
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _zone_part_matches(part):
            errors.append(invalid(path, zone, f"unknown time zone {zone}"))
            return
    if zone.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        errors.append(invalid(path, zone, detail))
    if zone in ("Local", "UTC"):
        return
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        errors.append(invalid(path, zone, f"unknown time zone {zone}"))
