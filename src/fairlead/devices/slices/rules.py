"""The API's rules for what a driver publishes, checked before anything is sent: errors name the device and the rule.

The server would refuse the same (`pkg/apis/resource/validation` of Kubernetes 1.36), but by a path like
`spec.devices[41].attributes[x]` in one of several slices, and some only after half the pool is written. Checked beyond
what a server checks per slice, because an allocator would call the whole pool invalid: names unique over all slices,
counters that exist; and, because it can never be asked for: a device that consumes more than there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from fairlead.devices.errors import InventoryError
from fairlead.devices.inventory import Attribute, Capacity, Device, Inventory, Version
from fairlead.devices.slices.policy import MAX_QUANTITY, policy_problems
from fairlead.kube.names import dns_label_errors, dns_subdomain_errors, label_key_errors, label_value_errors
from fairlead.kube.objects import DeviceTaint
from fairlead.kube.quantity import Quantity, parse_quantity

MAX_DRIVER_NAME: Final = 63
MAX_POOL_NAME: Final = 253
MAX_IDENTIFIER: Final = 32
MAX_ATTRIBUTES_AND_CAPACITIES: Final = 32
MAX_ATTRIBUTE_VALUES: Final = 48
MAX_ATTRIBUTE_BYTES: Final = 64
MAX_CONSUMED_SETS: Final = 2
MAX_COUNTERS: Final = 32
MAX_CONDITIONS: Final = 4
MAX_TAINTS: Final = 16
"""Limits of `resource/v1/types.go`."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRE_RELEASE: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}"
    rf"(?:-{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_EFFECTS: Final = ("None", "NoSchedule", "NoExecute")
_INT64: Final = range(-(2**63), 2**63)

Problem = tuple[str, str]
"""A rule's name and a clause that says what breaks it."""


def check_pool(driver: str, pool: str) -> None:
    """Names of driver and pool. Raises InventoryError."""
    if not driver or len(driver) > MAX_DRIVER_NAME or dns_subdomain_errors(driver.lower()):
        raise InventoryError(
            f'driver name "{driver}" must be a DNS subdomain of at most {MAX_DRIVER_NAME} characters '
            f'("gpu.example.com")',
            rule="driver-name",
        )
    if not pool or len(pool) > MAX_POOL_NAME or any(dns_subdomain_errors(part) for part in pool.split("/")):
        raise InventoryError(
            f'pool name "{pool}" must be DNS subdomains, separated by slashes, of at most {MAX_POOL_NAME} characters',
            rule="pool-name",
        )


def check_inventory(
    inventory: Inventory, taints: Mapping[str, Sequence[DeviceTaint]] | None = None, *, driver: str
) -> None:
    """Every rule, in the order of the inventory. Raises InventoryError for the first that is broken."""
    sets = {name: _check_counter_set(name, counters) for name, counters in inventory.counters.items()}
    names: set[str] = set()
    for device in inventory.devices:
        for rule, problem in _device_problems(device, names, sets, driver):
            raise InventoryError(f'device "{device.name}": {problem}', device=device.name, rule=rule)
        names.add(device.name)
    for name, of_device in (taints or {}).items():
        if name not in names:
            raise InventoryError(
                f'taints are given for device "{name}", which the inventory does not have',
                device=name,
                rule="unknown-device",
            )
        for rule, problem in _taint_problems(of_device):
            raise InventoryError(f'device "{name}": {problem}', device=name, rule=rule)


def _check_counter_set(name: str, counters: Mapping[str, str]) -> dict[str, Quantity]:
    """The amounts of a counter set."""
    if dns_label_errors(name):
        raise InventoryError(f'counter set name "{name}" must be a DNS label ("card-0")', rule="counter-set-name")
    for rule, problem in _counter_problems(counters):
        raise InventoryError(f'counter set "{name}": {problem}', rule=rule)
    return {counter: parse_quantity(value) for counter, value in counters.items()}


def _device_problems(
    device: Device, names: set[str], sets: Mapping[str, Mapping[str, Quantity]], driver: str
) -> Iterator[Problem]:
    if dns_label_errors(device.name):
        yield "name", 'the name must be a DNS label: lower case letters, digits and "-", at most 63 characters'
    if device.name in names:
        yield "duplicate-name", "another device of the inventory has the same name; names must be unique in a pool"
    if device.parent and device.parent == device.name:
        yield "parent", "it is its own parent"
    yield from _count_problems(device)
    yield from _spelling_problems(device.attributes, "attribute", driver)
    yield from _spelling_problems(device.capacity, "capacity", driver)
    for name, value in device.attributes.items():
        yield from _name_problems(name, "attribute")
        yield from _attribute_problems(name, value)
    for name, capacity in device.capacity.items():
        yield from _name_problems(name, "capacity")
        yield from _capacity_problems(name, capacity, device)
    yield from _consumption_problems(device, sets)
    yield from _condition_problems(device)


def _count_problems(device: Device) -> Iterator[Problem]:
    total = len(device.attributes) + len(device.capacity)
    if total > MAX_ATTRIBUTES_AND_CAPACITIES:
        limit = MAX_ATTRIBUTES_AND_CAPACITIES
        yield "attribute-count", f"it has {total} attributes and capacities, the API allows {limit} together"
    values = sum(len(value) if isinstance(value, tuple) else 1 for value in device.attributes.values())
    if values > MAX_ATTRIBUTE_VALUES:
        yield "value-count", f"its attributes have {values} values, the API allows {MAX_ATTRIBUTE_VALUES}"


def _spelling_problems(names: Iterable[str], what: str, driver: str) -> Iterator[Problem]:
    """A name without a domain means the driver's own domain: both spellings at once are the same name twice."""
    known = set(names)
    for name in known:
        own = f"{driver}/{name}"
        if own in known:
            yield f"duplicate-{what}", f'{what} "{name}" and "{own}" are the same name; give one of them'


def _name_problems(name: str, what: str) -> Iterator[Problem]:
    *domains, identifier = name.split("/")
    if len(domains) > 1:
        yield f"{what}-name", f'{what} name "{name}" must not contain more than one slash'
    for domain in domains[:1]:
        if not domain or len(domain) > MAX_DRIVER_NAME or dns_subdomain_errors(domain.lower()):
            yield (
                f"{what}-domain",
                f'{what} "{name}": the domain "{domain}" must be a DNS subdomain of at most {MAX_DRIVER_NAME} '
                "characters",
            )
    if len(identifier) > MAX_IDENTIFIER or not _IDENTIFIER.fullmatch(identifier):
        yield (
            f"{what}-name",
            f'{what} "{name}": "{identifier}" must be a C identifier of at most {MAX_IDENTIFIER} characters',
        )


def _attribute_problems(name: str, value: Attribute) -> Iterator[Problem]:
    if not isinstance(value, tuple):
        yield from _value_problems(name, value)
        return
    if not value:
        yield "attribute-value", f'attribute "{name}" is an empty list; leave it out'
    if len({type(item) for item in value}) > 1:
        yield "attribute-value", f'attribute "{name}" is a list of different types; all values must be of one'
    for item in value:
        yield from _value_problems(name, item)


def _value_problems(name: str, value: bool | int | str) -> Iterator[Problem]:
    if isinstance(value, int):
        if value not in _INT64:
            yield "attribute-value", f'attribute "{name}" is {value}, beyond a 64 bit integer'
        return
    size = len(value.encode(errors="surrogatepass"))
    if size > MAX_ATTRIBUTE_BYTES:
        yield (
            "attribute-value",
            f'attribute "{name}" is {size} bytes long, the API allows {MAX_ATTRIBUTE_BYTES}: "{value[:80]}"',
        )
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        yield "attribute-value", f'attribute "{name}" is not valid Unicode'
    if isinstance(value, Version) and not _VERSION.fullmatch(value):
        yield (
            "attribute-version",
            f'attribute "{name}" is a version, but "{value[:80]}" is not one of semver.org 2.0.0 ("1.2.3")',
        )


def _quantity_problem(text: str) -> str | None:
    try:
        quantity = parse_quantity(text)
    except ValueError:
        return f'"{text}" is not a quantity ("80Gi", "500m", "4")'
    if quantity.amount < 0:
        return f'"{text}" is below zero'
    return f'"{text}" is beyond a 64 bit integer' if quantity.amount > MAX_QUANTITY else None


def _capacity_problems(name: str, capacity: Capacity, device: Device) -> Iterator[Problem]:
    problem = _quantity_problem(capacity.value)
    if problem:
        yield "capacity-value", f'capacity "{name}": {problem}'
        return
    policy = capacity.policy
    if policy is None:
        return
    if not device.shareable:
        yield (
            "policy",
            f'capacity "{name}" has a request policy, which only a shareable device may have; make the device '
            "shareable or drop the policy",
        )
        return
    for problem in policy_problems(policy, parse_quantity(capacity.value)):
        yield "policy", f'request policy of capacity "{name}": {problem}'


def _counter_problems(counters: Mapping[str, str]) -> Iterator[Problem]:
    if not counters:
        yield "counter-count", "it has no counters, at least one is needed"
    if len(counters) > MAX_COUNTERS:
        yield "counter-count", f"it has {len(counters)} counters, the API allows {MAX_COUNTERS}"
    for name, value in counters.items():
        if dns_label_errors(name):
            yield "counter-name", f'counter name "{name}" must be a DNS label ("pe-0")'
        problem = _quantity_problem(value)
        if problem:
            yield "counter-value", f'counter "{name}": {problem}'


def _consumption_problems(device: Device, sets: Mapping[str, Mapping[str, Quantity]]) -> Iterator[Problem]:
    if len(device.consumes) > MAX_CONSUMED_SETS:
        yield (
            "consumed-sets",
            f"it consumes from {len(device.consumes)} counter sets, the API allows {MAX_CONSUMED_SETS}",
        )
    for set_name, consumed in device.consumes.items():
        available = sets.get(set_name)
        if available is None:
            yield "unknown-counter-set", f'it consumes from counter set "{set_name}", which the inventory does not have'
            continue
        for rule, problem in _counter_problems(consumed):
            yield rule, f'of counter set "{set_name}" {problem}'
        for counter, value in consumed.items():
            if counter not in available:
                yield "unknown-counter", f'it consumes counter "{counter}", which counter set "{set_name}" has not'
            elif parse_quantity(value) > available[counter]:
                yield (
                    "counter-exceeded",
                    f'it consumes {value} of counter "{counter}", but counter set "{set_name}" has '
                    f"{available[counter]} in all",
                )


def _condition_problems(device: Device) -> Iterator[Problem]:
    wanted, failed = device.binding_conditions, device.binding_failure_conditions
    for what, names in (("binding conditions", wanted), ("binding failure conditions", failed)):
        if len(names) > MAX_CONDITIONS:
            yield "binding-conditions", f"it has {len(names)} {what}, the API allows {MAX_CONDITIONS}"
        if len(set(names)) < len(names):
            yield "binding-conditions", f"its {what} name one twice"
        for name in names:
            for problem in label_key_errors(name):
                yield "binding-conditions", f'of its {what} "{name}" {problem}'
    both = sorted(set(wanted) & set(failed))
    if both:
        yield "binding-conditions", f'"{both[0]}" is both a binding condition and a binding failure condition'
    if bool(wanted) != bool(failed):
        yield "binding-conditions", "binding conditions and binding failure conditions must be given together"


def _taint_problems(taints: Sequence[DeviceTaint]) -> Iterator[Problem]:
    if len(taints) > MAX_TAINTS:
        yield "taint-count", f"it has {len(taints)} taints, the API allows {MAX_TAINTS}"
    for taint in taints:
        for problem in label_key_errors(taint.key):
            yield "taint-key", f'taint key "{taint.key}": {problem}'
        for problem in label_value_errors(taint.value):
            yield "taint-value", f'value "{taint.value}" of taint "{taint.key}": {problem}'
        if taint.effect not in _EFFECTS:
            yield (
                "taint-effect",
                f'effect "{taint.effect}" of taint "{taint.key}" must be one of {", ".join(_EFFECTS)}',
            )
