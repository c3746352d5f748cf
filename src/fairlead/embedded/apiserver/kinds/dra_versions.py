"""resource.k8s.io/v1beta1 and its differences from v1, the stored version.

In v1beta1 an exact request is written into the request itself, and a device's properties lie one level deeper, under
`basic`. v1beta2 differs from v1 in nothing but its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairlead.embedded.apiserver.registry import Object

_DETAILS = ("deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity")


def claim_to_v1(obj: Object) -> Object:
    """A ResourceClaim of v1beta1 in v1."""
    return _with_requests(obj, ("spec", "devices"), _request_to_v1)


def claim_from_v1(obj: Object) -> Object:
    return _with_requests(obj, ("spec", "devices"), _request_from_v1)


def template_to_v1(obj: Object) -> Object:
    """A ResourceClaimTemplate of v1beta1 in v1."""
    return _with_requests(obj, ("spec", "spec", "devices"), _request_to_v1)


def template_from_v1(obj: Object) -> Object:
    return _with_requests(obj, ("spec", "spec", "devices"), _request_from_v1)


def slice_to_v1(obj: Object) -> Object:
    """A ResourceSlice of v1beta1 in v1."""
    return _with_items(obj, ("spec",), "devices", lambda device: {"name": device.get("name", ""), **_basic(device)})


def slice_from_v1(obj: Object) -> Object:
    def convert(device: Object) -> Object:
        properties = {key: value for key, value in device.items() if key != "name"}
        return {"name": device.get("name", ""), "basic": properties}

    return _with_items(obj, ("spec",), "devices", convert)


def _basic(device: Object) -> Object:
    basic = device.get("basic")
    return {} if basic is None else dict(basic)


def _request_to_v1(request: Object) -> Object:
    converted = {key: value for key, value in request.items() if key not in _DETAILS}
    details = {key: request[key] for key in _DETAILS if request.get(key) not in (None, "", 0, [])}
    if details:
        converted["exactly"] = {"deviceClassName": "", **details}
        if request.get("adminAccess") is not None:
            converted["exactly"]["adminAccess"] = request["adminAccess"]
    return converted


def _request_from_v1(request: Object) -> Object:
    converted = {key: value for key, value in request.items() if key != "exactly"}
    exactly = request.get("exactly")
    # The class is part of every request of v1beta1, be it empty.
    converted.update({"deviceClassName": ""} if exactly is None else exactly)
    return converted


def _with_requests(obj: Object, path: tuple[str, ...], convert: Callable[[Object], Object]) -> Object:
    return _with_items(obj, path, "requests", convert)


def _with_items(obj: Object, path: tuple[str, ...], key: str, convert: Callable[[Object], Object]) -> Object:
    """A copy of an object, with the items of one list converted; everything else is shared."""
    copied: dict[str, Any] = dict(obj)
    holder = copied
    for step in path:
        child = holder.get(step)
        if not isinstance(child, dict):
            return copied
        holder[step] = holder = dict(child)
    if holder.get(key):
        holder[key] = [convert(item) for item in holder[key]]
    return copied
