"""A checked device selector as a tree of Python closures, which counts what it costs as cel-go does.

For the functions of `selector_functions` this is several times faster than the C++ runtime, which converts the whole
device for each evaluation, and it knows the exact cost. `plan` refuses what it does not know with `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.api.expr.v1alpha1 import checked_pb2, syntax_pb2

from fairlead.scheduling.allocator.selector_charges import charge_of
from fairlead.scheduling.allocator.selector_cost import MAX_COST, is_binding
from fairlead.scheduling.allocator.selector_device import Values
from fairlead.scheduling.allocator.selector_functions import FUNCTIONS
from fairlead.scheduling.allocator.selector_steps import (
    NOTHING,
    SPECIAL,
    UNSET,
    VARIABLES,
    Constant,
    CostExceeded,
    Fold,
    Run,
    Step,
    bound_variable,
    call_function,
    constant_path,
    fold_items,
    folded,
    local_variable,
    look_up,
    make_list,
    make_map,
    membership,
    presence,
    select_field,
    ternary,
)


class Unsupported(Exception):
    """The expression needs a function or a kind of value that only the C++ runtime has."""


_CONVERSIONS = frozenset(("int", "double", "string", "dyn", "bool"))
_SCALARS = ("bool_value", "int64_value", "double_value", "string_value")


@dataclass(frozen=True, slots=True)
class Plan:
    """Ready to run."""

    step: Step
    locals: int

    def run(self, values: Values) -> tuple[Any, int]:
        """The result and its cost. Raises Fault and CostExceeded."""
        run = Run(values, self.locals)
        result = self.step(run)
        if run.cost > MAX_COST:
            raise CostExceeded
        return result, run.cost


def plan(tree: checked_pb2.CheckedExpr) -> Plan:
    """Raises Unsupported, and CompileError for a conversion of a constant that fails."""
    planner = _Planner(tree)
    return Plan(planner.step(tree.expr), planner.locals)


class _Planner:
    def __init__(self, tree: checked_pb2.CheckedExpr) -> None:
        self._references = tree.reference_map
        self._scopes: dict[str, list[tuple[int, Step | None]]] = {}
        self.locals = 0
        self._planners: Mapping[str, Callable[[syntax_pb2.Expr], Step]] = {
            "const_expr": self._constant,
            "ident_expr": self._identifier,
            "select_expr": self._selection,
            "call_expr": self._call,
            "list_expr": self._list,
            "struct_expr": self._map,
            "comprehension_expr": self._comprehension,
        }

    def step(self, expr: syntax_pb2.Expr) -> Step:
        return self._planners[expr.WhichOneof("expr_kind") or "const_expr"](expr)

    def _constant(self, expr: syntax_pb2.Expr) -> Step:
        kind = expr.const_expr.WhichOneof("constant_kind")
        if kind == "null_value":
            return Constant(None)
        if kind not in _SCALARS:
            raise Unsupported(str(kind))
        return Constant(getattr(expr.const_expr, kind))

    def _identifier(self, expr: syntax_pb2.Expr) -> Step:
        name = expr.ident_expr.name
        if self._scopes.get(name):
            place, lazy = self._scopes[name][-1]
            return bound_variable(place, lazy) if lazy else local_variable(place)
        step = VARIABLES.get(name)
        if step is None:
            raise Unsupported(name)
        return step

    def _selection(self, expr: syntax_pb2.Expr) -> Step:
        operand, name = expr.select_expr.operand, expr.select_expr.field
        container = self.step(operand)
        if expr.select_expr.test_only:
            return presence(container, name, 0 if self._is_path(operand) else 1)
        return constant_path(operand, name) or select_field(container, name, 1 if self._is_path(operand) else 2)

    def _is_path(self, expr: syntax_pb2.Expr) -> bool:
        """Whether selections from it are charged as one path with it."""
        kind = expr.WhichOneof("expr_kind")
        if kind == "call_expr":
            return expr.call_expr.function in ("_[_]", "_?_:_")
        return kind == "ident_expr" or (kind == "select_expr" and not expr.select_expr.test_only)

    def _list(self, expr: syntax_pb2.Expr) -> Step:
        if expr.list_expr.optional_indices:
            raise Unsupported("optional element")
        steps = [self.step(element) for element in expr.list_expr.elements]
        if all(isinstance(step, Constant) for step in steps):
            return Constant([step(NOTHING) for step in steps])
        return make_list(steps)

    def _map(self, expr: syntax_pb2.Expr) -> Step:
        struct = expr.struct_expr
        if struct.message_name or any(entry.optional_entry for entry in struct.entries):
            raise Unsupported("struct")
        pairs = [(self.step(entry.map_key), self.step(entry.value)) for entry in struct.entries]
        keys = [key.value if isinstance(key, Constant) else None for key, _ in pairs]
        if any(type(key) is not str for key in keys):
            raise Unsupported("map key")
        if all(isinstance(value, Constant) for _, value in pairs):
            return Constant({key: value(NOTHING) for key, (_, value) in zip(keys, pairs, strict=True)})
        return make_map([(key, value) for key, (_, value) in zip(keys, pairs, strict=True)])

    def _call(self, expr: syntax_pb2.Expr) -> Step:
        call = expr.call_expr
        name = call.function
        arguments = [call.target, *call.args] if call.HasField("target") else list(call.args)
        if name == "_[_]":
            return self._indexing(arguments)
        steps = [self.step(argument) for argument in arguments]
        if name == "_?_:_":
            return ternary(
                steps, [self._is_path(branch) and branch.call_expr.function != name for branch in arguments[1:]]
            )
        special = SPECIAL.get(name)
        if special is not None:
            return special(*steps)
        function = FUNCTIONS.get(name)
        if function is None:
            raise Unsupported(name)
        if name in _CONVERSIONS and isinstance(steps[0], Constant):
            return folded(function, steps[0])
        if name == "@in" and isinstance(steps[1], Constant) and isinstance(steps[1].value, list):
            return membership(steps[0], steps[1].value)
        overloads = self._references[expr.id].overload_id if expr.id in self._references else ()
        return call_function(name, function, steps, charge_of(name, overloads))

    def _indexing(self, arguments: Sequence[syntax_pb2.Expr]) -> Step:
        container, key = (self.step(argument) for argument in arguments)
        if isinstance(key, Constant):
            path = constant_path(arguments[0], key.value)
            if path is not None:
                return path
        return look_up(container, key, 1 if self._is_path(arguments[0]) else 2, self._is_path(arguments[1]))

    def _comprehension(self, expr: syntax_pb2.Expr) -> Step:
        loop = expr.comprehension_expr
        if is_binding(loop):
            return self._binding(loop)
        source, start = self.step(loop.iter_range), self.step(loop.accu_init)
        accumulator = self._push(loop.accu_var)
        first = self._push(loop.iter_var)
        second = self._push(loop.iter_var2) if loop.iter_var2 else None
        condition, turn = self.step(loop.loop_condition), self.step(loop.loop_step)
        self._pop(loop.iter_var, loop.iter_var2)
        result = self.step(loop.result)
        self._pop(loop.accu_var)
        return fold_items(Fold(source, start, condition, turn, result, accumulator, first, second))

    def _binding(self, loop: syntax_pb2.Expr.Comprehension) -> Step:
        value = self.step(loop.accu_init)
        place = self._push(loop.accu_var, value)
        result = self.step(loop.result)
        self._pop(loop.accu_var)

        def bind(run: Run) -> Any:
            run.locals[place] = UNSET
            return result(run)

        return bind

    def _push(self, name: str, lazy: Step | None = None) -> int:
        place = self.locals
        self.locals += 1
        self._scopes.setdefault(name, []).append((place, lazy))
        return place

    def _pop(self, *names: str) -> None:
        for name in filter(None, names):
            self._scopes[name].pop()
