"""Event: one storage for two forms (core/v1 and events.k8s.io/v1), and the rules of the older and the newer form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.metadata import validate_object_meta
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, path_segment, qualified_name
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_LONGEST_TEXT, _LONGEST_NOTE = 128, 1024
_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
"""Fields of events.k8s.io/v1 and what core/v1, which is stored, calls them."""
_CORE_NAMES = {core: newer for newer, core in _RENAMED.items()}
_LEFT_OUT_EMPTY = ("reportingController", "reportingInstance")


def to_core(event: Object) -> Object:
    """An events.k8s.io/v1 Event as the core/v1 Event that is stored."""
    core = {_RENAMED.get(key, key): value for key, value in event.items()}
    core["apiVersion"] = "v1"
    for key in ("reportingComponent", "reportingInstance"):
        core.setdefault(key, "")
    return core


def from_core(event: Object) -> Object:
    """A stored Event as events.k8s.io/v1 shows it."""
    newer = {_CORE_NAMES.get(key, key): value for key, value in event.items()}
    newer["apiVersion"] = "events.k8s.io/v1"
    for key in _LEFT_OUT_EMPTY:
        if not newer.get(key):
            newer.pop(key, None)
    return newer


class EventStrategy(ObjectStrategy):
    """core/v1: lenient about events without `eventTime`, which older clients write."""

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return _validate_legacy(obj) or validate_object_meta(obj, namespaced=True, name_rule=path_segment)

    def validate_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return _validate_legacy(new)


class NewerEventStrategy(ObjectStrategy):
    """events.k8s.io/v1: complete from the start, and fixed but for the series."""

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        core = to_core(obj)
        errors = _validate_legacy(core)
        errors += validate_object_meta(obj, namespaced=True, name_rule=dns_subdomain)
        _validate_series(errors, core.get("series"))
        if core.get("eventTime") is None:
            errors.append(required("eventTime"))
        kind = core.get("type", "")
        if kind not in ("Normal", "Warning"):
            errors.append(invalid("type", "", f"has invalid value: {kind}"))
        for key in ("firstTimestamp", "lastTimestamp", "count"):
            if core.get(key):
                errors.append(invalid(key, "", "needs to be unset"))
        source = core.get("source") or {}
        if source.get("component") or source.get("host"):
            errors.append(invalid("source", "", "needs to be unset"))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        after, before = to_core(new), to_core(old)
        errors = _validate_legacy(after)
        if after.get("series") != before.get("series"):
            _validate_series(errors, after.get("series"))
        for key in (
            "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type",
            "eventTime", "action", "related", "reportingComponent", "reportingInstance",
        ):  # fmt: skip
            path = "reportingController" if key == "reportingComponent" else key
            check_immutable(errors, after.get(key), before.get(key), path)
        return errors


def _validate_series(errors: Errors, series: dict[str, Any] | None) -> None:
    if series is None:
        return
    if series.get("count", 0) < 2:
        errors.append(invalid("series.count", "", "should be at least 2"))
    if series.get("lastObservedTime") is None:
        errors.append(required("series.lastObservedTime"))


def _validate_legacy(event: Object) -> Errors:
    errors: Errors = []
    namespace = event["metadata"].get("namespace", "")
    involved = (event.get("involvedObject") or {}).get("namespace", "")
    mismatch = invalid("involvedObject.namespace", involved, "does not match event.namespace")
    if event.get("eventTime") is None:
        if namespace != involved if involved else namespace not in ("", "default"):
            errors.append(mismatch)
    else:
        if not involved and namespace not in ("default", "kube-system"):
            errors.append(mismatch)
        _validate_complete(errors, event)
    add_each(errors, "namespace", namespace, dns_subdomain(namespace))
    return errors


def _validate_complete(errors: Errors, event: Object) -> None:
    component = event.get("reportingComponent") or ""
    if not component:
        errors.append(required("reportingComponent"))
    add_each(errors, "reportingComponent", component, qualified_name(component))
    for key in ("reportingInstance", "action", "reason"):
        text = event.get(key) or ""
        if not text:
            errors.append(required(key))
        elif len(text.encode()) > _LONGEST_TEXT:
            errors.append(invalid(key, "", f"can have at most {_LONGEST_TEXT} characters"))
    if len((event.get("message") or "").encode()) > _LONGEST_NOTE:
        errors.append(invalid("message", "", f"can have at most {_LONGEST_NOTE} characters"))
