"""Claims as the API server's internal types print them, which is how the error about an immutable field shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.kinds.errors import Layout, internal_form, sorted_map

_TOLERATION: Layout = (
    ("Key", "key", ""),
    ("Operator", "operator", ""),
    ("Value", "value", ""),
    ("Effect", "effect", ""),
    ("TolerationSeconds", "tolerationSeconds", None),
)
_REQUEST_DETAILS: Layout = (
    ("DeviceClassName", "deviceClassName", ""),
    ("Selectors", "selectors", None),
    ("AllocationMode", "allocationMode", ""),
    ("Count", "count", 0),
    ("AdminAccess", "adminAccess", None),
    ("Tolerations", "tolerations", None),
    ("Capacity", "capacity", None),
)
_CONSTRAINT: Layout = (
    ("Requests", "requests", None),
    ("MatchAttribute", "matchAttribute", None),
    ("DistinctAttribute", "distinctAttribute", None),
)
_RESULT: Layout = (
    ("Request", "request", ""),
    ("Driver", "driver", ""),
    ("Pool", "pool", ""),
    ("Device", "device", ""),
    ("AdminAccess", "adminAccess", None),
    ("Tolerations", "tolerations", None),
    ("BindingConditions", "bindingConditions", None),
    ("BindingFailureConditions", "bindingFailureConditions", None),
    ("ShareID", "shareID", None),
    ("ConsumedCapacity", "consumedCapacity", None),
)
_ATTRIBUTE: Layout = tuple(
    (f"{kind.capitalize()}Value{plural}", f"{kind}{plural}", None)
    for plural in ("", "s")
    for kind in ("int", "bool", "string", "version")
)
_TERM_REQUIREMENT: Layout = (("Key", "key", ""), ("Operator", "operator", ""), ("Values", "values", None))


def _each(items: Sequence[Any] | None, form: Callable[[Any], Any]) -> list[Any] | None:
    return None if items is None else [form(item) for item in items]


def claim_spec(spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """A ResourceClaimSpec."""
    devices = (spec or {}).get("devices") or {}
    return {
        "Devices": {
            "Requests": _each(devices.get("requests"), _request),
            "Constraints": _each(devices.get("constraints"), lambda item: internal_form(item, _CONSTRAINT)),
            "Config": _each(devices.get("config"), _claim_configuration),
        }
    }


def template_spec(spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """A ResourceClaimTemplateSpec: its metadata is written inline, as objects write theirs."""
    spec = spec or {}
    metadata = spec.get("metadata") or {}
    inline = {key: sorted_map(metadata[key]) for key in ("labels", "annotations") if metadata.get(key)}
    return {**inline, "Spec": claim_spec(spec.get("spec"))}


def allocation(value: Mapping[str, Any]) -> dict[str, Any]:
    """An AllocationResult."""
    devices = value.get("devices") or {}
    selector = value.get("nodeSelector")
    return {
        "Devices": {
            "Results": _each(devices.get("results"), _result),
            "Config": _each(devices.get("config"), _allocation_configuration),
        },
        "NodeSelector": None if selector is None else {"NodeSelectorTerms": node_selector_terms(selector)},
        "AllocationTimestamp": value.get("allocationTimestamp"),
    }


def attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    """A DeviceAttribute."""
    return internal_form(value, _ATTRIBUTE)


def node_selector_terms(selector: Mapping[str, Any]) -> list[Any] | None:
    """The terms of a NodeSelector."""
    return _each(selector.get("nodeSelectorTerms"), _term)


def _term(term: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "MatchExpressions": _each(term.get("matchExpressions"), _requirement),
        "MatchFields": _each(term.get("matchFields"), _requirement),
    }


def _requirement(item: Mapping[str, Any]) -> dict[str, Any]:
    return internal_form(item, _TERM_REQUIREMENT)


def _request(request: Mapping[str, Any]) -> dict[str, Any]:
    exactly = request.get("exactly")
    return {
        "Name": request.get("name", ""),
        "Exactly": None if exactly is None else _details(exactly),
        "FirstAvailable": _each(request.get("firstAvailable"), _subrequest),
    }


def _subrequest(request: Mapping[str, Any]) -> dict[str, Any]:
    details = _details(request)
    del details["AdminAccess"]
    return {"Name": request.get("name", ""), **details}


def _details(request: Mapping[str, Any]) -> dict[str, Any]:
    form = internal_form(request, _REQUEST_DETAILS)
    form["Selectors"] = _each(form["Selectors"], _selector)
    form["Tolerations"] = _each(form["Tolerations"], lambda item: internal_form(item, _TOLERATION))
    if form["Capacity"] is not None:
        form["Capacity"] = {"Requests": sorted_map(form["Capacity"].get("requests"))}
    return form


def _selector(selector: Mapping[str, Any]) -> dict[str, Any]:
    expression = selector.get("cel")
    return {"CEL": None if expression is None else {"Expression": expression.get("expression", "")}}


def _configuration(configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    opaque = configuration.get("opaque")
    if opaque is None:
        return None
    return {"Driver": opaque.get("driver", ""), "Parameters": opaque.get("parameters")}


def _claim_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {"Requests": configuration.get("requests"), "Opaque": _configuration(configuration)}


def _allocation_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {"Source": configuration.get("source", ""), **_claim_configuration(configuration)}


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    form = internal_form(result, _RESULT)
    form["Tolerations"] = _each(form["Tolerations"], lambda item: internal_form(item, _TOLERATION))
    form["ConsumedCapacity"] = sorted_map(form["ConsumedCapacity"])
    return form
