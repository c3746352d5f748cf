"""Mistakes in constants that the type checker does not see: patterns, durations, moments and mixed literals."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterator

from google.api.expr.v1alpha1 import checked_pb2

from fairlead.kube import cel, cel_patterns, cel_rewrite
from fairlead.scheduling.allocator.selector_environment import Checked, CompileError

_PARSED = {"duration": "duration", "timestamp": "timestamp", "matches": "matches"}


def check_literals(checked: Checked) -> None:
    """Raises CompileError that shows each mistake."""
    found = [
        _mistake(checked, id_, message)
        for mistakes in (_mixed(checked.tree), _foreign(checked), _unparsable(checked.tree))
        for id_, message in mistakes
    ]
    if found:
        raise CompileError("compilation failed: " + "\n".join(found))


def _mixed(tree: checked_pb2.CheckedExpr) -> Iterator[tuple[int, str]]:
    for node in cel_rewrite.nodes(tree.expr):
        yield from itertools.islice(_unlike(tree, [element.id for element in node.list_expr.elements]), 1)
        entries = node.struct_expr.entries
        if entries and not node.struct_expr.message_name:
            yield from _unlike(tree, [entry.map_key.id for entry in entries])
            yield from _unlike(tree, [entry.value.id for entry in entries])


def _unlike(tree: checked_pb2.CheckedExpr, ids: list[int]) -> Iterator[tuple[int, str]]:
    types = [(id_, _spelled(tree.type_map[id_])) for id_ in ids if id_ in tree.type_map]
    for id_, name in types[1:]:
        if name != types[0][1]:
            yield id_, f"expected type '{types[0][1]}' but found '{name}'"


_PRIMITIVES = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_WELL_KNOWN = {1: "any", 2: "timestamp", 3: "duration"}


def _spelled(type_: checked_pb2.Type) -> str:
    kind = type_.WhichOneof("type_kind")
    if kind == "primitive":
        return _PRIMITIVES.get(type_.primitive, "dyn")
    if kind == "well_known":
        return _WELL_KNOWN.get(type_.well_known, "dyn")
    if kind == "list_type":
        return f"list({_spelled(type_.list_type.elem_type)})"
    if kind == "map_type":
        return f"map({_spelled(type_.map_type.key_type)}, {_spelled(type_.map_type.value_type)})"
    if kind == "message_type":
        return str(type_.message_type)
    if kind == "abstract_type":
        return f"{type_.abstract_type.name}({', '.join(map(_spelled, type_.abstract_type.parameter_types))})"
    return "null" if kind == "null" else "dyn"


def _foreign(checked: Checked) -> Iterator[tuple[int, str]]:
    """Functions that the runtime has and Kubernetes has not."""
    tree = checked.tree
    for node in cel_rewrite.nodes(tree.expr):
        name = node.call_expr.function
        if name.startswith("math."):
            yield node.id, f"undeclared reference to '{name}' (in container '')"
        elif name == "reverse" and node.call_expr.target.id in tree.type_map:
            target = _spelled(tree.type_map[node.call_expr.target.id])
            if target == "string":
                yield node.id, "found no matching overload for 'reverse' applied to 'string.()'"


def _unparsable(tree: checked_pb2.CheckedExpr) -> Iterator[tuple[int, str]]:
    found = []
    for node in cel_rewrite.nodes(tree.expr):
        function = node.call_expr.function
        if function not in _PARSED or not node.call_expr.args:
            continue
        argument = node.call_expr.args[-1]
        if argument.const_expr.WhichOneof("constant_kind") != "string_value":
            continue
        if not _parses(function, argument.const_expr.string_value):
            found.append((argument.id, f"invalid {function} argument"))
    yield from sorted(found, key=lambda mistake: tuple(_PARSED).index(mistake[1].split()[1]))


@functools.lru_cache(maxsize=1024)
def _parses(function: str, text: str) -> bool:
    if function == "matches":
        return cel_patterns.is_pattern(text)
    program = _parsers()[function]
    try:
        program.evaluate({"text": text})
    except cel.EvaluationError:
        return False
    return True


@functools.cache
def _parsers() -> dict[str, cel.Program]:
    environment = cel.Environment({"text": cel.STRING})
    return {
        "duration": environment.compile("duration(text) == duration(text)"),
        "timestamp": environment.compile("timestamp(text) == timestamp(text)"),
    }


def _mistake(checked: Checked, id_: int, message: str) -> str:
    info = checked.tree.source_info
    offset = info.positions.get(id_, 0)
    lines = checked.expression.split("\n")
    starts = [0]
    for line in lines[:-1]:
        starts.append(starts[-1] + len(line) + 1)
    row = bisect.bisect_right(starts, offset) - 1
    column = offset - starts[row]
    return f"ERROR: <input>:{row + 1}:{column + 1}: {message}\n | {lines[row]}\n | {'.' * column}^"
