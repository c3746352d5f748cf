"""Estimated worst-case cost of a rule, in the units of cel-go: what a definition's rules may cost is limited.

The model follows cel-go's checker: a step costs one unit, a pass over a string a tenth of a unit per byte, a loop its
body times the most items there can be. Sizes come from the schema (`maxItems`, `maxLength`, `maxProperties`), or from
what fits into a request of 3 MiB where it says nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.embedded.apiserver.schema.node import UNSET, Schema
from fairlead.embedded.apiserver.schema.rules import escape
from fairlead.kube import cel

REQUEST_LIMIT_BYTES = 3 * 1024 * 1024
RULE_LIMIT = 10_000_000
SCHEMA_LIMIT = 100_000_000

_STRING_FACTOR = 0.1
_REGEX_FACTOR = 0.25
_LIST_COST, _MAP_COST, _STRUCT_COST = 10, 30, 40
_MINIMUM_BYTES = {"string": 2, "integer": 1, "number": 1, "boolean": 4, "array": 2, "object": 2}
_FORMAT_BYTES = {"date": 12, "date-time": 22, "duration": 3}


@dataclass(frozen=True, slots=True)
class _Estimate:
    cost: float
    size: float = 1
    """The most elements, characters or bytes that the value has."""
    node: Schema | None = None


def minimum_bytes(node: Schema | None) -> int:
    """The least that a value takes in JSON."""
    if node is None:
        return 1
    if node.constraints is not None and node.constraints.enum and node.type == "string":
        return 2 + min(len(str(each)) for each in node.constraints.enum)
    size = _FORMAT_BYTES.get(node.format) or _MINIMUM_BYTES.get(node.type, 1)
    if node.type == "object":
        for name in node.required:
            child = node.properties.get(name)
            if child is not None and child.default is UNSET:
                size += len(name) + 3 + minimum_bytes(child)
    return size


def largest_size(node: Schema | None) -> float:
    """The most elements, entries or bytes that a value has."""
    if node is None:
        return REQUEST_LIMIT_BYTES
    limits = node.constraints
    if node.type == "array":
        if limits is not None and limits.max_items is not None:
            return limits.max_items
        return (REQUEST_LIMIT_BYTES - 2) // (minimum_bytes(node.items) + 1)
    if node.type == "object" and node.additional is not None:
        if limits is not None and limits.max_properties is not None:
            return limits.max_properties
        return (REQUEST_LIMIT_BYTES - 2) // (minimum_bytes(node.additional) + 6)
    if node.type == "string":
        return _largest_string(node)
    return REQUEST_LIMIT_BYTES if node.format == "int-or-string" else 1


def _largest_string(node: Schema) -> float:
    limits = node.constraints
    if node.format in _FORMAT_BYTES:
        return 22
    if limits is not None and limits.enum:
        return max(len(str(each)) for each in limits.enum)
    if limits is not None and limits.max_length is not None:
        return limits.max_length * 4
    return REQUEST_LIMIT_BYTES - 2


def cardinality(node: Schema) -> int:
    """How many values of a node fit into one request, where nothing above it limits them."""
    return REQUEST_LIMIT_BYTES // (minimum_bytes(node) + 1)


def estimate_cost(environment: cel.Environment, expression: str, node: Schema) -> float:
    """The estimate for one evaluation with `self` (and `oldSelf`) a value of `node`."""
    return estimate_with(environment, expression, {"self": node, "oldSelf": node})


def estimate_with(environment: cel.Environment, expression: str, variables: Mapping[str, Schema]) -> float:
    """The estimate for one evaluation with variables that are values of these nodes."""
    scope = {name: _Estimate(1, largest_size(node), node) for name, node in variables.items()}
    return _Walk().estimate(environment.syntax(expression), scope).cost


class _Walk:
    def estimate(self, expr: Any, scope: Mapping[str, _Estimate]) -> _Estimate:
        kind = expr.WhichOneof("expr_kind")
        if kind == "const_expr":
            return self.constant(expr.const_expr)
        if kind == "ident_expr":
            known = scope.get(expr.ident_expr.name)
            return _Estimate(1) if known is None else _Estimate(1, known.size, known.node)
        if kind == "select_expr":
            return self.select(expr.select_expr, scope)
        if kind == "call_expr":
            return self.call(expr.call_expr, scope)
        if kind == "list_expr":
            parts = [self.estimate(each, scope) for each in expr.list_expr.elements]
            return _Estimate(_LIST_COST + sum(part.cost for part in parts), len(parts))
        if kind == "struct_expr":
            parts = [self.estimate(entry.value, scope) for entry in expr.struct_expr.entries]
            return _Estimate(_MAP_COST + sum(part.cost for part in parts), len(parts))
        if kind == "comprehension_expr":
            return self.comprehension(expr.comprehension_expr, scope)
        return _Estimate(0)

    def constant(self, constant: Any) -> _Estimate:
        kind = constant.WhichOneof("constant_kind")
        return _Estimate(0, len(constant.string_value) if kind == "string_value" else 1)

    def select(self, select: Any, scope: Mapping[str, _Estimate]) -> _Estimate:
        operand = self.estimate(select.operand, scope)
        child = None
        if operand.node is not None:
            child = _child(operand.node, select.field)
        return _Estimate(operand.cost + 1, largest_size(child) if child is not None else 1, child)

    def comprehension(self, loop: Any, scope: Mapping[str, _Estimate]) -> _Estimate:
        source = self.estimate(loop.iter_range, scope)
        start = self.estimate(loop.accu_init, scope)
        item = _item(source.node)
        value = _Estimate(1, largest_size(item) if item is not None else 1, item)
        key = _Estimate(1, REQUEST_LIMIT_BYTES if source.node is not None and source.node.type == "object" else 1)
        inner = {
            **scope,
            loop.iter_var: key if _is_map(source.node) else value,
            loop.accu_var: _Estimate(1, start.size),
        }
        if loop.iter_var2:
            inner[loop.iter_var2] = value
        body = self.estimate(loop.loop_condition, inner).cost + self.estimate(loop.loop_step, inner).cost
        result = self.estimate(loop.result, inner)
        cost = source.cost + start.cost + source.size * body + result.cost
        return _Estimate(cost, source.size, source.node if start.size == 0 else None)

    def call(self, call: Any, scope: Mapping[str, _Estimate]) -> _Estimate:
        arguments = [self.estimate(each, scope) for each in call.args]
        if call.HasField("target"):
            arguments.insert(0, self.estimate(call.target, scope))
        if call.function == "_?_:_":
            condition, yes, no = arguments
            return _Estimate(condition.cost + max(yes.cost, no.cost), max(yes.size, no.size))
        cost = sum(argument.cost for argument in arguments)
        own = _CALLS.get(call.function)
        step, size = (1.0, 1.0) if own is None else own(*(argument.size for argument in arguments))
        node = None
        if call.function in ("_[_]", "_[?_]") and arguments[0].node is not None:
            node = _item(arguments[0].node)
            size = largest_size(node) if node is not None else 1
        return _Estimate(cost + step, size, node)


def _is_map(node: Schema | None) -> bool:
    return node is not None and node.type == "object"


def _item(node: Schema | None) -> Schema | None:
    if node is None:
        return None
    return node.items if node.type == "array" else node.additional


def _child(node: Schema, escaped: str) -> Schema | None:
    if node.additional is not None:
        return node.additional
    return next((child for name, child in node.properties.items() if escape(name) == escaped), None)


def _pass(*sizes: float) -> tuple[float, float]:
    return math.ceil(sizes[0] * _STRING_FACTOR), sizes[0]


def _compare(*sizes: float) -> tuple[float, float]:
    return max(1, math.ceil(min(sizes) * _STRING_FACTOR)), 1


def _concatenate(*sizes: float) -> tuple[float, float]:
    return max(1, math.ceil(sum(sizes) * _STRING_FACTOR)), sum(sizes)


def _contains(*sizes: float) -> tuple[float, float]:
    return math.ceil(sizes[0] * _STRING_FACTOR) * math.ceil(sizes[-1] * _STRING_FACTOR), 1


def _matches(*sizes: float) -> tuple[float, float]:
    return math.ceil((sizes[0] + 1) * _STRING_FACTOR) * math.ceil(sizes[-1] * _REGEX_FACTOR), sizes[0]


def _affix(*sizes: float) -> tuple[float, float]:
    return math.ceil(sizes[-1] * _STRING_FACTOR), 1


def _search(*sizes: float) -> tuple[float, float]:
    return max(1.0, sizes[-1]), 1


def _each(*sizes: float) -> tuple[float, float]:
    return 1 + sizes[0], sizes[0]


_CALLS: dict[str, Callable[..., tuple[float, float]]] = {
    "_==_": _compare, "_!=_": _compare, "_<_": _compare, "_<=_": _compare, "_>_": _compare, "_>=_": _compare,
    "_+_": _concatenate,
    "@in": _search,
    "contains": _contains, "indexOf": _contains, "lastIndexOf": _contains,
    "startsWith": _affix, "endsWith": _affix,
    "matches": _matches, "find": _matches, "findAll": _matches,
    "replace": _pass, "split": _pass, "lowerAscii": _pass, "upperAscii": _pass, "trim": _pass, "substring": _pass,
    "join": _pass, "format": _pass, "url": _pass, "isURL": _pass, "quantity": _pass, "isQuantity": _pass, "ip": _pass,
    "cidr": _pass, "semver": _pass, "@validate": _pass, "validate": _pass,
    "isSorted": _each, "sum": _each, "min": _each, "max": _each,
    "@not_strictly_false": lambda *sizes: (0, 1),
    "_&&_": lambda *sizes: (0, 1), "_||_": lambda *sizes: (0, 1),
}  # fmt: skip


@functools.lru_cache(maxsize=4)
def excess(limit: int) -> Callable[[float], str]:
    """How a cost over `limit` is told."""

    def describe(cost: float) -> str:
        factor = cost / limit
        if factor > 100:
            return "more than 100x"
        return f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"

    return describe
