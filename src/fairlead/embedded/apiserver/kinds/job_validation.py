"""Validation of job specs, of Jobs and of the templates in CronJobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_not_negative
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, qualified_name
from fairlead.embedded.apiserver.kinds.pod_spec import validate_pod_template

_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_MOST_PARALLEL = 100_000
_MOST_FAILED_INDEXES = 100_000
_MANY_COMPLETIONS = 100_000
_PARALLEL_WITH_MANY = 10_000
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_CONDITION_STATUSES = ("False", "True", "Unknown")
_OPERATORS = ("In", "NotIn")
_MOST_RULES, _MOST_PATTERNS, _MOST_EXIT_CODES, _MOST_SUCCESS_RULES = 20, 20, 255, 20
_LONGEST_MANAGER = 63
_LONGEST_INDEXES = 64 * 1024


def without_value(path: str, detail: str) -> FieldError:
    """An invalid field whose value the API leaves out of the message."""
    return FieldError("FieldValueInvalid", path, f"Invalid value: {detail}")


def validate_job_spec(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    """A JobSpec, its selector aside."""
    for key in _COUNTS:
        check_not_negative(errors, spec.get(key), f"{path}.{key}")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        _validate_manager(errors, spec["managedBy"], f"{path}.managedBy")
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        _validate_indexed(errors, spec, path)
    elif mode in (None, "NonIndexed"):
        for key in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(key) is not None:
                errors.append(invalid(f"{path}.{key}", spec[key], "requires indexed completion mode"))
    if spec.get("podFailurePolicy") is not None:
        _validate_failure_policy(errors, spec, f"{path}.podFailurePolicy")
    if spec.get("successPolicy") is not None:
        if mode != "Indexed":
            errors.append(invalid(f"{path}.successPolicy", _shown_success(spec), "requires indexed completion mode"))
        else:
            _validate_success_policy(errors, spec, f"{path}.successPolicy.rules")
    _validate_replacement(errors, spec, f"{path}.podReplacementPolicy")
    validate_pod_template(errors, spec.get("template"), f"{path}.template")
    _validate_restart(errors, spec, f"{path}.template.spec.restartPolicy")


def _validate_manager(errors: Errors, name: str, path: str) -> None:
    domain, slash, rest = name.partition("/")
    if not name:
        errors.append(required(path))
    elif not slash or not domain or not rest:
        errors.append(invalid(path, name, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    else:
        add_each(errors, path, domain, dns_subdomain(domain))
    if len(name) > _LONGEST_MANAGER:
        errors.append(too_long(path, _LONGEST_MANAGER))


def _validate_indexed(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed = spec.get("maxFailedIndexes")
    if completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > _MOST_PARALLEL:
        detail = f"must be less than or equal to {_MOST_PARALLEL} when completion mode is Indexed"
        errors.append(invalid(f"{path}.parallelism", parallelism, detail))
    at = f"{path}.maxFailedIndexes"
    if completions is not None and failed is not None and failed > completions:
        errors.append(invalid(at, failed, "must be less than or equal to completions"))
    if failed is not None and failed > _MOST_FAILED_INDEXES:
        errors.append(invalid(at, failed, f"must be less than or equal to {_MOST_FAILED_INDEXES}"))
    if (completions or 0) > _MANY_COMPLETIONS and spec.get("backoffLimitPerIndex") is not None:
        above = f"when completions are above {_MANY_COMPLETIONS} and used with backoff limit per index"
        detail = f"must be less than or equal to {_PARALLEL_WITH_MANY} {above}"
        if failed is None:
            errors.append(required(at, f"must be specified when completions is above {_MANY_COMPLETIONS}"))
        if parallelism is not None and parallelism > _PARALLEL_WITH_MANY:
            errors.append(invalid(f"{path}.parallelism", parallelism, detail))
        if failed is not None and failed > _PARALLEL_WITH_MANY:
            errors.append(invalid(at, failed, detail))


def _valid_values(values: Sequence[str]) -> str:
    listed = " ".join(f'"{value}"' for value in values)
    return f"valid values: [{listed}]"


def _validate_failure_policy(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    rules = spec["podFailurePolicy"].get("rules") or ()
    if len(rules) > _MOST_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), _MOST_RULES))
    pod_spec = (spec.get("template") or {}).get("spec") or {}
    names = {c.get("name") for group in ("containers", "initContainers") for c in pod_spec.get(group) or ()}
    for index, rule in enumerate(rules):
        at, action = f"{path}.rules[{index}]", rule.get("action", "")
        if not action:
            errors.append(required(f"{at}.action", _valid_values(_ACTIONS)))
        elif action == "FailIndex":
            if spec.get("backoffLimitPerIndex") is None:
                detail = "requires the backoffLimitPerIndex to be set"
                errors.append(invalid(f"{at}.action", action, detail))
        elif action not in _ACTIONS:
            errors.append(not_supported(f"{at}.action", action, _ACTIONS))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            _validate_exit_codes(errors, codes, names, f"{at}.onExitCodes")
        if conditions:
            _validate_conditions(errors, conditions, f"{at}.onPodConditions")
        if codes is not None and conditions:
            errors.append(without_value(at, "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is None and not conditions:
            errors.append(without_value(at, "specifying one of OnExitCodes and OnPodConditions is required"))


def _validate_conditions(errors: Errors, conditions: Sequence[Mapping[str, Any]], path: str) -> None:
    if len(conditions) > _MOST_PATTERNS:
        errors.append(too_many(path, len(conditions), _MOST_PATTERNS))
    for index, pattern in enumerate(conditions):
        at, kind, status = f"{path}[{index}]", pattern.get("type", ""), pattern.get("status", "")
        add_each(errors, f"{at}.type", kind, qualified_name(kind))
        if not status:
            errors.append(required(f"{at}.status", _valid_values(_CONDITION_STATUSES)))
        elif status not in _CONDITION_STATUSES:
            errors.append(not_supported(f"{at}.status", status, _CONDITION_STATUSES))


def _validate_exit_codes(errors: Errors, codes: Mapping[str, Any], names: set[Any], path: str) -> None:
    operator, name = codes.get("operator", ""), codes.get("containerName")
    values: Sequence[int] = codes.get("values") or []
    if not operator:
        errors.append(required(f"{path}.operator", _valid_values(_OPERATORS)))
    elif operator not in _OPERATORS:
        errors.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    if name is not None and name not in names:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(f"{path}.containerName", name, detail))
    at = f"{path}.values"
    if not values:
        errors.append(invalid(at, codes.get("values"), "at least one value is required"))
    elif len(values) > _MOST_EXIT_CODES:
        errors.append(too_many(at, len(values), _MOST_EXIT_CODES))
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(invalid(f"{at}[{index}]", value, "must not be 0 for the In operator"))
        if value in values[:index]:
            errors.append(duplicate(f"{at}[{index}]", value))
    if list(values) != sorted(values):
        errors.append(invalid(at, values, "must be ordered"))


def _shown_success(spec: Mapping[str, Any]) -> dict[str, Any]:
    rules = spec["successPolicy"].get("rules")
    if rules is None:
        return {"Rules": None}
    return {
        "Rules": [
            {"SucceededIndexes": rule.get("succeededIndexes"), "SucceededCount": rule.get("succeededCount")}
            for rule in rules
        ]
    }


def _validate_success_policy(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    rules = spec["successPolicy"].get("rules") or ()
    completions = spec.get("completions") or 0
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(path, detail))
    if len(rules) > _MOST_SUCCESS_RULES:
        errors.append(too_many(path, len(rules), _MOST_SUCCESS_RULES))
    for index, rule in enumerate(rules):
        at, count, indexes = f"{path}[{index}]", rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and indexes is None:
            detail = "at least one of succeededCount or succeededIndexes must be specified"
            errors.append(required(at, detail))
        total = 0
        if indexes is not None:
            total = _validate_indexes(errors, indexes, completions, f"{at}.succeededIndexes")
        if count is not None:
            _validate_success_count(errors, count, completions, total if indexes is not None else None, at)


def _validate_success_count(errors: Errors, count: int, completions: int, total: int | None, path: str) -> None:
    at = f"{path}.succeededCount"
    check_not_negative(errors, count, at)
    if count > completions:
        detail = f"must be less than or equal to {completions} (the number of specified completions)"
        errors.append(invalid(at, count, detail))
    if total is not None and count > total:
        detail = (
            f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        )
        errors.append(invalid(at, count, detail))


def _validate_indexes(errors: Errors, text: str, completions: int, path: str) -> int:
    if len(text) > _LONGEST_INDEXES:
        errors.append(too_long(path, _LONGEST_INDEXES))
    try:
        return count_indexes(text, completions)
    except ValueError as error:
        errors.append(invalid(path, text, f"error parsing succeededIndexes: {error}"))
        return 0


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a list such as "0,3-5" holds. Raises ValueError with the API's words."""
    total, last = 0, -1
    for interval in text.split(",") if text else ():
        limits = interval.split("-")
        if len(limits) > 2:
            reason = "violates the requirement that an index interval can have at most two parts separated by '-'"
            raise ValueError(f'the fragment "{interval}" {reason}')
        first, final = (_index(limit, completions) for limit in (limits[0], limits[-1]))
        if len(limits) == 2 and first >= final:
            raise ValueError(f"non-increasing order, previous: {first}, current: {final}")
        if last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total, last = total + final - first + 1, final
    return total


def _index(text: str, completions: int) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def _validate_replacement(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return
    supported = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if policy not in supported:
        errors.append(not_supported(path, policy, supported))


def _validate_restart(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "")
    if policy in ("Always", ""):
        errors.append(required(path, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        errors.append(not_supported(path, policy, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(invalid(path, policy, detail))
