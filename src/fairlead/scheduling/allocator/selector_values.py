"""Values and operators of device selectors on plain Python values.

Values are bool, int (64 bits), float, str, None, list, dict, `Quantity` and `Version`. Failures are `Fault`s, worded as
cel-go words them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.kube.cel_values import Version
from fairlead.kube.quantity import Quantity
from fairlead.scheduling.allocator.selector_environment import MAX_LIST_VALUES

LOWEST, HIGHEST = -(2**63), 2**63 - 1


class Fault(Exception):
    """An evaluation error. `&&`, `||` and macros pass over it where the other side decides."""


class NoOverload(Fault):
    """The function does not take values of these types."""


_TYPE_NAMES: Mapping[type, tuple[str, str]] = {
    bool: ("bool", "types.Bool"),
    int: ("int", "types.Int"),
    float: ("double", "types.Double"),
    str: ("string", "types.String"),
    list: ("list", "*types.baseList"),
    dict: ("map", "*types.baseMap"),
    type(None): ("null_type", "types.Null"),
    Quantity: ("kubernetes.Quantity", "cel.Quantity"),
    Version: ("kubernetes.Semver", "cel.Semver"),
}


def type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), ("map", ""))[0]


def no_overload(function: str = "", *values: Any) -> Fault:
    if not function:
        return NoOverload("no such overload")
    if not values:
        return Fault(f"no such overload: {function}")
    return Fault(f"no such overload: {function}({', '.join(map(type_name, values))})")


def not_iterable(value: Any) -> Fault:
    return Fault(f"got '{_TYPE_NAMES[type(value)][1]}', expected iterable type")


def size_of(value: Any) -> int:
    """The size that costs are counted by: one for what has no length."""
    return len(value) if isinstance(value, str | list | dict) else 1


def tenths(count: int) -> int:
    """The cost of looking at so many characters."""
    return math.ceil(count * 0.1)


def equals(left: Any, right: Any) -> bool:
    kind = type(left)
    if kind is type(right) and kind in _DIRECT:
        return bool(left == right)
    if kind in NUMBERS and type(right) in NUMBERS:
        return bool(left == right)
    if kind is Quantity or kind is Version:
        if kind is not type(right):
            raise no_overload()
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equals, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equals(value, right[key]) for key, value in left.items())
    return False


NUMBERS = frozenset((int, float))
_DIRECT = frozenset((bool, int, float, str, type(None)))
_ORDERED = frozenset((bool, int, float, str))


def ordering(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        kind, other = type(left), type(right)
        if kind not in _ORDERED:
            raise no_overload(name)
        if kind is not other and not (kind in NUMBERS and other in NUMBERS):
            raise no_overload()
        return compare(left, right)

    return ordered


def whole(value: int, what: str = "integer overflow") -> int:
    if not LOWEST <= value <= HIGHEST:
        raise Fault(what)
    return value


def _arithmetic(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        kind = type(left)
        if kind not in NUMBERS:
            raise no_overload() if kind is str else no_overload(name)
        if kind is not type(right):
            raise no_overload()
        return whole(compute(left, right)) if kind is int else compute(left, right)

    return apply


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str | list):
        if type(left) is not type(right):
            raise no_overload()
        return operator.add(left, right)
    return PLUS(left, right)


PLUS = _arithmetic("_+_", operator.add)


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, float) and right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
    if isinstance(left, float):
        return left / right
    if right == 0:
        raise Fault("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _modulo(left: Any, right: Any) -> Any:
    if type(left) is not int:
        raise no_overload() if type(left) is str else no_overload("_%_")
    if type(right) is not int:
        raise no_overload()
    if right == 0:
        raise Fault("modulus by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _negate(value: Any) -> Any:
    if type(value) is int:
        return whole(-value)
    if type(value) is float:
        return -value
    raise no_overload() if type(value) in (bool, str) else no_overload("-_")


def _not(value: Any) -> bool:
    if value is True:
        return False
    if value is False:
        return True
    raise no_overload()


def contained(value: Any, container: Any) -> bool:
    if isinstance(container, dict):
        return isinstance(value, str | int) and not isinstance(value, bool) and value in container
    if not isinstance(container, list):
        raise no_overload()
    return any(equal_or_not(item, value) for item in container)


def index(container: Any, key: Any) -> Any:
    """`container[key]` and, with a name, `container.key`."""
    if isinstance(key, Quantity | Version):
        raise Fault(f"invalid qualifier type: {_TYPE_NAMES[type(key)][1]}")
    if isinstance(container, dict):
        try:
            return container[key]
        except (KeyError, TypeError):
            raise Fault(f"no such key: {key}") from None
    if not isinstance(container, list):
        raise Fault(f"no such key: {key}")
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    if type(key) is not int:
        raise Fault(f"unsupported index type '{type_name(key)}' in list")
    if not 0 <= key < len(container):
        raise Fault(f"index out of bounds: {key}")
    return container[key]


def includes(target: Any, value: Any) -> bool:
    if not isinstance(target, list):
        return equal_or_not(target, value)
    for place, item in enumerate(target):
        if place >= MAX_LIST_VALUES:
            raise Fault(f"'includes' function cannot be applied to lists longer than {MAX_LIST_VALUES} values")
        if equal_or_not(item, value):
            return True
    return False


def equal_or_not(left: Any, right: Any) -> bool:
    try:
        return equals(left, right)
    except Fault:
        return False


AT_MOST = ordering("_<=_", operator.le)
BELOW = ordering("_<_", operator.lt)

OPERATORS: Mapping[str, Callable[..., Any]] = {
    "!_": _not,
    "-_": _negate,
    "_+_": _add,
    "_-_": _arithmetic("_-_", operator.sub),
    "_*_": _arithmetic("_*_", operator.mul),
    "_/_": _arithmetic("_/_", _divide),
    "_%_": _modulo,
    "_<_": BELOW,
    "_<=_": AT_MOST,
    "_>_": ordering("_>_", operator.gt),
    "_>=_": ordering("_>=_", operator.ge),
    "_==_": equals,
    "_!=_": lambda left, right: not equals(left, right),
    "@in": contained,
}
