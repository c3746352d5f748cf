"""ResourceSlice: what a driver says there is, device by device, in one pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, go_quoted, invalid
from fairlead.embedded.apiserver.kinds import dra_layouts
from fairlead.embedded.apiserver.kinds.dra_devices import check_counter_set, check_device, check_one_choice
from fairlead.embedded.apiserver.kinds.dra_rules import check_driver, check_list, check_pool_name
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import dns_subdomain
from fairlead.embedded.apiserver.kinds.selectors import validate_node_selector
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

DEVICES_LIMIT = 128
DEVICES_LIMIT_WITH_FEATURES = 64
"""Taints and counters make devices larger, so a slice holds fewer of them."""
COUNTER_SETS_LIMIT = 8

_UNSERVED_DEVICE_FIELDS = ("nodeAllocatableResourceMappings",)
_UNSERVED_ATTRIBUTE_FIELDS = ("bools", "ints", "strings", "versions")
_NODES_REQUIRED = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


class SliceStrategy(ClusterStrategy):
    """ResourceSlice."""

    def default_times(self, obj: Object, context: RequestContext) -> None:
        for device in (obj.get("spec") or {}).get("devices") or ():
            for taint in device.get("taints") or ():
                taint["timeAdded"] = taint.get("timeAdded") or context.now

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        _drop_unserved(obj)

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        _drop_unserved(new)

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        driver = (obj.get("spec") or {}).get("driver", "")
        if driver == driver.lower():
            return ()
        return (f"spec.driver: driver names should be lowercase; {go_quoted(driver)} contains uppercase characters",)

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        _check_spec(errors, obj.get("spec") or {}, None)
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        _check_spec(errors, new.get("spec") or {}, old.get("spec") or {})
        return errors


def _drop_unserved(obj: Object) -> None:
    for device in (obj.get("spec") or {}).get("devices") or ():
        for key in _UNSERVED_DEVICE_FIELDS:
            device.pop(key, None)
        for attribute in (device.get("attributes") or {}).values():
            for key in _UNSERVED_ATTRIBUTE_FIELDS:
                attribute.pop(key, None)


def _check_spec(errors: Errors, spec: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
    check_driver(errors, spec.get("driver", ""), "spec.driver")
    _check_pool(errors, spec.get("pool") or {}, "spec.pool")
    if old is not None:
        _check_unchanged(errors, spec, old)
    _check_nodes(errors, spec)
    devices, counter_sets = spec.get("devices"), spec.get("sharedCounters")
    # An empty list counts as one that is there.
    if devices is not None and counter_sets is not None:
        errors.append(invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    old_devices = {device.get("name"): device for device in (old or {}).get("devices") or ()}

    def check(errors: Errors, device: Mapping[str, Any], path: str) -> None:
        chooses_nodes = bool(spec.get("perDeviceNodeSelection"))
        check_device(errors, device, path, old=old_devices.get(device.get("name")), chooses_nodes=chooses_nodes)

    check_list(errors, devices, "spec.devices", check, limit=_devices_limit(devices or ()), key=_name_of)
    check_list(errors, counter_sets, "spec.sharedCounters", check_counter_set, limit=COUNTER_SETS_LIMIT, key=_name_of)


def _check_unchanged(errors: Errors, spec: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    name, name_before = ((part.get("pool") or {}).get("name", "") for part in (spec, old))
    check_immutable(errors, name, name_before, "spec.pool.name")
    check_immutable(errors, spec.get("driver", ""), old.get("driver", ""), "spec.driver")
    check_immutable(errors, spec.get("nodeName"), old.get("nodeName"), "spec.nodeName")


def _name_of(item: Mapping[str, Any]) -> str:
    return str(item.get("name", ""))


def _devices_limit(devices: Sequence[Mapping[str, Any]]) -> int:
    featured = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    return DEVICES_LIMIT_WITH_FEATURES if featured else DEVICES_LIMIT


def _check_pool(errors: Errors, pool: Mapping[str, Any], path: str) -> None:
    check_pool_name(errors, pool.get("name", ""), f"{path}.name")
    count, generation = pool.get("resourceSliceCount", 0), pool.get("generation", 0)
    if count <= 0:
        errors.append(invalid(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        errors.append(invalid(f"{path}.generation", generation, "must be greater than or equal to zero"))


def _check_nodes(errors: Errors, spec: Mapping[str, Any]) -> None:
    chosen = []
    name, selector = spec.get("nodeName"), spec.get("nodeSelector")
    if name:
        chosen.append("`nodeName`")
        add_each(errors, "spec.nodeName", name, dns_subdomain(name))
    elif name is not None:
        errors.append(invalid("spec.nodeName", name, "must be either unset or set to a non-empty string"))
    if selector is not None:
        chosen.append("`nodeSelector`")
        validate_node_selector(errors, selector, "spec.nodeSelector")
        # One term keeps selectors of several slices mergeable.
        if len(selector.get("nodeSelectorTerms") or ()) != 1:
            terms = dra_layouts.node_selector_terms(selector)
            detail = "must have exactly one node selector term"
            errors.append(invalid("spec.nodeSelector.nodeSelectorTerms", terms, detail))
    for key in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(key):
            chosen.append(f"`{key}`")
        elif spec.get(key) is not None:
            errors.append(invalid(f"spec.{key}", spec[key], "must be either unset or set to true"))
    check_one_choice(errors, chosen, "spec", _NODES_REQUIRED, f"{_NODES_REQUIRED}, but multiple fields are set")
