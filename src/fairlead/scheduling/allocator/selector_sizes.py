"""Ranges of sizes and costs, and the cost rules of the functions that device selectors may call.

The figures are those of cel-go and of Kubernetes' CEL library; see `selector_cost`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.api.expr.v1alpha1 import checked_pb2, syntax_pb2

_MAX = 2**64 - 1
PER_CHARACTER = 0.1
"""Cost of looking at one character."""
PER_PATTERN_CHARACTER = 0.25
"""Cost of one character of a regular expression, per tenth of a character of the text."""
_MAX_FORMAT_PATTERN = 128
"""Assumed length of the pattern behind a named format."""
_MAX_FORMAT_NAME = 64


@dataclass(frozen=True, slots=True)
class Estimate:
    """A range of sizes or costs, ends included; sums and products stop at 2^64-1."""

    low: int
    high: int

    @staticmethod
    def exactly(value: int) -> Estimate:
        return Estimate(value, value)

    @staticmethod
    def over(estimates: Iterable[Estimate]) -> Estimate:
        """The range that covers all; nothing is zero."""
        covered: Estimate | None = None
        for estimate in estimates:
            covered = estimate if covered is None else covered.union(estimate)
        return covered or Estimate(0, 0)

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(min(self.low + other.low, _MAX), min(self.high + other.high, _MAX))

    def __mul__(self, other: Estimate) -> Estimate:
        return Estimate(min(self.low * other.low, _MAX), min(self.high * other.high, _MAX))

    def scaled(self, factor: float) -> Estimate:
        return Estimate(_scale(self.low, factor), _scale(self.high, factor))

    def union(self, other: Estimate) -> Estimate:
        return Estimate(min(self.low, other.low), max(self.high, other.high))


def _scale(value: int, factor: float) -> int:
    return min(math.ceil(float(value) * factor), _MAX)


_TEXT = (checked_pb2.Type.STRING, checked_pb2.Type.BYTES)
ONE = UNIT = Estimate(1, 1)
UNKNOWN = BOUNDLESS = Estimate(0, _MAX)


@dataclass(frozen=True, slots=True)
class Operand:
    """A target or argument of a call."""

    expr: syntax_pb2.Expr
    type: checked_pb2.Type | None
    size: Estimate | None
    items: Estimate | None
    """Size of the items where it is known to be a list."""

    @property
    def extent(self) -> Estimate:
        return self.size or UNKNOWN


@dataclass(frozen=True, slots=True)
class Result:
    """The cost of a call, and the size of what it returns where that matters."""

    cost: Estimate
    size: Estimate | None = None


Rule = Callable[[Operand | None, Sequence[Operand], str], Result | None]
"""Target, arguments and overload of a call -> its cost without its arguments'; None for the standard cost of one."""


def _nominal(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(UNIT)


def _parse(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(arguments[0].extent.scaled(PER_CHARACTER)) if arguments else None


def _parse_and_compare(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(arguments[0].extent.scaled(2 * PER_CHARACTER)) if arguments else None


def _parse_and_keep(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(arguments[0].extent.scaled(PER_CHARACTER), arguments[0].extent) if arguments else None


def _copy(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(target.extent.scaled(PER_CHARACTER), target.extent) if target else None


def _affix(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(arguments[0].extent.scaled(PER_CHARACTER)) if len(arguments) == 1 else None


def _to_bytes(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    size = arguments[0].extent
    return Result(size.scaled(PER_CHARACTER), Estimate(size.low, size.high * 4 & _MAX))


def _from_bytes(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    size = arguments[0].extent
    return Result(size.scaled(PER_CHARACTER), Estimate(size.low // 4, size.high))


def _in_list(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(arguments[1].extent.scaled(1))


def _matches(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None or len(arguments) != 1:
        return None
    text = (target.extent + ONE).scaled(PER_CHARACTER)
    return Result(text * arguments[0].extent.scaled(PER_PATTERN_CHARACTER))


def _find(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None or not arguments:
        return None
    text = (target.extent + ONE).scaled(PER_CHARACTER)
    cost = text * arguments[0].extent.scaled(PER_PATTERN_CHARACTER)
    return Result(cost, Estimate(0, target.extent.high))


def _contains(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None or len(arguments) != 1:
        return None
    return Result(target.extent.scaled(PER_CHARACTER) * arguments[0].extent.scaled(PER_CHARACTER))


def _compare(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    high = min(arguments[0].extent.high, arguments[1].extent.high)
    return Result(Estimate(min(high, 1), high).scaled(PER_CHARACTER))


_OWN_EQUALITY = ("kubernetes.Quantity", "kubernetes.Semver", "net.IP", "net.CIDR")


def _equals(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    left, right = (argument.type for argument in arguments)
    if left is not None and right is not None and left == right:
        if left.message_type in _OWN_EQUALITY:
            return Result(UNIT)
        if left.message_type == "kubernetes.NamedFormat":
            return Result(Estimate(1, _MAX_FORMAT_NAME).scaled(PER_CHARACTER))
        if left.message_type == "kubernetes.URL":
            size = arguments[1].size or ONE
            return Result(Estimate(1, size.high).scaled(PER_CHARACTER))
    return _compare(target, arguments, overload)


def _traverse(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None:
        return None
    if target.items is None:
        return Result(target.extent.scaled(PER_CHARACTER))
    item = target.type.list_type.elem_type if target.type is not None else checked_pb2.Type()
    each = UNIT
    if item.primitive in _TEXT:
        each += target.items.scaled(PER_CHARACTER)
    return Result(target.extent * each)


def _split(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None:
        return None
    most = target.extent.high
    if len(arguments) > 1 and arguments[1].expr.const_expr.WhichOneof("constant_kind") == "int64_value":
        most = arguments[1].expr.const_expr.int64_value & _MAX
    return Result(target.extent.scaled(2 * PER_CHARACTER), Estimate(0, most))


def _join(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None:
        return None
    count = target.extent
    size = count * target.items if target.items is not None else Estimate(0, 0)
    if arguments:
        size += arguments[0].extent * Estimate(max(count.low - 1, 0), max(count.high - 1, 0))
    return Result(size.scaled(PER_CHARACTER), size)


def _replace(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None or len(arguments) < 2:
        return None
    text, old, new = target.extent, arguments[0].extent, arguments[1].extent
    # The longest result: as many of the shortest pieces as possible become the longest; the shortest likewise.
    high_count, high_kept = _replaced(text.high, old.low, new.high <= old.low)
    low_count, low_kept = _replaced(text.low, old.high, old.high <= new.low)
    size = Estimate(low_count, high_count) * new + Estimate(low_kept, high_kept)
    return Result(text.scaled(2 * PER_CHARACTER), size)


def _replaced(text: int, old: int, unchanged: bool) -> tuple[int, int]:
    """How many pieces of a text are replaced, and how much of it stays."""
    if old == 0:
        return min(text + 1, _MAX), text
    if unchanged:
        return 0, text
    return math.ceil(text / old), 0


def _validate(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if not arguments:
        return None
    text = arguments[0].extent.scaled(PER_CHARACTER)
    return Result(text.scaled(_MAX_FORMAT_PATTERN * PER_PATTERN_CHARACTER))


_ADDRESS = Estimate(4, 16)


def _contains_address(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    cost = (_ADDRESS + _ADDRESS).scaled(PER_CHARACTER)
    return Result(_plus_parsing(cost, arguments[0]))


def _contains_network(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    cost = (_ADDRESS + _ADDRESS).scaled(PER_CHARACTER) + _ADDRESS.scaled(PER_CHARACTER) + UNIT
    return Result(_plus_parsing(cost, arguments[0]))


def _plus_parsing(cost: Estimate, argument: Operand) -> Estimate:
    is_text = argument.type is not None and argument.type.primitive == checked_pb2.Type.STRING
    return cost + argument.extent.scaled(PER_CHARACTER) if is_text else cost


def _ip(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return Result(UNIT) if target is not None else _parse(target, arguments, overload)


def _compare_sets(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    factor = 2 if overload.startswith("list_sets_equivalent") else 1
    return Result((arguments[0].extent * arguments[1].extent).scaled(factor) + UNIT)


def _new_list(factor: float, turns: Estimate) -> Result:
    return Result(turns.scaled(factor) + Estimate.exactly(1 + 10), turns)


def _integer(operand: Operand, otherwise: int) -> int:
    if operand.expr.const_expr.WhichOneof("constant_kind") != "int64_value":
        return otherwise
    return max(int(operand.expr.const_expr.int64_value), 0)


def _slice(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None or len(arguments) != 2:
        return None
    taken = _integer(arguments[1], target.extent.high) - _integer(arguments[0], 0)
    return _new_list(1, Estimate.exactly(taken & _MAX))


def _range(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return _new_list(1, Estimate.exactly(_integer(arguments[0], _MAX))) if len(arguments) == 1 else None


def _reverse(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return _new_list(1, target.extent) if target else None


def _flatten(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    if target is None:
        return None
    return _new_list(_integer(arguments[0], _MAX) if arguments else 1, target.extent)


def _distinct(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    return _new_list(2, target.extent * target.extent) if target else None


def _sort(target: Operand | None, arguments: Sequence[Operand], overload: str) -> Result | None:
    keys = arguments[0] if arguments else target
    if keys is None:
        return None
    # Items of a type that is not known may be text.
    item = keys.type.list_type.elem_type if keys.type is not None else checked_pb2.Type()
    of_text = item.WhichOneof("type_kind") in (None, "dyn") or item.primitive in _TEXT
    return _new_list(2 + (PER_CHARACTER if of_text else 0), keys.extent * keys.extent)


_ORDERINGS = ("less", "less_equals", "greater", "greater_equals")
_ACCESSORS = (
    *("sign", "asInteger", "isInteger", "asApproximateFloat", "isGreaterThan", "isLessThan", "compareTo", "add", "sub"),
    *("major", "minor", "patch", "getScheme", "getHostname", "getHost", "getPort", "getEscapedPath", "getQuery"),
    *("masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast"),
    *("isLinkLocalUnicast", "isGlobalUnicast", "format.named"),
)

LIBRARY: Mapping[str, Rule] = {
    **dict.fromkeys(_ACCESSORS, _nominal),
    **dict.fromkeys(("quantity", "isQuantity", "semver", "isSemver", "cidr", "isIP", "isCIDR"), _parse),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _copy),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _traverse),
    **dict.fromkeys(("starts_with_string", "ends_with_string"), _affix),
    **{f"{name}_{kind}": _compare for name in _ORDERINGS for kind in ("string", "bytes")},
    "equals": _equals,
    "not_equals": _compare,
    "in_list": _in_list,
    "matches_string": _matches,
    "matches": _matches,
    "contains_string": _contains,
    "string_to_bytes": _to_bytes,
    "bytes_to_string": _from_bytes,
    "find": _find,
    "findAll": _find,
    "url": _parse_and_keep,
    "ip": _ip,
    "ip.isCanonical": _parse_and_compare,
    "containsIP": _contains_address,
    "containsCIDR": _contains_network,
    "split": _split,
    "join": _join,
    "replace": _replace,
    "validate": _validate,
    **dict.fromkeys(("sets.contains", "sets.intersects", "sets.equivalent"), _compare_sets),
    "slice": _slice,
    "lists.range": _range,
    "reverse": _reverse,
    "flatten": _flatten,
    "distinct": _distinct,
    "sort": _sort,
    "@sortByAssociatedKeys": _sort,
}
"""Rules by overload or by name of the function."""
