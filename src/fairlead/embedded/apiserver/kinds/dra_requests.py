"""What a claim asks for: requests (exact, or the first available of several), constraints between them, configuration.

Claims and claim templates share these rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.dra_rules import (
    check_class_name,
    check_configuration,
    check_full_attribute_name,
    check_label,
    check_list,
    check_tolerations,
    default_tolerations,
)
from fairlead.embedded.apiserver.kinds.dra_selectors import check_selectors
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.registry import RequestContext

REQUESTS_LIMIT = 32
SUBREQUESTS_LIMIT = 8
CONSTRAINTS_LIMIT = 32
CONFIGURATIONS_LIMIT = 32

ADMIN_LABEL = "resource.kubernetes.io/admin-access"
ADMIN_REFUSED = f"admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"

_MODES = ("All", "ExactCount")
_ONE_KIND = "exactly one of `exactly` or `firstAvailable` is required"
_UNKNOWN_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

RequestNames = Mapping[str, frozenset[str]]
"""Request name -> names of its subrequests."""


def default_devices(devices: Mapping[str, Any]) -> None:
    """Defaults of every request, in place: one device, tolerations by equality."""
    for request in devices.get("requests") or ():
        exactly = request.get("exactly")
        if exactly is not None:
            _default_details(exactly)
        for subrequest in request.get("firstAvailable") or ():
            _default_details(subrequest)


def _default_details(details: dict[str, Any]) -> None:
    details["allocationMode"] = details.get("allocationMode") or "ExactCount"
    if details["allocationMode"] == "ExactCount" and not details.get("count"):
        details["count"] = 1
    default_tolerations(details)


def request_names(devices: Mapping[str, Any]) -> RequestNames:
    """The names that constraints, configurations and results may refer to."""
    return {
        request.get("name", ""): frozenset(sub.get("name", "") for sub in request.get("firstAvailable") or ())
        for request in devices.get("requests") or ()
    }


def check_devices(errors: Errors, devices: Mapping[str, Any], path: str) -> None:
    """The device part of a claim's spec."""
    names = request_names(devices)

    def constraint(errors: Errors, item: Mapping[str, Any], path: str) -> None:
        _check_constraint(errors, item, path, names)

    def configuration(errors: Errors, item: Mapping[str, Any], path: str) -> None:
        check_request_references(errors, item.get("requests"), f"{path}.requests", names)
        check_configuration(errors, item, path)

    check_list(errors, devices.get("requests"), f"{path}.requests", _check_request, limit=REQUESTS_LIMIT, key=_name_of)
    check_list(errors, devices.get("constraints"), f"{path}.constraints", constraint, limit=CONSTRAINTS_LIMIT)
    check_list(errors, devices.get("config"), f"{path}.config", configuration, limit=CONFIGURATIONS_LIMIT)


def _name_of(item: Mapping[str, Any]) -> str:
    return str(item.get("name", ""))


def _check_request(errors: Errors, request: Mapping[str, Any], path: str) -> None:
    check_label(errors, request.get("name", ""), f"{path}.name")
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable")
    if exactly is not None and alternatives:
        errors.append(invalid(path, None, f"{_ONE_KIND}, but multiple fields are set"))
    elif exactly is not None:
        _check_details(errors, exactly, f"{path}.exactly")
    elif alternatives:
        check_list(
            errors,
            alternatives,
            f"{path}.firstAvailable",
            _check_subrequest,
            limit=SUBREQUESTS_LIMIT,
            key=_name_of,
        )
    else:
        errors.append(required(path, _ONE_KIND))


def _check_subrequest(errors: Errors, request: Mapping[str, Any], path: str) -> None:
    check_label(errors, request.get("name", ""), f"{path}.name")
    _check_details(errors, request, path)


def _check_details(errors: Errors, details: Mapping[str, Any], path: str) -> None:
    check_class_name(errors, details.get("deviceClassName", ""), f"{path}.deviceClassName")
    check_selectors(errors, details.get("selectors"), f"{path}.selectors")
    mode, count = details.get("allocationMode", ""), details.get("count", 0)
    if mode == "All":
        if count:
            errors.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    elif mode == "ExactCount":
        if count <= 0:
            errors.append(invalid(f"{path}.count", count, "must be greater than zero"))
    else:
        errors.append(not_supported(f"{path}.allocationMode", mode, _MODES))
    check_tolerations(errors, details.get("tolerations"), f"{path}.tolerations")


def _check_constraint(errors: Errors, constraint: Mapping[str, Any], path: str, names: RequestNames) -> None:
    check_request_references(errors, constraint.get("requests"), f"{path}.requests", names)
    for key in ("matchAttribute", "distinctAttribute"):
        attribute = constraint.get(key)
        if attribute is not None:
            check_full_attribute_name(errors, attribute, f"{path}.{key}")
            return
    detail = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    errors.append(required(path, detail))


def check_request_references(errors: Errors, references: Sequence[str] | None, path: str, names: RequestNames) -> None:
    """A list of references to requests, without repetition."""

    def check(errors: Errors, reference: str, path: str) -> None:
        check_request_reference(errors, reference, path, names)

    check_list(errors, references, path, check, limit=REQUESTS_LIMIT, key=str)


def check_request_reference(errors: Errors, reference: str, path: str, names: RequestNames) -> None:
    """The name of a request, or of a request and a subrequest of it."""
    request, *rest = reference.split("/")
    if len(rest) > 1:
        errors.append(invalid(path, reference, _UNKNOWN_REQUEST))
        return
    for segment in (request, *rest):
        check_label(errors, segment, path)
    if request not in names or (rest and rest[0] not in names[request]):
        errors.append(invalid(path, reference, _UNKNOWN_REQUEST))


def check_admin_requests(devices: Mapping[str, Any], context: RequestContext) -> Sequence[FieldError]:
    """Whether the namespace allows the first request for admin access there is."""
    for index, request in enumerate(devices.get("requests") or ()):
        if (request.get("exactly") or {}).get("adminAccess"):
            if is_admin_namespace(context):
                return ()
            return (forbidden(f"spec.devices.requests[{index}].adminAccess", ADMIN_REFUSED),)
    return ()


def is_admin_namespace(context: RequestContext) -> bool:
    namespace = context.lookup("", "namespaces", "", context.namespace) or {}
    labels = namespace.get("metadata", {}).get("labels") or {}
    return labels.get(ADMIN_LABEL) == "true"
