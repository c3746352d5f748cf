"""What one call costs at run time, as cel-go counts it (interpreter/runtimecost.go, Kubernetes' function library)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairlead.kube.cel_values import Version
from fairlead.kube.quantity import Quantity
from fairlead.scheduling.allocator.selector_values import size_of, tenths

Charge = Callable[[Sequence[Any], Any], int]
"""Arguments (the target first) and result of a call -> its cost."""


def _traversal(value: Any) -> int:
    if isinstance(value, str):
        return int(len(value.encode()) * 0.1)
    if isinstance(value, list):
        return sum(map(_traversal, value))
    if isinstance(value, dict):
        return sum(_traversal(key) + _traversal(item) for key, item in value.items())
    return 1


def equality(arguments: Sequence[Any], result: Any) -> int:
    left, right = arguments
    if isinstance(left, Quantity | Version):
        return 1
    return tenths(min(size_of(left), size_of(right)))


def _first(factor: float) -> Charge:
    return lambda arguments, result: math.ceil(size_of(arguments[0]) * factor)


def _pattern(arguments: Sequence[Any], result: Any) -> int:
    text = math.ceil((1.0 + size_of(arguments[0])) * 0.1)
    return text * math.ceil(size_of(arguments[1]) * 0.25)


def _contains(arguments: Sequence[Any], result: Any) -> int:
    return tenths(size_of(arguments[0])) * tenths(size_of(arguments[1]))


def _shorter(arguments: Sequence[Any], result: Any) -> int:
    return tenths(min(size_of(arguments[0]), size_of(arguments[1])))


_BY_FUNCTION: Mapping[str, Charge] = {
    "_==_": equality,
    "_!=_": _shorter,
    **dict.fromkeys(("matches", "find", "findAll"), _pattern),
    **dict.fromkeys(
        ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), lambda arguments, _: _traversal(arguments[0])
    ),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _first(0.1)),
    **dict.fromkeys(("quantity", "isQuantity", "semver", "isSemver"), _first(0.1)),
    **dict.fromkeys(("replace", "split"), lambda arguments, _: math.ceil(size_of(arguments[0]) * 2 * 0.1)),
    "join": lambda _, result: math.ceil(size_of(result) * 2 * 0.1),
    "contains": _contains,
    **dict.fromkeys(("startsWith", "endsWith"), _first(0.1)),
}
_BY_OVERLOAD: Mapping[str, Charge] = {
    "in_list": lambda arguments, _: size_of(arguments[1]),
    "add_string": lambda arguments, _: tenths(size_of(arguments[0]) + size_of(arguments[1])),
    **dict.fromkeys(("less_string", "less_equals_string", "greater_string", "greater_equals_string"), _shorter),
}


def charge_of(function: str, overloads: Sequence[str]) -> Charge | None:
    """How a call is charged; None means a cost of one. A call that several overloads could serve costs one."""
    charge = _BY_FUNCTION.get(function)
    if charge is None and len(overloads) == 1:
        charge = _BY_OVERLOAD.get(overloads[0])
    return charge
