"""Rewrites of checked CEL syntax trees, for what the runtime's extension points cannot express.

- An index into a map named in `empty_if_absent` yields an empty map for a missing key.
- An optional variable, bound to a map with or without a value, becomes the optional entry of that map.
- A function of ours whose result is optional returns a list or string, and is wrapped into `optional.ofNonZeroValue`.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.api.expr.v1alpha1 import checked_pb2, syntax_pb2
from google.protobuf import any_pb2

OPTIONAL_RESULTS = {"validate": "@validate"}
"""Name in expressions -> name of the function that computes the plain result."""

BOX = "value"
"""Key under which the runtime holds the value of an optional variable, in a map that is empty where there is none."""

_FIRST_NEW_ID = 1_000_000
_COMPREHENSION_PARTS = ("iter_range", "accu_init", "loop_condition", "loop_step", "result")


def checked(serialized: bytes) -> checked_pb2.CheckedExpr:
    """A serialized checked expression as a message."""
    return checked_pb2.CheckedExpr.FromString(any_pb2.Any.FromString(serialized).value)


def syntax_tree(serialized: bytes) -> syntax_pb2.Expr:
    """The root of a serialized checked expression."""
    return checked(serialized).expr


def rewrite(
    serialized: bytes, empty_if_absent: frozenset[str], optional: frozenset[str]
) -> tuple[bytes, frozenset[str]]:
    """The serialized checked expression, rewritten, and the identifiers that it mentions."""
    wrapped = any_pb2.Any.FromString(serialized)
    checked = checked_pb2.CheckedExpr.FromString(wrapped.value)
    identifiers = set()
    next_id = _FIRST_NEW_ID
    for node in list(nodes(checked.expr)):
        kind = node.WhichOneof("expr_kind")
        if kind == "ident_expr":
            identifiers.add(node.ident_expr.name)
        if kind == "ident_expr" and node.ident_expr.name in optional:
            box = syntax_pb2.Expr(id=next_id)
            box.ident_expr.name = node.ident_expr.name
            key = syntax_pb2.Expr(id=next_id + 1)
            key.const_expr.string_value = BOX
            _replace(checked, node, "_[?_]", None, box, key)
            checked.reference_map[next_id].name = box.ident_expr.name
        elif kind == "call_expr":
            _rewrite_call(checked, node, next_id, empty_if_absent)
        next_id += 2
    wrapped.value = checked.SerializeToString()
    return wrapped.SerializeToString(), frozenset(identifiers)


def _rewrite_call(
    checked: checked_pb2.CheckedExpr, node: syntax_pb2.Expr, next_id: int, empty_if_absent: frozenset[str]
) -> None:
    call = node.call_expr
    if call.function == "_[_]" and _path(call.args[0]) in empty_if_absent:
        lookup = syntax_pb2.Expr(id=next_id)
        lookup.call_expr.function = "_[?_]"
        lookup.call_expr.args.extend(call.args)
        empty = syntax_pb2.Expr(id=next_id + 1)
        empty.struct_expr.SetInParent()
        _replace(checked, node, "orValue", lookup, empty)
    elif call.function in OPTIONAL_RESULTS and call.HasField("target"):
        inner = syntax_pb2.Expr(id=next_id)
        inner.call_expr.function = OPTIONAL_RESULTS[call.function]
        inner.call_expr.args.extend([call.target, *call.args])
        _replace(checked, node, "optional.ofNonZeroValue", None, inner)


def _replace(
    checked: checked_pb2.CheckedExpr,
    node: syntax_pb2.Expr,
    function: str,
    target: syntax_pb2.Expr | None,
    *arguments: syntax_pb2.Expr,
) -> None:
    call = node.call_expr
    call.Clear()
    call.function = function
    if target is not None:
        call.target.CopyFrom(target)
    call.args.extend(arguments)
    checked.reference_map.pop(node.id, None)


def nodes(expr: syntax_pb2.Expr) -> Iterator[syntax_pb2.Expr]:
    """Every node, children first, so that a rewritten node carries its rewritten children."""
    kind = expr.WhichOneof("expr_kind")
    if kind == "select_expr":
        yield from nodes(expr.select_expr.operand)
    elif kind == "call_expr":
        if expr.call_expr.HasField("target"):
            yield from nodes(expr.call_expr.target)
        for argument in expr.call_expr.args:
            yield from nodes(argument)
    elif kind == "list_expr":
        for element in expr.list_expr.elements:
            yield from nodes(element)
    elif kind == "struct_expr":
        for entry in expr.struct_expr.entries:
            if entry.WhichOneof("key_kind") == "map_key":
                yield from nodes(entry.map_key)
            yield from nodes(entry.value)
    elif kind == "comprehension_expr":
        for part in _COMPREHENSION_PARTS:
            yield from nodes(getattr(expr.comprehension_expr, part))
    yield expr


def _path(expr: syntax_pb2.Expr) -> str:
    """ "a.b" for a selection of fields from an identifier, otherwise empty."""
    kind = expr.WhichOneof("expr_kind")
    if kind == "ident_expr":
        return str(expr.ident_expr.name)
    if kind == "select_expr" and not expr.select_expr.test_only:
        operand = _path(expr.select_expr.operand)
        return f"{operand}.{expr.select_expr.field}" if operand else ""
    return ""
