"""What all workloads with a pod template share: template rules, rollout numbers, status counts, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import NOT_NEGATIVE, Errors, add_each, check_immutable, check_not_negative
from fairlead.embedded.apiserver.kinds.names import dns_label, percent
from fairlead.embedded.apiserver.kinds.pod_defaults import default_pod_template
from fairlead.embedded.apiserver.kinds.pod_spec import validate_pod_template
from fairlead.embedded.apiserver.kinds.pod_warnings import template_warnings
from fairlead.embedded.apiserver.kinds.selectors import is_empty, matches, validate_label_selector
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

MISMATCH = "`selector` does not match template `labels`"


class WorkloadStrategy(StatusStrategy):
    """A workload with a pod template at `spec.template`."""

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        default_pod_template(spec.setdefault("template", {}))
        self.default_spec(spec)

    def default_spec(self, spec: Object) -> None:
        """Defaults of the workload's own fields, in place."""

    def validate_spec(self, errors: Errors, spec: Object) -> None:
        """Errors of the spec, of a new or of a changed workload."""

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        self.validate_spec(errors, obj.get("spec") or {})
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        found = name_warnings(obj) if old is None else []
        return found + template_warnings(obj, old, "spec", "template")


def name_warnings(obj: Object) -> list[str]:
    """A workload's name becomes part of host names, which are labels."""
    messages = dns_label(obj["metadata"].get("name", ""))
    if not messages:
        return []
    return [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label "
        f"is recommended: [{' '.join(messages)}]"
    ]


def validate_selector(errors: Errors, selector: Mapping[str, Any] | None, noun: str) -> None:
    """A workload's selector: there, and not empty. `noun` is how the message calls the workload."""
    if selector is None:
        errors.append(required("spec.selector"))
        return
    validate_label_selector(errors, selector, "spec.selector")
    if is_empty(selector):
        errors.append(invalid("spec.selector", selector, f"empty selector is invalid for {noun}"))


def validate_template_labels(errors: Errors, spec: Mapping[str, Any], path: str = "spec.template") -> None:
    """The selector must match the pods that the template makes."""
    selector = spec.get("selector")
    if selector is not None and is_empty(selector):
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not matches(selector, labels):
        shown = dict(sorted(labels.items())) if labels else None
        errors.append(invalid(f"{path}.metadata.labels", shown, MISMATCH))


def validate_always_template(errors: Errors, spec: Mapping[str, Any], noun: str) -> None:
    """The template of a workload whose pods run until they are deleted."""
    validate_template_labels(errors, spec)
    validate_pod_template(errors, spec.get("template"), "spec.template")
    validate_always_running(errors, spec, noun)


def validate_always_running(errors: Errors, spec: Mapping[str, Any], noun: str) -> None:
    pod_spec = (spec.get("template") or {}).get("spec") or {}
    policy = pod_spec.get("restartPolicy", "")
    if policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if pod_spec.get("activeDeadlineSeconds") is not None:
        detail = f"activeDeadlineSeconds in {noun} is not Supported"
        errors.append(forbidden("spec.template.spec.activeDeadlineSeconds", detail))


def int_or_percent(value: int | str | None) -> int:
    """The number in an absolute or relative amount; 0 for what is neither."""
    if isinstance(value, str):
        return int(value[:-1]) if not percent(value) else 0
    return value or 0


def validate_int_or_percent(errors: Errors, value: int | str | None, path: str) -> None:
    """An absolute amount not below zero, or a percentage."""
    if isinstance(value, str):
        add_each(errors, path, value, percent(value))
    elif value is not None and value < 0:
        errors.append(invalid(path, value, NOT_NEGATIVE))


def validate_at_most_all(errors: Errors, value: int | str | None, path: str) -> None:
    """A percentage of at most one hundred."""
    if isinstance(value, str) and not percent(value) and int_or_percent(value) > 100:
        errors.append(invalid(path, value, "must not be greater than 100%"))


def validate_counts(errors: Errors, status: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Status counts below zero."""
    for key in keys:
        check_not_negative(errors, status.get(key), f"status.{key}")


def validate_at_most(errors: Errors, status: Mapping[str, Any], keys: Sequence[str], bound: str, words: str) -> None:
    """Status counts above another one."""
    for key in keys:
        if status.get(key, 0) > status.get(bound, 0):
            errors.append(invalid(f"status.{key}", status[key], f"cannot be greater than {words}"))


def validate_collision_count(errors: Errors, new: Object, old: Object) -> None:
    after = (new.get("status") or {}).get("collisionCount")
    before = (old.get("status") or {}).get("collisionCount")
    if before is not None and (after is None or after < before):
        errors.append(invalid("status.collisionCount", after or 0, "cannot be decremented"))


def check_selector_immutable(errors: Errors, new: Object, old: Object) -> None:
    check_immutable(errors, new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")
