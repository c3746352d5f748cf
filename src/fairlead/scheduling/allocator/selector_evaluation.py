"""A checked device selector as a tree of Python closures, which counts what it costs as cel-go does.

For the functions of `selector_functions` this is several times faster than the C++ runtime, which converts the whole
device for each evaluation, and it knows the exact cost. `plan` refuses what it does not know with `Unsupported`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.api.expr.v1alpha1 import checked_pb2, syntax_pb2

from fairlead.kube.cel_values import Version
from fairlead.scheduling.allocator import selector_environment as environment
from fairlead.scheduling.allocator.selector_charges import Charge, charge_of, equality
from fairlead.scheduling.allocator.selector_cost import MAX_COST, is_binding
from fairlead.scheduling.allocator.selector_device import Values
from fairlead.scheduling.allocator.selector_functions import (
    FUNCTIONS,
    Fault,
    contained,
    equals,
    index,
    no_overload,
    not_iterable,
    tenths,
)


class Unsupported(Exception):
    """The expression needs a function or a kind of value that only the C++ runtime has."""


class CostExceeded(Exception):
    """The evaluation costs more than is allowed; nothing passes over it."""


class Run:
    """One evaluation: the device, the values of local variables, and the cost so far."""

    __slots__ = ("attributes", "capacity", "cost", "locals", "values")

    def __init__(self, values: Values, locals_: int) -> None:
        self.values = values
        self.attributes = values.attributes
        self.capacity = values.capacity
        self.cost = 0
        self.locals: list[Any] = [None] * locals_


Step = Callable[[Run], Any]
_UNSET = object()
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


@dataclass(frozen=True, slots=True)
class _Constant:
    """Marks a step whose value is known, for cheaper neighbours; constants cost nothing."""

    value: Any

    def __call__(self, run: Run) -> Any:
        return self.value


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
            return _Constant(None)
        if kind not in _SCALARS:
            raise Unsupported(str(kind))
        return _Constant(getattr(expr.const_expr, kind))

    def _identifier(self, expr: syntax_pb2.Expr) -> Step:
        name = expr.ident_expr.name
        if self._scopes.get(name):
            place, lazy = self._scopes[name][-1]
            return _bound(place, lazy) if lazy else _local(place)
        step = _VARIABLES.get(name)
        if step is None:
            raise Unsupported(name)
        return step

    def _selection(self, expr: syntax_pb2.Expr) -> Step:
        operand, name = expr.select_expr.operand, expr.select_expr.field
        container = self.step(operand)
        if expr.select_expr.test_only:
            return _presence(container, name, 0 if self._is_path(operand) else 1)
        return _constant_path(operand, name) or _select(container, name, 1 if self._is_path(operand) else 2)

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
        if all(isinstance(step, _Constant) for step in steps):
            return _Constant([step(_NOTHING) for step in steps])
        return _make_list(steps)

    def _map(self, expr: syntax_pb2.Expr) -> Step:
        struct = expr.struct_expr
        if struct.message_name or any(entry.optional_entry for entry in struct.entries):
            raise Unsupported("struct")
        pairs = [(self.step(entry.map_key), self.step(entry.value)) for entry in struct.entries]
        keys = [key.value if isinstance(key, _Constant) else None for key, _ in pairs]
        if any(type(key) is not str for key in keys):
            raise Unsupported("map key")
        if all(isinstance(value, _Constant) for _, value in pairs):
            return _Constant({key: value(_NOTHING) for key, (_, value) in zip(keys, pairs, strict=True)})
        return _make_map([(key, value) for key, (_, value) in zip(keys, pairs, strict=True)])

    def _call(self, expr: syntax_pb2.Expr) -> Step:
        call = expr.call_expr
        name = call.function
        arguments = [call.target, *call.args] if call.HasField("target") else list(call.args)
        if name == "_[_]":
            return self._indexing(arguments)
        steps = [self.step(argument) for argument in arguments]
        if name == "_?_:_":
            return _ternary(
                steps, [self._is_path(branch) and branch.call_expr.function != name for branch in arguments[1:]]
            )
        special = _SPECIAL.get(name)
        if special is not None:
            return special(*steps)
        function = FUNCTIONS.get(name)
        if function is None:
            raise Unsupported(name)
        if name in _CONVERSIONS and isinstance(steps[0], _Constant):
            return _folded(function, steps[0])
        if name == "@in" and isinstance(steps[1], _Constant) and isinstance(steps[1].value, list):
            return _membership(steps[0], steps[1].value)
        overloads = self._references[expr.id].overload_id if expr.id in self._references else ()
        return _calling(name, function, steps, charge_of(name, overloads))

    def _indexing(self, arguments: Sequence[syntax_pb2.Expr]) -> Step:
        container, key = (self.step(argument) for argument in arguments)
        if isinstance(key, _Constant):
            path = _constant_path(arguments[0], key.value)
            if path is not None:
                return path
        return _index(container, key, 1 if self._is_path(arguments[0]) else 2, self._is_path(arguments[1]))

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
        return _fold(_Fold(source, start, condition, turn, result, accumulator, first, second))

    def _binding(self, loop: syntax_pb2.Expr.Comprehension) -> Step:
        value = self.step(loop.accu_init)
        place = self._push(loop.accu_var, value)
        result = self.step(loop.result)
        self._pop(loop.accu_var)

        def bind(run: Run) -> Any:
            run.locals[place] = _UNSET
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


_NOTHING: Any = None
"""Constants do not look at the run."""


def _variable(read: Callable[[Run], Any], cost: int) -> Step:
    def variable(run: Run) -> Any:
        run.cost += cost
        return read(run)

    return variable


_VARIABLES: Mapping[str, Step] = {
    "device": _variable(lambda run: run.values.plain, 1),
    environment.DRIVER: _variable(lambda run: run.values.driver, 2),
    environment.SHARED: _variable(lambda run: run.values.shared, 2),
    environment.ATTRIBUTES: _variable(lambda run: run.attributes, 2),
    environment.CAPACITY: _variable(lambda run: run.capacity, 2),
}


def _constant_path(operand: syntax_pb2.Expr, id_: Any) -> Step | None:
    """`device.attributes["domain"].id` in one step."""
    if operand.WhichOneof("expr_kind") != "call_expr" or operand.call_expr.function != "_[_]":
        return None
    container, key = operand.call_expr.args
    domain = key.const_expr.string_value
    if not domain or type(id_) is not str or container.WhichOneof("expr_kind") != "ident_expr":
        return None
    if container.ident_expr.name == environment.ATTRIBUTES:

        def attribute(run: Run) -> Any:
            run.cost += 4
            try:
                return run.attributes[domain][id_]
            except KeyError:
                raise Fault(f"no such key: {id_}") from None

        return attribute
    if container.ident_expr.name == environment.CAPACITY:

        def capacity(run: Run) -> Any:
            run.cost += 4
            try:
                return run.capacity[domain][id_]
            except KeyError:
                raise Fault(f"no such key: {id_}") from None

        return capacity
    return None


def _read(value: Any) -> Any:
    if isinstance(value, Fault):
        raise value
    return value


def _local(place: int) -> Step:
    def local(run: Run) -> Any:
        run.cost += 1
        return _read(run.locals[place])

    return local


def _bound(place: int, lazy: Step) -> Step:
    def bound(run: Run) -> Any:
        run.cost += 1
        value = run.locals[place]
        if value is _UNSET:
            try:
                value = lazy(run)
            except Fault as fault:
                value = fault
            run.locals[place] = value
        return _read(value)

    return bound


def _select(container: Step, name: str, cost: int) -> Step:
    def select(run: Run) -> Any:
        value = container(run)
        run.cost += cost
        return index(value, name)

    return select


def _index(container: Step, key: Step, cost: int, key_is_path: bool) -> Step:
    if key_is_path:

        def look_up_path(run: Run) -> Any:
            value = container(run)
            place = key(run)
            # A path as key is charged as a path, and not as a key too.
            run.cost += cost - 1
            return index(value, place)

        return look_up_path

    def look_up(run: Run) -> Any:
        value = container(run)
        place = key(run)
        run.cost += cost
        return index(value, place)

    return look_up


def _presence(container: Step, name: str, cost: int) -> Step:
    def present(run: Run) -> bool:
        value = container(run)
        run.cost += cost
        if value is run.attributes or value is run.capacity:
            return True
        return isinstance(value, dict) and name in value

    return present


def _make_list(steps: Sequence[Step]) -> Step:
    def make(run: Run) -> list[Any]:
        run.cost += 10
        return [step(run) for step in steps]

    return make


def _make_map(pairs: Sequence[tuple[Any, Step]]) -> Step:
    def make(run: Run) -> dict[Any, Any]:
        run.cost += 30
        return {key: step(run) for key, step in pairs}

    return make


def _folded(function: Callable[..., Any], argument: _Constant) -> Step:
    try:
        return _Constant(function(argument.value))
    except Fault as fault:
        raise environment.CompileError(f"program instantiation failed: {fault}") from None


def _raising(fault: Fault) -> Step:
    def fail(run: Run) -> Any:
        raise Fault(str(fault))

    return fail


def _membership(value: Step, items: list[Any]) -> Step:
    """Membership in a list of constants, which costs nothing."""
    if not items:
        return _Constant(False)
    if all(type(item) is str for item in items):
        members = frozenset(items)

        def among(run: Run) -> bool:
            wanted = value(run)
            if type(wanted) is Version:
                raise Fault("internal error: runtime error: hash of unhashable type cel.Semver")
            return type(wanted) is str and wanted in members

        return among
    return lambda run: contained(value(run), items)


def _calling(name: str, function: Callable[..., Any], steps: Sequence[Step], charge: Charge | None) -> Step:
    if name == "_==_" and isinstance(steps[1], _Constant) and type(steps[1].value) is str:
        return _equals_text(steps[0], steps[1].value)
    if name in ("quantity", "semver") and all(isinstance(step, _Constant) for step in steps):
        return _literal(function, steps, charge)
    if len(steps) == 2:
        return _binary(function, steps[0], steps[1], charge)

    def call(run: Run) -> Any:
        arguments = _evaluated(run, steps)
        try:
            result = function(*arguments)
        except Fault:
            run.cost += charge(arguments, None) if charge else 1
            raise
        run.cost += charge(arguments, result) if charge else 1
        return result

    return call


def _charge_after_fault(step: Step, run: Run) -> None:
    """The other argument of a call that has failed already is evaluated nevertheless."""
    with contextlib.suppress(Fault):
        step(run)
    run.cost += 1


def _evaluated(run: Run, steps: Sequence[Step]) -> list[Any]:
    """All arguments are evaluated before the first failure counts; a failed call is charged too."""
    values: list[Any] = []
    first: Fault | None = None
    for step in steps:
        try:
            values.append(step(run))
        except Fault as fault:
            first = first or fault
    if first is not None:
        run.cost += 1
        raise first
    return values


def _equals_text(left: Step, text: str) -> Step:
    length = len(text)

    def equal(run: Run) -> bool:
        try:
            value = left(run)
        except Fault:
            run.cost += 1
            raise
        if type(value) is str:
            run.cost += tenths(min(length, len(value)))
            return value == text
        run.cost += equality((value, text), None)
        return equals(value, text)

    return equal


def _literal(function: Callable[..., Any], steps: Sequence[Step], charge: Charge | None) -> Step:
    """`quantity("1Gi")`: parsed once, charged each time."""
    arguments = [step(_NOTHING) for step in steps]
    cost = charge(arguments, None) if charge else 1
    try:
        value = function(*arguments)
    except Fault as fault:
        return _raising(fault)

    def literal(run: Run) -> Any:
        run.cost += cost
        return value

    return literal


def _binary(function: Callable[..., Any], left: Step, right: Step, charge: Charge | None) -> Step:
    steps = (left, right)
    if charge is None:

        def plain(run: Run) -> Any:
            try:
                first = left(run)
            except Fault as fault:
                _charge_after_fault(right, run)
                raise fault from None
            # Charged whether or not the rest fails.
            run.cost += 1
            return function(first, right(run))

        return plain

    def charged(run: Run) -> Any:
        arguments = _evaluated(run, steps)
        try:
            result = function(*arguments)
        except Fault:
            run.cost += charge(arguments, None)
            raise
        run.cost += charge(arguments, result)
        return result

    return charged


def _deciding(decisive: bool) -> Callable[[Step, Step], Step]:
    """`&&` is decided by false and `||` by true, whatever the other side fails with."""

    def combine(left: Step, right: Step) -> Step:
        def decide(run: Run) -> bool:
            try:
                first = left(run)
            except Fault as fault:
                return _undecided(right, run, decisive, fault)
            if first is decisive:
                return decisive
            if type(first) is not bool:
                return _undecided(right, run, decisive, no_overload())
            second = right(run)
            if second is decisive:
                return decisive
            if type(second) is not bool:
                raise no_overload()
            return not decisive

        return decide

    return combine


def _undecided(right: Step, run: Run, decisive: bool, fault: Fault) -> bool:
    """The left side has failed, and the whole fails with it unless the right side decides."""
    with contextlib.suppress(Fault):
        if right(run) is decisive:
            return decisive
    raise fault


def _ternary(steps: Sequence[Step], paths: Sequence[bool]) -> Step:
    condition, then, otherwise = steps
    # A path that is chosen is charged without its first name.
    then_less, otherwise_less = paths

    def choose(run: Run) -> Any:
        verdict = condition(run)
        if verdict is True:
            run.cost -= then_less
            return then(run)
        if verdict is False:
            run.cost -= otherwise_less
            return otherwise(run)
        raise no_overload()

    return choose


def _not_strictly_false(value: Step) -> Step:
    def lenient(run: Run) -> bool:
        run.cost += 1
        try:
            return value(run) is not False
        except Fault:
            return True

    return lenient


_SPECIAL: Mapping[str, Callable[..., Step]] = {
    "_&&_": _deciding(False),
    "_||_": _deciding(True),
    "@not_strictly_false": _not_strictly_false,
}


@dataclass(frozen=True, slots=True)
class _Fold:
    source: Step
    start: Step
    condition: Step
    turn: Step
    result: Step
    accumulator: int
    first: int
    second: int | None

    def pairs(self, items: Any) -> Any:
        if isinstance(items, dict):
            return items.items()
        if isinstance(items, list):
            return enumerate(items)
        raise not_iterable(items)


def _fold(fold: _Fold) -> Step:
    def run_fold(run: Run) -> Any:
        items = fold.source(run)
        pairs = fold.pairs(items)
        values = run.locals
        by_key = fold.second is not None or isinstance(items, dict)
        values[fold.accumulator] = fold.start(run)
        for key, item in pairs:
            values[fold.first] = key if by_key else item
            if fold.second is not None:
                values[fold.second] = item
            if fold.condition(run) is False:
                break
            try:
                values[fold.accumulator] = fold.turn(run)
            except Fault as fault:
                values[fold.accumulator] = fault
            if run.cost > MAX_COST:
                raise CostExceeded
        return fold.result(run)

    return run_fold
