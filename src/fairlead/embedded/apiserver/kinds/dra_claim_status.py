"""The status of a ResourceClaim: which devices it got, who may use it, and what drivers report about the devices.

An allocation is written once: it can be taken back as a whole, never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, invalid, not_supported, required, too_long
from fairlead.embedded.apiserver.kinds import dra_layouts
from fairlead.embedded.apiserver.kinds.conditions import validate_conditions
from fairlead.embedded.apiserver.kinds.dra_requests import (
    ADMIN_REFUSED,
    CONFIGURATIONS_LIMIT,
    RequestNames,
    check_request_reference,
    check_request_references,
    is_admin_namespace,
    request_names,
)
from fairlead.embedded.apiserver.kinds.dra_rules import (
    check_binding_conditions,
    check_configuration,
    check_driver,
    check_label,
    check_list,
    check_pool_name,
    check_raw_object,
    check_share_id,
    default_tolerations,
)
from fairlead.embedded.apiserver.kinds.errors import IMMUTABLE, Errors
from fairlead.embedded.apiserver.kinds.selectors import validate_node_selector
from fairlead.embedded.apiserver.registry import Object, RequestContext

RESERVED_FOR_LIMIT = 256
RESULTS_LIMIT = 32
DEVICE_CONDITIONS_LIMIT = 8
DEVICE_DATA_LIMIT_BYTES = 10 * 1024
INTERFACE_NAME_LIMIT = 256
HARDWARE_ADDRESS_LIMIT = 128
ADDRESSES_LIMIT = 16

_SOURCES = ("FromClaim", "FromClass")
_NOT_AN_INTERFACE_ADDRESS = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"

DeviceId = tuple[str, str, str, str]


def default_results(status: Mapping[str, Any]) -> None:
    """Defaults of the tolerations that an allocation copied from its requests, in place."""
    devices = (status.get("allocation") or {}).get("devices") or {}
    for result in devices.get("results") or ():
        default_tolerations(result)


def drop_deallocated_devices(new: Object, old: Object) -> None:
    """Forget what drivers reported about devices that this update deallocates, in place."""
    status = new.get("status") or {}
    lost = _allocated(old.get("status") or {}) - _allocated(status)
    if lost and status.get("devices"):
        kept = [device for device in status["devices"] if _device_id(device) not in lost]
        if kept:
            status["devices"] = kept
        else:
            del status["devices"]


def check_status(errors: Errors, new: Object, old: Object, context: RequestContext) -> None:
    """All of a status update."""
    status, before = new.get("status") or {}, old.get("status") or {}
    allocation, allocated_before = status.get("allocation"), before.get("allocation")
    check_list(
        errors,
        status.get("reservedFor"),
        "status.reservedFor",
        _check_consumer,
        limit=RESERVED_FOR_LIMIT,
        key=lambda consumer: consumer.get("uid", ""),
    )
    _check_device_statuses(errors, status)
    _check_reservations(errors, status, before, is_deleted=bool(new["metadata"].get("deletionTimestamp")))
    if allocation is None:
        return
    if allocated_before is not None:
        if allocation != allocated_before:
            errors.append(invalid("status.allocation", dra_layouts.allocation(allocation), IMMUTABLE))
        return
    names = request_names((new.get("spec") or {}).get("devices") or {})
    _check_allocation(errors, allocation, "status.allocation", names)
    _check_admin_results(errors, allocation, context)


def _check_consumer(errors: Errors, consumer: Mapping[str, Any], path: str) -> None:
    for key in ("resource", "name", "uid"):
        if not consumer.get(key):
            errors.append(required(f"{path}.{key}"))


def _check_reservations(
    errors: Errors, status: Mapping[str, Any], before: Mapping[str, Any], *, is_deleted: bool
) -> None:
    reserved = status.get("reservedFor") or ()
    if not reserved:
        return
    if status.get("allocation") is None:
        errors.append(forbidden("status.reservedFor", "may not be specified when `allocated` is not set"))
    elif is_deleted and any(consumer not in (before.get("reservedFor") or ()) for consumer in reserved):
        detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(forbidden("status.reservedFor", detail))


def _device_id(device: Mapping[str, Any]) -> DeviceId:
    driver, pool, name, share = (device.get(key) or "" for key in ("driver", "pool", "device", "shareID"))
    return (driver, pool, name, share)


def _shown_id(device: Mapping[str, Any]) -> dict[str, str]:
    return dict(zip(("Driver", "Pool", "Device", "ShareID"), _device_id(device), strict=True))


def _allocated(status: Mapping[str, Any]) -> set[DeviceId]:
    devices = (status.get("allocation") or {}).get("devices") or {}
    return {_device_id(result) for result in devices.get("results") or ()}


def _check_device_statuses(errors: Errors, status: Mapping[str, Any]) -> None:
    allocated = _allocated(status)

    def check(errors: Errors, device: Mapping[str, Any], path: str) -> None:
        _check_device_status(errors, device, path, is_allocated=_device_id(device) in allocated)

    check_list(errors, status.get("devices"), "status.devices", check, key=_shown_id)


def _check_device_status(errors: Errors, device: Mapping[str, Any], path: str, *, is_allocated: bool) -> None:
    check_driver(errors, device.get("driver", ""), f"{path}.driver")
    check_pool_name(errors, device.get("pool", ""), f"{path}.pool")
    check_label(errors, device.get("device", ""), f"{path}.device")
    if device.get("shareID") is not None:
        check_share_id(errors, device["shareID"], f"{path}.shareID")
    if not is_allocated:
        errors.append(invalid(path, _shown_id(device), "must be an allocated device in the claim"))
    validate_conditions(errors, device.get("conditions"), f"{path}.conditions", limit=DEVICE_CONDITIONS_LIMIT)
    if device.get("data") is not None:
        check_raw_object(errors, device["data"], f"{path}.data", limit_bytes=DEVICE_DATA_LIMIT_BYTES)
    if device.get("networkData") is not None:
        _check_network_data(errors, device["networkData"], f"{path}.networkData")


def _check_network_data(errors: Errors, data: Mapping[str, Any], path: str) -> None:
    for key, limit in (("interfaceName", INTERFACE_NAME_LIMIT), ("hardwareAddress", HARDWARE_ADDRESS_LIMIT)):
        if len((data.get(key) or "").encode()) > limit:
            errors.append(too_long(f"{path}.{key}", limit))
    check_list(errors, data.get("ips"), f"{path}.ips", _check_interface_address, limit=ADDRESSES_LIMIT, key=str)


def _check_interface_address(errors: Errors, address: str, path: str) -> None:
    try:
        if "/" not in address or "%" in address:
            raise ValueError(address)
        interface = ip_interface(address)
    except ValueError:
        errors.append(invalid(path, address, _NOT_AN_INTERFACE_ADDRESS))
        return
    if str(interface) != address:
        errors.append(invalid(path, address, f'must be in canonical form ("{interface}")'))


def _check_allocation(errors: Errors, allocation: Mapping[str, Any], path: str, names: RequestNames) -> None:
    devices = allocation.get("devices") or {}

    def result(errors: Errors, item: Mapping[str, Any], path: str) -> None:
        _check_result(errors, item, path, names)

    def configuration(errors: Errors, item: Mapping[str, Any], path: str) -> None:
        _check_source(errors, item.get("source", ""), f"{path}.source")
        check_request_references(errors, item.get("requests"), f"{path}.requests", names)
        check_configuration(errors, item, path)

    check_list(errors, devices.get("results"), f"{path}.devices.results", result, limit=RESULTS_LIMIT)
    # Configurations of classes and of the claim come together.
    check_list(errors, devices.get("config"), f"{path}.devices.config", configuration, limit=2 * CONFIGURATIONS_LIMIT)
    if allocation.get("nodeSelector") is not None:
        validate_node_selector(errors, allocation["nodeSelector"], f"{path}.nodeSelector")


def _check_result(errors: Errors, result: Mapping[str, Any], path: str, names: RequestNames) -> None:
    check_request_reference(errors, result.get("request", ""), f"{path}.request", names)
    check_driver(errors, result.get("driver", ""), f"{path}.driver")
    check_pool_name(errors, result.get("pool", ""), f"{path}.pool")
    check_label(errors, result.get("device", ""), f"{path}.device")
    check_binding_conditions(errors, result, path)
    if result.get("shareID") is not None:
        check_share_id(errors, result["shareID"], f"{path}.shareID")


def _check_source(errors: Errors, source: str, path: str) -> None:
    if not source:
        errors.append(required(path))
    elif source not in _SOURCES:
        errors.append(not_supported(path, source, _SOURCES))


def _check_admin_results(errors: Errors, allocation: Mapping[str, Any], context: RequestContext) -> None:
    results = (allocation.get("devices") or {}).get("results") or ()
    for index, result in enumerate(results):
        if result.get("adminAccess"):
            if not is_admin_namespace(context):
                errors.append(forbidden(f"status.allocation.devices.results[{index}].adminAccess", ADMIN_REFUSED))
            return
