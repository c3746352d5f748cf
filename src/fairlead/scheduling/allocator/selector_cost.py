"""The worst-case cost of a device selector, estimated from its text, as an API server does at admission.

Costs are cel-go's units: roughly one per step, a tenth of one per character that is traversed. The estimate knows the
largest device that the API admits (`_DEVICE`) and nothing of a particular one. Its model and constants are those of
cel-go's checker (checker/cost.go) and of Kubernetes' function library, which are part of the API: an expression that
one server accepts must be accepted by another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from google.api.expr.v1alpha1 import checked_pb2, syntax_pb2

from fairlead.scheduling.allocator.selector_environment import INCLUDES, MAX_LIST_VALUES, Checked
from fairlead.scheduling.allocator.selector_sizes import (
    BOUNDLESS,
    LIBRARY,
    ONE,
    PER_CHARACTER,
    UNIT,
    UNKNOWN,
    Estimate,
    Operand,
    Result,
)

MAX_COST = 1_000_000
"""Highest estimate that an API server accepts, and the highest cost of one evaluation."""

_LIST, _MAP, _STRUCT = Estimate.exactly(10), Estimate.exactly(30), Estimate.exactly(40)
_FREE = Estimate(0, 0)
_RESULT_NAMES = ("@result", "__result__")


@dataclass(frozen=True, slots=True)
class _Declared:
    """A part of the device: its largest size and the parts below it."""

    size: int
    fields: Mapping[str, _Declared] = field(default_factory=dict)
    keys: _Declared | None = None
    values: _Declared | None = None
    any_field: bool = False
    """Whether selecting a field gives `values`, as for attributes."""


_ID, _DOMAIN = _Declared(32), _Declared(63)
_NAMES = 32
_ATTRIBUTE, _QUANTITY = _Declared(64), _Declared(2**63 - 1)
_DEVICE = _Declared(
    0,
    {
        "driver": _Declared(63),
        "allowMultipleAllocations": _Declared(1),
        "attributes": _Declared(
            _NAMES, keys=_DOMAIN, values=_Declared(_NAMES, keys=_ID, values=_ATTRIBUTE, any_field=True)
        ),
        "capacity": _Declared(_NAMES, keys=_DOMAIN, values=_Declared(_NAMES, keys=_ID, values=_QUANTITY)),
    },
)


def estimate(checked: Checked) -> int:
    """The highest cost that an evaluation can have, at most 2^64-1."""
    return _Estimator(checked.tree).cost(checked.tree.expr).high


def _declared_size(path: Sequence[str]) -> Estimate | None:
    if not path or path[0] != "device":
        return None
    part: _Declared | None = _DEVICE
    for name in path[1:]:
        assert part is not None
        if name in ("@items", "@values"):
            part = part.values
        elif name == "@keys":
            part = part.keys
        else:
            part = part.fields.get(name) or (part.values if part.any_field else None)
        if part is None:
            return None
    return Estimate(0, part.size) if part is not None else None


@dataclass(frozen=True, slots=True)
class _Entries:
    """Sizes of what a list or map holds."""

    is_list: bool
    key: Estimate
    value: Estimate


@dataclass(frozen=True, slots=True)
class _Local:
    path: tuple[str, ...]
    size: Estimate | None
    entries: _Entries | None


class _Estimator:
    """One walk over one expression."""

    def __init__(self, tree: checked_pb2.CheckedExpr) -> None:
        self._types = tree.type_map
        self._references = tree.reference_map
        self._paths: dict[int, tuple[str, ...]] = {}
        self._locals: dict[str, list[_Local]] = {}
        self._sizes: dict[int, Estimate] = {}
        self._entries: dict[int, _Entries] = {}
        self._walks: Mapping[str, Callable[[syntax_pb2.Expr], Estimate]] = {
            "const_expr": lambda _: _FREE,
            "ident_expr": self._identifier,
            "select_expr": self._selection,
            "call_expr": self._call,
            "list_expr": self._list,
            "struct_expr": self._map_or_struct,
            "comprehension_expr": self._comprehension,
        }

    def cost(self, expr: syntax_pb2.Expr) -> Estimate:
        kind = expr.WhichOneof("expr_kind")
        return self._walks[kind](expr) if kind else _FREE

    def _identifier(self, expr: syntax_pb2.Expr) -> Estimate:
        name = expr.ident_expr.name
        local = self._local(name)
        path = local.path if local else tuple(name.split("."))
        self._paths[expr.id] = path
        # A dotted name stands for selections of fields.
        return UNIT if local else Estimate.exactly(len(path))

    def _selection(self, expr: syntax_pb2.Expr) -> Estimate:
        operand = expr.select_expr.operand
        total = self.cost(operand)
        if expr.select_expr.test_only:
            return total
        self._paths[expr.id] = (*self._path(operand), expr.select_expr.field)
        return total + UNIT if self._kind(operand) in ("map_type", "message_type", "type_param") else total

    def _list(self, expr: syntax_pb2.Expr) -> Estimate:
        total, elements = _LIST, expr.list_expr.elements
        for element in elements:
            total += self.cost(element)
        sizes = Estimate.over([self._size(element) or UNKNOWN for element in elements])
        self._entries[expr.id] = _Entries(True, ONE, sizes)
        return total

    def _map_or_struct(self, expr: syntax_pb2.Expr) -> Estimate:
        struct = expr.struct_expr
        total = _STRUCT if struct.message_name else _MAP
        for entry in struct.entries:
            if entry.WhichOneof("key_kind") == "map_key":
                total += self.cost(entry.map_key)
            total += self.cost(entry.value)
        if not struct.message_name:
            keys = Estimate.over([self._size(entry.map_key) or UNKNOWN for entry in struct.entries])
            values = Estimate.over([self._size(entry.value) or UNKNOWN for entry in struct.entries])
            self._entries[expr.id] = _Entries(False, keys, values)
        return total

    def _comprehension(self, expr: syntax_pb2.Expr) -> Estimate:
        loop = expr.comprehension_expr
        total = self.cost(loop.iter_range) + self.cost(loop.accu_init)
        binding = is_binding(loop)
        self._push(loop.accu_var, loop.accu_init)
        if binding:
            total += self.cost(loop.result)
            self._pop(loop.accu_var)
            self._copy(expr, loop.result)
            return total
        self._push_iteration(loop)
        turn = self.cost(loop.loop_condition) + self.cost(loop.loop_step)
        self._pop(loop.iter_var)
        if loop.iter_var2:
            self._pop(loop.iter_var2)
        total += self.cost(loop.result)
        self._pop(loop.accu_var)
        turns = self._size(loop.iter_range) or UNKNOWN
        self._comprehension_size(expr, turns)
        return total + turns * turn

    def _comprehension_size(self, expr: syntax_pb2.Expr, turns: Estimate) -> None:
        loop = expr.comprehension_expr
        start = loop.accu_init.WhichOneof("expr_kind")
        if start == "const_expr":
            self._set_size(expr, self._size(loop.accu_init))
        elif start in ("list_expr", "struct_expr"):
            self._set_size(expr, turns)
            entries = self._entry_sizes(loop.loop_step)
            if entries is not None:
                self._entries[expr.id] = entries

    def _push_iteration(self, loop: syntax_pb2.Expr.Comprehension) -> None:
        entries = self._entry_sizes(loop.iter_range)
        is_list = entries.is_list if entries else self._kind(loop.iter_range) == "list_type"
        path = self._path(loop.iter_range)
        key = _Local((*path, "@indices" if is_list else "@keys"), entries.key if entries else None, None)
        value = _Local((*path, "@items" if is_list else "@values"), entries.value if entries else None, None)
        if loop.iter_var2:
            self._locals.setdefault(loop.iter_var, []).append(key)
            self._locals.setdefault(loop.iter_var2, []).append(value)
        else:
            self._locals.setdefault(loop.iter_var, []).append(value if is_list else key)

    def _call(self, expr: syntax_pb2.Expr) -> Estimate:
        call = expr.call_expr
        if call.function == "dyn":
            total = UNIT + self.cost(call.args[0])
            self._copy(expr, call.args[0])
            return total
        costs = [self.cost(argument) for argument in call.args]
        overloads = self._references[expr.id].overload_id if expr.id in self._references else ()
        if not overloads:
            return _FREE
        total = self.cost(call.target) if call.HasField("target") else _FREE
        target = self._operand(call.target) if call.HasField("target") else None
        operands = [self._operand(argument) for argument in call.args]
        own: Estimate | None = None
        size: Estimate | None = None
        for overload in overloads:
            result = self._function(expr, overload, target, operands, costs)
            own = result.cost if own is None else own.union(result.cost)
            if result.size is not None:
                size = result.size if size is None else size.union(result.size)
            if overload in ("index_list", "index_map"):
                entries = self._entry_sizes(call.args[0])
                size = entries.value if entries else None
                self._paths[expr.id] = (*self._path(call.args[0]), "@items" if "list" in overload else "@values")
            if size is None:
                size = self._size(expr)
        self._set_size(expr, size)
        return total + (own or _FREE)

    def _function(
        self,
        expr: syntax_pb2.Expr,
        overload: str,
        target: Operand | None,
        operands: Sequence[Operand],
        costs: Sequence[Estimate],
    ) -> Result:
        name = expr.call_expr.function
        if overload == "logical_and" or overload == "logical_or":
            return Result(Estimate(costs[0].low, (costs[0] + costs[1]).high))
        if overload == "conditional":
            return self._conditional(expr, operands, costs)
        arguments = sum(costs, _FREE)
        if name == INCLUDES and target is not None:
            return Result(Estimate(0, MAX_LIST_VALUES) + arguments)
        if name == "_+_" and overload in ("add_string", "add_bytes", "add_list"):
            return self._concatenation(expr, overload, operands, arguments)
        rule = LIBRARY.get(overload) or LIBRARY.get(name)
        result = rule(target, operands, overload) if rule else None
        return Result(result.cost + arguments, result.size) if result else Result(UNIT + arguments)

    def _conditional(self, expr: syntax_pb2.Expr, operands: Sequence[Operand], costs: Sequence[Estimate]) -> Result:
        then, otherwise = (self._entry_sizes(argument) for argument in expr.call_expr.args[1:3])
        self._set_union(expr, then, otherwise)
        size = (operands[1].size or UNKNOWN).union(operands[2].size or UNKNOWN)
        return Result(costs[0] + costs[1].union(costs[2]), size)

    def _concatenation(
        self, expr: syntax_pb2.Expr, overload: str, operands: Sequence[Operand], arguments: Estimate
    ) -> Result:
        left, right = (self._entry_sizes(argument) for argument in expr.call_expr.args)
        self._set_union(expr, left, right)
        size = (operands[0].size or UNKNOWN) + (operands[1].size or UNKNOWN)
        own = UNIT if overload == "add_list" else size.scaled(PER_CHARACTER)
        return Result(own + arguments, size)

    def _set_union(self, expr: syntax_pb2.Expr, left: _Entries | None, right: _Entries | None) -> None:
        if left is not None and right is not None:
            self._entries[expr.id] = _Entries(left.is_list, left.key.union(right.key), left.value.union(right.value))

    def _operand(self, expr: syntax_pb2.Expr) -> Operand:
        path = self._path(expr)
        size = self._size(expr)
        if path and path[0] in _RESULT_NAMES:
            path = ()
        type_ = self._types.get(expr.id)
        items = None
        if type_ is not None and type_.WhichOneof("type_kind") == "list_type":
            items = _declared_size((*path, "@items")) if path else None
            items = items or BOUNDLESS
        return Operand(expr, type_, size, items)

    def _size(self, expr: syntax_pb2.Expr) -> Estimate | None:
        known = self._sizes.get(expr.id) or _literal_size(expr)
        if known is not None:
            return known
        declared = _declared_size(self._path(expr))
        if declared is not None:
            self._sizes[expr.id] = declared
            return declared
        if self._is_scalar(expr):
            return ONE
        local = self._local(expr.ident_expr.name) if expr.WhichOneof("expr_kind") == "ident_expr" else None
        return local.size if local else None

    def _is_scalar(self, expr: syntax_pb2.Expr) -> bool:
        type_ = self._types[expr.id] if expr.id in self._types else checked_pb2.Type()
        while type_.WhichOneof("type_kind") == "abstract_type" and type_.abstract_type.name == "optional_type":
            type_ = type_.abstract_type.parameter_types[0]
        kind = type_.WhichOneof("type_kind")
        if kind == "well_known":
            return type_.well_known in (checked_pb2.Type.DURATION, checked_pb2.Type.TIMESTAMP)
        return kind == "primitive" and type_.primitive not in (checked_pb2.Type.STRING, checked_pb2.Type.BYTES)

    def _entry_sizes(self, expr: syntax_pb2.Expr) -> _Entries | None:
        known = self._entries.get(expr.id)
        if known is None and expr.WhichOneof("expr_kind") == "ident_expr":
            local = self._local(expr.ident_expr.name)
            return local.entries if local else None
        return known

    def _path(self, expr: syntax_pb2.Expr) -> tuple[str, ...]:
        if expr.WhichOneof("expr_kind") == "ident_expr":
            local = self._local(expr.ident_expr.name)
            if local is not None:
                return local.path
        return self._paths.get(expr.id, ())

    def _kind(self, expr: syntax_pb2.Expr) -> str:
        return (self._types[expr.id].WhichOneof("type_kind") or "") if expr.id in self._types else ""

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _push(self, name: str, value: syntax_pb2.Expr) -> None:
        local = _Local(self._path(value), self._size(value), self._entry_sizes(value))
        self._locals.setdefault(name, []).append(local)

    def _pop(self, name: str) -> None:
        self._locals[name].pop()

    def _set_size(self, expr: syntax_pb2.Expr, size: Estimate | None) -> None:
        if size is not None:
            self._sizes[expr.id] = size

    def _copy(self, to: syntax_pb2.Expr, source: syntax_pb2.Expr) -> None:
        self._set_size(to, self._size(source))
        entries = self._entry_sizes(source)
        if entries is not None:
            self._entries[to.id] = entries


def is_binding(loop: syntax_pb2.Expr.Comprehension) -> bool:
    """Whether a comprehension is what `cel.bind` expands to: no turns, the accumulator is the variable."""
    return (
        loop.iter_range.WhichOneof("expr_kind") == "list_expr"
        and not loop.iter_range.list_expr.elements
        and loop.loop_condition.WhichOneof("expr_kind") == "const_expr"
        and loop.loop_condition.const_expr.WhichOneof("constant_kind") == "bool_value"
        and not loop.loop_condition.const_expr.bool_value
        and loop.accu_var not in _RESULT_NAMES[:1]
    )


def _literal_size(expr: syntax_pb2.Expr) -> Estimate | None:
    kind = expr.WhichOneof("expr_kind")
    if kind == "list_expr":
        return Estimate.exactly(len(expr.list_expr.elements))
    if kind == "struct_expr" and not expr.struct_expr.message_name:
        return Estimate.exactly(len(expr.struct_expr.entries))
    if kind != "const_expr":
        return None
    constant = expr.const_expr.WhichOneof("constant_kind")
    if constant == "string_value":
        return Estimate.exactly(len(expr.const_expr.string_value))
    if constant == "bytes_value":
        return Estimate.exactly(len(expr.const_expr.bytes_value))
    return ONE
