"""A device as selectors see it, made ready once and evaluated by any number of expressions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.kube import cel, cel_values
from fairlead.kube.cel_values import Version
from fairlead.kube.objects.devices import DeviceAttribute, DeviceCapacity
from fairlead.kube.quantity import Quantity


class SelectorError(Exception):
    """A selector could not be evaluated for a device: it reads an identifier that a domain does not have, compares
    what cannot be compared, does not give a bool, or costs too much. Fatal to the attempt to allocate."""


class Domains(dict[str, Any]):
    """Names by domain; a domain that a device does not have is an empty map."""

    __slots__ = ()

    def __missing__(self, domain: str) -> Mapping[str, Any]:
        return _EMPTY


_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Values:
    """The value of `device`: plain Python values, `Quantity` and `Version`."""

    driver: str
    shared: bool
    attributes: Domains
    capacity: Domains
    plain: dict[str, Any]
    """All of it as one map, for expressions that handle `device` as a whole."""


@dataclass(slots=True, eq=False)
class SelectorDevice:
    """What selectors may ask of a device. Names without a domain belong to the driver's.

    Make one per device and keep it: the values are converted at the first evaluation only.
    """

    driver: str
    attributes: Mapping[str, DeviceAttribute] = field(default_factory=dict)
    capacity: Mapping[str, DeviceCapacity] = field(default_factory=dict)
    allow_multiple_allocations: bool = False
    _values: list[Values | SelectorError | None] = field(default_factory=lambda: [None, None], repr=False)
    _bindings: Mapping[str, Any] | None = field(default=None, repr=False)
    _is_sound: tuple[bool | None, bool | None] = field(default=(None, None), repr=False)

    def is_sound(self, lists: bool) -> bool:
        """Whether all attributes and capacities have usable values, so that `values` raises nothing."""
        known = self._is_sound[lists]
        if known is None:
            known = all(_is_usable(each, lists) for each in self.attributes.values()) and all(
                _is_quantity(each.value) for each in self.capacity.values()
            )
            self._is_sound = (self._is_sound[0], known) if lists else (known, self._is_sound[1])
        return known

    def attribute(self, domain: str, name: str) -> Hashable | None:
        """What tells this attribute from another value of it; None where one would have to look at all: it is a list,
        or given twice. Absent is a value, too."""
        qualified = self.attributes.get(f"{domain}/{name}")
        bare = self.attributes.get(name) if domain == self.driver else None
        found = qualified or bare
        if found is None:
            return ()
        if (qualified and bare) or found.ints or found.bools or found.strings or found.versions:
            return None
        return (found.int_, found.bool_, found.string, found.version)

    def amount(self, domain: str, name: str) -> Hashable | None:
        """The same of a capacity."""
        qualified = self.capacity.get(f"{domain}/{name}")
        bare = self.capacity.get(name) if domain == self.driver else None
        found = qualified or bare
        if found is None:
            return ()
        return None if qualified and bare else found.value

    def release(self) -> None:
        """Converted values are forgotten: they are large, and made anew at need."""
        self._values[:] = [None, None]
        self._bindings = None

    def values(self, lists: bool) -> Values:
        """With or without attributes that hold lists. Raises SelectorError naming an attribute without a usable
        value; such a device satisfies no selector, and a wrong answer would be hard to take back."""
        values = self._values[lists]
        if values is None:
            try:
                values = self._convert(lists)
            except SelectorError as error:
                values = error
            self._values[lists] = values
        if isinstance(values, SelectorError):
            raise values
        return values

    def bindings(self, lists: bool) -> Mapping[str, Any]:
        """The same for the C++ runtime."""
        values = self.values(lists)
        bindings = self._bindings
        if bindings is None:
            device = {name: _for_runtime(value) for name, value in values.plain.items()}
            bindings = self._bindings = {
                "device": device,
                **{f"device.{name}": value for name, value in device.items()},
            }
        return bindings

    def _convert(self, lists: bool) -> Values:
        attributes, capacity = Domains(), Domains()
        for name, attribute in self.attributes.items():
            try:
                value = _attribute_value(attribute, lists)
            except ValueError as error:
                raise SelectorError(f"attribute {name}: {error}") from None
            domain, id_ = self._qualified(name)
            attributes.setdefault(domain, {})[id_] = value
        for name, amount in self.capacity.items():
            try:
                size = Quantity.parse(amount.value)
            except ValueError as error:
                raise SelectorError(f"capacity {name}: {error}") from None
            domain, id_ = self._qualified(name)
            capacity.setdefault(domain, {})[id_] = size
        plain = {
            "driver": self.driver,
            "allowMultipleAllocations": self.allow_multiple_allocations,
            "attributes": attributes,
            "capacity": capacity,
        }
        return Values(self.driver, self.allow_multiple_allocations, attributes, capacity, plain)

    def _qualified(self, name: str) -> tuple[str, str]:
        domain, slash, id_ = name.partition("/")
        return (domain, id_) if slash else (self.driver, name)


def _is_usable(attribute: DeviceAttribute, lists: bool) -> bool:
    is_scalar = attribute.int_ is not None or attribute.string is not None or attribute.bool_ is not None
    if is_scalar and not (lists and attribute.versions):
        return True
    try:
        _attribute_value(attribute, lists)
    except ValueError:
        return False
    return True


def _is_quantity(text: str) -> bool:
    try:
        Quantity.parse(text)
    except ValueError:
        return False
    return True


def _attribute_value(attribute: DeviceAttribute, lists: bool) -> Any:
    if lists:
        for values in (attribute.ints, attribute.bools, attribute.strings):
            if values:
                return list(values)
        if attribute.versions:
            return [_version(text) for text in attribute.versions]
    for value in (attribute.int_, attribute.bool_, attribute.string):
        if value is not None:
            return value
    if attribute.version is not None:
        return _version(attribute.version)
    raise ValueError("unsupported attribute value")


def _version(text: str) -> Version:
    try:
        return cel_values.version(text)
    except ValueError as error:
        raise ValueError(f"parse semantic version: {error}") from None


def _for_runtime(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _for_runtime(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_runtime(item) for item in value]
    if isinstance(value, Quantity):
        return cel_values.quantity_of(value.amount)
    if isinstance(value, Version):
        return cel.semver(str(value))
    return value
