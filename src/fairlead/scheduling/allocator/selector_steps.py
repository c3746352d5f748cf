"""The steps that an evaluation of a device selector consists of: Python closures that count what they cost.

Costs follow cel-go's runtime (interpreter/runtimecost.go): one for a name and for each part of a path, nothing for
constants and for `&&`, `||` and `?:`, and what `selector_charges` says for calls.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.api.expr.v1alpha1 import syntax_pb2

from fairlead.kube.cel_values import Version
from fairlead.scheduling.allocator import selector_environment as environment
from fairlead.scheduling.allocator.selector_charges import Charge, equality
from fairlead.scheduling.allocator.selector_cost import MAX_COST
from fairlead.scheduling.allocator.selector_device import Values
from fairlead.scheduling.allocator.selector_values import (
    Fault,
    contained,
    equals,
    index,
    no_overload,
    not_iterable,
    tenths,
)


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
UNSET = object()


@dataclass(frozen=True, slots=True)
class Constant:
    """Marks a step whose value is known, for cheaper neighbours; constants cost nothing."""

    value: Any

    def __call__(self, run: Run) -> Any:
        return self.value


NOTHING: Any = None
"""Constants do not look at the run."""


def _variable(read: Callable[[Run], Any], cost: int) -> Step:
    def variable(run: Run) -> Any:
        run.cost += cost
        return read(run)

    return variable


VARIABLES: Mapping[str, Step] = {
    "device": _variable(lambda run: run.values.plain, 1),
    environment.DRIVER: _variable(lambda run: run.values.driver, 2),
    environment.SHARED: _variable(lambda run: run.values.shared, 2),
    environment.ATTRIBUTES: _variable(lambda run: run.attributes, 2),
    environment.CAPACITY: _variable(lambda run: run.capacity, 2),
}


def constant_path(operand: syntax_pb2.Expr, id_: Any) -> Step | None:
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


def local_variable(place: int) -> Step:
    def local(run: Run) -> Any:
        run.cost += 1
        return _read(run.locals[place])

    return local


def bound_variable(place: int, lazy: Step) -> Step:
    def bound(run: Run) -> Any:
        run.cost += 1
        value = run.locals[place]
        if value is UNSET:
            try:
                value = lazy(run)
            except Fault as fault:
                value = fault
            run.locals[place] = value
        return _read(value)

    return bound


def select_field(container: Step, name: str, cost: int) -> Step:
    def select(run: Run) -> Any:
        value = container(run)
        run.cost += cost
        return index(value, name)

    return select


def look_up(container: Step, key: Step, cost: int, key_is_path: bool) -> Step:
    if key_is_path:

        def look_up_path(run: Run) -> Any:
            value = container(run)
            place = key(run)
            # A path as key is charged as a path, and not as a key too.
            run.cost += cost - 1
            return index(value, place)

        return look_up_path

    def look_up_value(run: Run) -> Any:
        value = container(run)
        place = key(run)
        run.cost += cost
        return index(value, place)

    return look_up_value


def presence(container: Step, name: str, cost: int) -> Step:
    def present(run: Run) -> bool:
        value = container(run)
        run.cost += cost
        if value is run.attributes or value is run.capacity:
            return True
        return isinstance(value, dict) and name in value

    return present


def make_list(steps: Sequence[Step]) -> Step:
    def make(run: Run) -> list[Any]:
        run.cost += 10
        return [step(run) for step in steps]

    return make


def make_map(pairs: Sequence[tuple[Any, Step]]) -> Step:
    def make(run: Run) -> dict[Any, Any]:
        run.cost += 30
        return {key: step(run) for key, step in pairs}

    return make


def folded(function: Callable[..., Any], argument: Constant) -> Step:
    try:
        return Constant(function(argument.value))
    except Fault as fault:
        raise environment.CompileError(f"program instantiation failed: {fault}") from None


def _raising(fault: Fault) -> Step:
    def fail(run: Run) -> Any:
        raise Fault(str(fault))

    return fail


def membership(value: Step, items: list[Any]) -> Step:
    """Membership in a list of constants, which costs nothing."""
    if not items:
        return Constant(False)
    if all(type(item) is str for item in items):
        members = frozenset(items)

        def among(run: Run) -> bool:
            wanted = value(run)
            if type(wanted) is Version:
                raise Fault("internal error: runtime error: hash of unhashable type cel.Semver")
            return type(wanted) is str and wanted in members

        return among
    return lambda run: contained(value(run), items)


def call_function(name: str, function: Callable[..., Any], steps: Sequence[Step], charge: Charge | None) -> Step:
    if name == "_==_" and isinstance(steps[1], Constant) and type(steps[1].value) is str:
        return _equals_text(steps[0], steps[1].value)
    if name in ("quantity", "semver") and all(isinstance(step, Constant) for step in steps):
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
    arguments = [step(NOTHING) for step in steps]
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
                return bool(decisive)
            if type(first) is not bool:
                return _undecided(right, run, decisive, no_overload())
            second = right(run)
            if second is decisive:
                return bool(decisive)
            if type(second) is not bool:
                raise no_overload()
            return not decisive

        return decide

    return combine


def _undecided(right: Step, run: Run, decisive: bool, fault: Fault) -> bool:
    """The left side has failed, and the whole fails with it unless the right side decides."""
    with contextlib.suppress(Fault):
        if right(run) is decisive:
            return bool(decisive)
    raise fault


def ternary(steps: Sequence[Step], paths: Sequence[bool]) -> Step:
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


SPECIAL: Mapping[str, Callable[..., Step]] = {
    "_&&_": _deciding(False),
    "_||_": _deciding(True),
    "@not_strictly_false": _not_strictly_false,
}


@dataclass(frozen=True, slots=True)
class Fold:
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


def fold_items(fold: Fold) -> Step:
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
