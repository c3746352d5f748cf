"""The devices of a ResourceSlice: attributes, capacity with its request policy, counters, taints, node selection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, invalid, required, too_long
from fairlead.embedded.apiserver.kinds import dra_layouts
from fairlead.embedded.apiserver.kinds.dra_policy import check_request_policy
from fairlead.embedded.apiserver.kinds.dra_rules import (
    DOMAIN_LIMIT,
    IDENTIFIER_LIMIT,
    check_attribute_name,
    check_binding_conditions,
    check_label,
    check_list,
    check_map,
    check_required_label,
    check_taint,
)
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import dns_subdomain
from fairlead.embedded.apiserver.kinds.selectors import validate_node_selector

ATTRIBUTES_AND_CAPACITIES_LIMIT = 32
ATTRIBUTE_VALUE_LIMIT = 64
CONSUMED_SETS_LIMIT = 2
COUNTERS_LIMIT = 32
TAINTS_LIMIT = 16

_SEMANTIC_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)
_KEY_SHOWN = DOMAIN_LIMIT + 1 + IDENTIFIER_LIMIT
_ONE_NODE_CHOICE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NO_NODE_CHOICE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def check_device(
    errors: Errors,
    device: Mapping[str, Any],
    path: str,
    *,
    old: Mapping[str, Any] | None,
    chooses_nodes: bool,
) -> None:
    """One device; `old` is the one of that name before an update. Taints are looked at when they change.

    `chooses_nodes` says that each device of the slice tells where it is.
    """
    check_label(errors, device.get("name", ""), f"{path}.name")
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    total = len(attributes) + len(capacity)
    if total > ATTRIBUTES_AND_CAPACITIES_LIMIT:
        limit = ATTRIBUTES_AND_CAPACITIES_LIMIT
        detail = f"the total number of attributes and capacities must not exceed {limit}"
        errors.append(invalid(path, total, detail))
    check_map(errors, attributes, f"{path}.attributes", check_attribute_name, _check_attribute, shown_key=_KEY_SHOWN)
    check_value = check_shared_capacity if device.get("allowMultipleAllocations") else _check_capacity
    check_map(errors, capacity, f"{path}.capacity", check_attribute_name, check_value, shown_key=_KEY_SHOWN)
    if old is None or old.get("taints") != device.get("taints"):
        check_list(errors, device.get("taints"), f"{path}.taints", check_taint, limit=TAINTS_LIMIT)
    check_list(
        errors,
        device.get("consumesCounters"),
        f"{path}.consumesCounters",
        _check_consumption,
        limit=CONSUMED_SETS_LIMIT,
        key=lambda consumption: consumption.get("counterSet", ""),
    )
    if chooses_nodes:
        _check_node_choice(errors, device, path)
    elif any(device.get(key) is not None for key in ("nodeName", "nodeSelector", "allNodes")):
        errors.append(invalid(path, None, _NO_NODE_CHOICE))
    check_binding_conditions(errors, device, path)


def _check_node_choice(errors: Errors, device: Mapping[str, Any], path: str) -> None:
    chosen = []
    name, selector, everywhere = device.get("nodeName"), device.get("nodeSelector"), device.get("allNodes")
    if name:
        chosen.append("`nodeName`")
        add_each(errors, f"{path}.nodeName", name, dns_subdomain(name))
    elif name is not None:
        errors.append(invalid(f"{path}.nodeName", name, "must not be empty"))
    if selector is not None:
        chosen.append("`nodeSelector`")
        validate_node_selector(errors, selector, f"{path}.nodeSelector")
    if everywhere:
        chosen.append("`allNodes`")
    elif everywhere is not None:
        errors.append(invalid(f"{path}.allNodes", everywhere, "must be either unset or set to true"))
    check_one_choice(errors, chosen, path, _ONE_NODE_CHOICE, _ONE_NODE_CHOICE)


def check_one_choice(errors: Errors, chosen: Sequence[str], path: str, none: str, several: str) -> None:
    """Exactly one of some fields, given the names of those that are set."""
    if not chosen:
        errors.append(required(path, none))
    elif len(chosen) > 1:
        errors.append(invalid(path, "{" + ", ".join(chosen) + "}", several))


def _check_attribute(errors: Errors, attribute: Mapping[str, Any], path: str) -> None:
    text, version = attribute.get("string"), attribute.get("version")
    if text is not None and len(text.encode()) > ATTRIBUTE_VALUE_LIMIT:
        errors.append(too_long(f"{path}.string", ATTRIBUTE_VALUE_LIMIT))
    if version is not None:
        if not _SEMANTIC_VERSION.fullmatch(version):
            detail = "must be a string compatible with semver.org spec 2.0.0"
            errors.append(invalid(f"{path}.version", version, detail))
        if len(version.encode()) > ATTRIBUTE_VALUE_LIMIT:
            errors.append(too_long(f"{path}.version", ATTRIBUTE_VALUE_LIMIT))
    values = sum(attribute.get(key) is not None for key in ("bool", "int", "string", "version"))
    if values == 0:
        errors.append(invalid(path, "", "exactly one value must be specified"))
    elif values > 1:
        errors.append(invalid(path, dra_layouts.attribute(attribute), "exactly one value must be specified"))


def _check_capacity(errors: Errors, capacity: Mapping[str, Any], path: str) -> None:
    if capacity.get("requestPolicy") is not None:
        errors.append(forbidden(f"{path}.requestPolicy", "allowMultipleAllocations must be true"))


def check_shared_capacity(errors: Errors, capacity: Mapping[str, Any], path: str) -> None:
    """Capacity of a device that several allocations share."""
    policy = capacity.get("requestPolicy")
    if policy is not None:
        check_request_policy(errors, policy, capacity.get("value", "0"), f"{path}.requestPolicy")


def _check_consumption(errors: Errors, consumption: Mapping[str, Any], path: str) -> None:
    check_required_label(errors, consumption.get("counterSet", ""), f"{path}.counterSet")
    check_counters(errors, consumption.get("counters"), f"{path}.counters")


def check_counter_set(errors: Errors, counter_set: Mapping[str, Any], path: str) -> None:
    """A set of counters that the devices of a pool share."""
    check_required_label(errors, counter_set.get("name", ""), f"{path}.name")
    check_counters(errors, counter_set.get("counters"), f"{path}.counters")


def check_counters(errors: Errors, counters: Mapping[str, Any] | None, path: str) -> None:
    """At least one counter; any quantity is a counter's value."""
    if not counters:
        errors.append(required(path))
        return
    check_map(errors, counters, path, check_label, lambda errors, value, path: None, limit=COUNTERS_LIMIT)
