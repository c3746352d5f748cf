"""The operators and functions of device selectors on plain Python values, and what each call costs at run time.

Values are bool, int (64 bits), float, str, None, list, dict, `Quantity` and `Version`. Failures are `Fault`s, worded as
cel-go words them. Costs are those of cel-go's runtime (interpreter/runtimecost.go) and of Kubernetes' function library.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fairlead.kube import cel_patterns, cel_values
from fairlead.kube.cel_values import Version
from fairlead.kube.quantity import Quantity
from fairlead.scheduling.allocator.selector_environment import MAX_LIST_VALUES

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


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
    if kind in _NUMBERS and type(right) in _NUMBERS:
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


_NUMBERS = frozenset((int, float))
_DIRECT = frozenset((bool, int, float, str, type(None)))
_ORDERED = frozenset((bool, int, float, str))


def ordering(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        kind, other = type(left), type(right)
        if kind not in _ORDERED:
            raise no_overload(name)
        if kind is not other and not (kind in _NUMBERS and other in _NUMBERS):
            raise no_overload()
        return compare(left, right)

    return ordered


def _whole(value: int, what: str = "integer overflow") -> int:
    if not _LOWEST <= value <= _HIGHEST:
        raise Fault(what)
    return value


def _arithmetic(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        kind = type(left)
        if kind not in _NUMBERS:
            raise no_overload() if kind is str else no_overload(name)
        if kind is not type(right):
            raise no_overload()
        return _whole(compute(left, right)) if kind is int else compute(left, right)

    return apply


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str | list):
        if type(left) is not type(right):
            raise no_overload()
        return left + right
    return _PLUS(left, right)


_PLUS = _arithmetic("_+_", operator.add)


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
        return _whole(-value)
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
    fault: Fault | None = None
    for item in container:
        try:
            if equals(item, value):
                return True
        except Fault as error:
            fault = error
    if fault is not None:
        raise fault
    return False


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
        return _equal_or_not(target, value)
    for place, item in enumerate(target):
        if place >= MAX_LIST_VALUES:
            raise Fault(f"'includes' function cannot be applied to lists longer than {MAX_LIST_VALUES} values")
        if _equal_or_not(item, value):
            return True
    return False


def _equal_or_not(left: Any, right: Any) -> bool:
    try:
        return equals(left, right)
    except Fault:
        return False


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise Fault("no such overload: size")
    return len(value)


def _pattern(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a text and a regular expression."""

    def apply(text: Any, pattern: Any, *rest: Any) -> Any:
        _require_text(text, pattern)
        try:
            return function(text, pattern, *rest)
        except ValueError as error:
            raise Fault(str(error)) from None

    return apply


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = cel_patterns.find_all(text, pattern)
    return list(found if limit < 0 else found[:limit])


def _require_text(*values: Any) -> None:
    for value in values:
        if type(value) is not str:
            raise no_overload()


def _text(function: Callable[..., Any], *kinds: type) -> Callable[..., Any]:
    """A function of a string and of arguments of these kinds."""

    def apply(text: Any, *arguments: Any) -> Any:
        if type(text) is not str or any(type(a) is not k for a, k in zip(arguments, kinds, strict=False)):
            raise no_overload()
        return function(text, *arguments)

    return apply


def _char_at(text: str, place: int) -> str:
    if not 0 <= place <= len(text):
        raise Fault(f"index out of range: {place}")
    return text[place : place + 1]


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    for place in (start, stop):
        if not 0 <= place <= len(text):
            raise Fault(f"index out of range: {place}")
    if start > stop:
        raise Fault(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if start < 0:
        raise Fault(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise Fault(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


def _place(in_text: Callable[..., Any], last: bool) -> Callable[..., Any]:
    """`indexOf` and `lastIndexOf` of texts and of lists."""

    def find(container: Any, item: Any, *start: Any) -> Any:
        if not isinstance(container, list) or start:
            return in_text(container, item, *start)
        places = [place for place, value in enumerate(container) if _equal_or_not(value, item)]
        return places[-1 if last else 0] if places else -1

    return find


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not separator:
        parts = list(text)
        return parts if limit < 0 or limit >= len(parts) else [*parts[: limit - 1], text[limit - 1 :]]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _join(items: Any, separator: Any = "") -> str:
    if not isinstance(items, list):
        raise no_overload()
    _require_text(separator, *items)
    return str(separator).join(items)


def _ascii(change: str, text: str) -> str:
    return "".join(getattr(char, change)() if char.isascii() else char for char in text)


def _list(function: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    def apply(items: Any) -> Any:
        if not isinstance(items, list):
            raise no_overload()
        return function(items)

    return apply


def _sorted(items: list[Any]) -> bool:
    return all(_AT_MOST(a, b) for a, b in itertools.pairwise(items))


_AT_MOST = ordering("_<=_", operator.le)
_BELOW = ordering("_<_", operator.lt)


def _extreme(name: str, better: Callable[[Any, Any], bool]) -> Callable[[list[Any]], Any]:
    def choose(items: list[Any]) -> Any:
        if not items:
            raise Fault(f"{name} called on empty list")
        return functools.reduce(lambda best, item: item if better(item, best) else best, items)

    return choose


def _sum(items: list[Any]) -> Any:
    if any(type(item) not in _NUMBERS for item in items):
        raise no_overload()
    return functools.reduce(_PLUS, items) if items else 0


def _quantity(text: Any) -> Quantity:
    _require_text(text)
    try:
        return Quantity.parse(text)
    except ValueError as error:
        raise Fault(str(error)) from None


def _semver(text: Any, normalize: Any = False) -> Version:
    _require_text(text)
    try:
        return Version.parse(cel_values.semver(text, bool(normalize)).text)
    except ValueError as error:
        raise Fault(str(error)) from None


def _parses(parse: Callable[..., Any]) -> Callable[..., bool]:
    def check(*arguments: Any) -> bool:
        _require_text(arguments[0])
        try:
            parse(*arguments)
        except Fault:
            return False
        return True

    return check


def _comparison(name: str, judge: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def compare(left: Any, right: Any) -> Any:
        kind = type(left)
        if kind is not type(right) or (kind is not Quantity and kind is not Version):
            raise no_overload(name, left, right)
        return judge(left, right)

    return compare


def _of(kind: type, name: str, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        if type(value) is not kind:
            raise no_overload(name, value)
        return compute(value)

    return apply


def _is_integer(value: Quantity) -> bool:
    amount = value.amount
    return amount == amount.to_integral_value() and _LOWEST <= amount <= _HIGHEST


def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise Fault("cannot convert value to integer")
    return int(value.amount)


def _quantity_sum(name: str, sign: int) -> Callable[[Any, Any], Any]:
    def compute(left: Any, right: Any) -> Quantity:
        if type(left) is not Quantity or type(right) not in (Quantity, int):
            raise no_overload(name, left, right)
        return Quantity(left.amount + sign * (right.amount if isinstance(right, Quantity) else Decimal(right)))

    return compute


def _to_int(value: Any) -> int:
    if type(value) not in (int, float, str):
        raise no_overload()
    if type(value) is int:
        return value
    try:
        if type(value) is float and math.isfinite(value):
            return _whole(int(value))
        if type(value) is str and value.strip() == value and "_" not in value:
            return _whole(int(value))
    except ValueError:
        pass
    if type(value) is float:
        raise Fault("integer overflow")
    raise Fault(f"type conversion error from '{type_name(value)}' to 'int'")


def _to_double(value: Any) -> float:
    if type(value) not in (int, float, str):
        raise no_overload()
    if type(value) in _NUMBERS:
        return float(value)
    try:
        if type(value) is str and value.strip() == value and "_" not in value:
            return float(value)
    except ValueError:
        pass
    raise Fault(f"type conversion error from '{type_name(value)}' to 'double'")


def _to_string(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return _float_text(value)
    raise no_overload()


def _float_text(value: float) -> str:
    """The shortest text that reads back as the number, with an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        mantissa, _, exponent = format(Decimal(repr(value)).normalize(), "e").partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].zfill(2)}"


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "!_": _not,
    "-_": _negate,
    "_+_": _add,
    "_-_": _arithmetic("_-_", operator.sub),
    "_*_": _arithmetic("_*_", operator.mul),
    "_/_": _arithmetic("_/_", _divide),
    "_%_": _modulo,
    "_<_": _BELOW,
    "_<=_": _AT_MOST,
    "_>_": ordering("_>_", operator.gt),
    "_>=_": ordering("_>=_", operator.ge),
    "_==_": equals,
    "_!=_": lambda left, right: not equals(left, right),
    "@in": contained,
}


def _naming(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Says which function does not take the values."""

    def apply(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except NoOverload:
            raise no_overload(name, *arguments) from None

    return apply


_UNNAMED: Mapping[str, Callable[..., Any]] = {
    **OPERATORS,
    "dyn": lambda value: value,
    "size": _size,
    "includes": includes,
    "startsWith": _text(str.startswith, str),
    "endsWith": _text(str.endswith, str),
    "contains": _text(operator.contains, str),
    "matches": _pattern(cel_patterns.matches),
    "find": _pattern(cel_patterns.find),
    "findAll": _pattern(_find_all),
}
_NAMED: Mapping[str, Callable[..., Any]] = {
    "int": _to_int,
    "double": _to_double,
    "string": _to_string,
    "charAt": _text(_char_at, int),
    "indexOf": _place(_text(_index_of, str, int), last=False),
    "lastIndexOf": _place(_text(_last_index_of, str, int), last=True),
    "substring": _text(_substring, int, int),
    "split": _text(_split, str, int),
    "replace": _text(lambda text, old, new, count=-1: text.replace(old, new, count), str, str, int),
    "lowerAscii": _text(functools.partial(_ascii, "lower")),
    "upperAscii": _text(functools.partial(_ascii, "upper")),
    "trim": _text(str.strip),
    "join": _join,
    "isSorted": _list(_sorted),
    "min": _list(_extreme("min", _BELOW)),
    "max": _list(_extreme("max", ordering("_>_", operator.gt))),
    "sum": _list(_sum),
    "quantity": _quantity,
    "isQuantity": _parses(_quantity),
    "semver": _semver,
    "isSemver": _parses(_semver),
    "isGreaterThan": _comparison("isGreaterThan", operator.gt),
    "isLessThan": _comparison("isLessThan", operator.lt),
    "compareTo": _comparison("compareTo", lambda a, b: int(a > b) - int(a < b)),
    "isInteger": _of(Quantity, "isInteger", _is_integer),
    "asInteger": _of(Quantity, "asInteger", _as_integer),
    "asApproximateFloat": _of(Quantity, "asApproximateFloat", lambda q: float(q.amount)),
    "sign": _of(Quantity, "sign", lambda q: int(q.amount > 0) - int(q.amount < 0)),
    "add": _quantity_sum("add", 1),
    "sub": _quantity_sum("sub", -1),
    "major": _of(Version, "major", lambda v: v.numbers[0]),
    "minor": _of(Version, "minor", lambda v: v.numbers[1]),
    "patch": _of(Version, "patch", lambda v: v.numbers[2]),
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **_UNNAMED,
    **{name: _naming(name, function) for name, function in _NAMED.items()},
}
"""Functions by name; what is missing here is left to the C++ runtime."""
