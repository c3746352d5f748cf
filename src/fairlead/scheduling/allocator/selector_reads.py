"""Which attributes and capacities of a device a selector reads: devices that have these alike get the same verdict.

Drivers publish serial numbers, so that no two devices are equal; but hardly a selector reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from google.api.expr.v1alpha1 import checked_pb2, syntax_pb2

from fairlead.kube import cel_rewrite
from fairlead.scheduling.allocator.selector_environment import ATTRIBUTES, CAPACITY


class Read(NamedTuple):
    """`device.attributes[domain].name`, or the same of `device.capacity`."""

    is_capacity: bool
    domain: str
    name: str


def reads_of(tree: checked_pb2.CheckedExpr) -> tuple[Read, ...] | None:
    """All that the expression reads, driver and sharing apart; None where it handles maps as a whole."""
    found: set[Read] = set()
    mentioned = matched = 0
    for node in cel_rewrite.nodes(tree.expr):
        kind = node.WhichOneof("expr_kind")
        if kind == "ident_expr":
            name = node.ident_expr.name
            if name == "device":
                return None
            mentioned += name in (ATTRIBUTES, CAPACITY)
        for read in _path(node, kind or ""):
            found.add(read)
            matched += 1
    return tuple(sorted(found)) if mentioned == matched else None


def _path(node: syntax_pb2.Expr, kind: str) -> Iterator[Read]:
    """The read that the node is, if it is one."""
    if kind == "select_expr":
        operand, name = node.select_expr.operand, node.select_expr.field
    elif kind == "call_expr" and node.call_expr.function == "_[_]":
        operand, name = node.call_expr.args[0], node.call_expr.args[1].const_expr.string_value
    else:
        return
    if not name or operand.WhichOneof("expr_kind") != "call_expr" or operand.call_expr.function != "_[_]":
        return
    container, domain = operand.call_expr.args
    variable = container.ident_expr.name
    if variable in (ATTRIBUTES, CAPACITY) and domain.const_expr.string_value:
        yield Read(variable == CAPACITY, domain.const_expr.string_value, name)
