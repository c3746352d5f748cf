"""Kubernetes' flavour of the Common Expression Language, on the official C++ runtime.

An `Environment` declares typed variables; `compile` checks an expression against them and gives a `Program`, which
`evaluate`s bindings. Used by CRD validation rules and by device selectors of dynamic resource allocation.

Two environments lie behind each: a *typed* one finds the mistakes that an API server reports at admission (structs are
protobuf descriptors made on the fly), and a *dynamic* one runs, because the runtime dispatches functions by the kind of
a value only and works on plain dicts. Messages of both are worded as cel-go words them, since clients know those.

The runtime stops after 10,000 loop iterations of one evaluation: no expression can hang.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cel_expr_python import cel
from google.api.expr.v1alpha1 import checked_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2

from fairlead.kube import cel_library, cel_rewrite, cel_values


class CelError(Exception):
    """Root of this module's errors."""


class CompileError(CelError):
    """The expression is malformed or ill-typed; the message shows position and source as cel-go does."""


class EvaluationError(CelError):
    """Evaluation of a well-formed expression failed (missing key, overflow, …)."""


class BudgetExceeded(EvaluationError):
    """Evaluation was stopped because it looped too long."""


@dataclass(frozen=True, eq=False)
class Type:
    """A CEL type. `name` is as error messages spell it."""

    name: str


DYN = Type("dyn")
ANY = Type("any")
"""Like DYN, but a comprehension cannot range over it."""


@dataclass(frozen=True, eq=False)
class ListOf(Type):
    name: str = "list"
    items: Type = DYN


@dataclass(frozen=True, eq=False)
class MapOf(Type):
    """A map with string keys."""

    name: str = "map"
    values: Type = DYN


@dataclass(frozen=True, eq=False)
class Struct(Type):
    """An object with declared fields; selecting another one is a compile error. Its values are dicts."""

    fields: Mapping[str, Type] = field(default_factory=dict)


BOOL = Type("bool")
BYTES = Type("bytes")
DOUBLE = Type("double")
DURATION = Type("google.protobuf.Duration")
INT = Type("int")
QUANTITY = Type(cel_values.QUANTITY)
SEMVER = Type(cel_values.SEMVER)
STRING = Type("string")
TIMESTAMP = Type("google.protobuf.Timestamp")

_SCALARS = {
    "bool": (cel.Type.BOOL, 8),
    "bytes": (cel.Type.BYTES, 12),
    "double": (cel.Type.DOUBLE, 1),
    "dyn": (cel.Type.DYN, 0),
    "int": (cel.Type.INT, 3),
    "string": (cel.Type.STRING, 9),
}
_MESSAGE, _REPEATED, _OPTIONAL = 11, 3, 1
_DYNAMIC_MESSAGE = ".google.protobuf.Value"
_ANY_MESSAGE = "google.protobuf.Any"
_EXTENSIONS = """
extensions:
- name: optional
- name: strings
- name: sets
- name: two-var-comprehensions
- name: math
- name: bindings
- name: lists
"""

quantity = cel_values.quantity
"""The CEL value of a quantity such as "1Gi", for bindings. Raises ValueError."""
semver = cel_values.semver
"""The CEL value of a semantic version such as "1.2.3", for bindings. Raises ValueError."""


def timestamp(moment: datetime) -> timestamp_pb2.Timestamp:
    """The CEL value of a moment with a time zone, for bindings."""
    value = timestamp_pb2.Timestamp()
    value.FromDatetime(moment)
    return value


def duration(span: timedelta) -> duration_pb2.Duration:
    """The CEL value of a span of time, for bindings."""
    value = duration_pb2.Duration()
    value.FromTimedelta(span)
    return value


class Program:
    """A compiled expression. Immutable; evaluation is thread-safe."""

    __slots__ = ("_expression", "_identifiers", "_optional", "expression", "result_type")

    def __init__(
        self,
        expression: str,
        result_type: str,
        compiled: cel.Expression,
        identifiers: frozenset[str] = frozenset(),
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self.expression = expression
        self.result_type = result_type
        """As cel-go spells it: "bool", "int", "list(string)", "dyn", …"""
        self._expression = compiled
        self._identifiers = identifiers
        self._optional = optional

    def uses(self, variable: str) -> bool:
        """Whether the expression mentions a variable."""
        return variable in self._identifiers

    def evaluate(self, bindings: Mapping[str, Any]) -> Any:
        """The result as a plain Python value. Bindings are plain values (dicts, lists, str, int, float, bool, bytes,
        None) and what `quantity`, `semver`, `timestamp` and `duration` make. Raises EvaluationError."""
        if self._optional:
            boxes = {name: {cel_rewrite.BOX: bindings[name]} if name in bindings else {} for name in self._optional}
            bindings = {**bindings, **boxes}
        try:
            result = self._expression.eval(data=bindings)
        except RuntimeError as error:
            raise _evaluation_error(str(error)) from None
        if result.type() == cel.Type.ERROR:
            raise _evaluation_error(str(result.value()))
        return result.plain_value()


class Environment:
    """Variables that expressions may use, with the Kubernetes function libraries.

    `empty_if_absent` names maps ("device.attributes") whose indexing yields an empty map for a missing key.
    `optional` names variables that expressions see as optional values: none where the binding is missing.
    """

    def __init__(
        self,
        variables: Mapping[str, Type],
        *,
        empty_if_absent: Sequence[str] = (),
        optional: Sequence[str] = (),
        functions: Sequence[cel_library.Function] = (),
    ) -> None:
        self._empty_if_absent = frozenset(empty_if_absent)
        self._optional = frozenset(optional)
        pool = _TypePool()
        typed = {name: pool.declare(DYN if name in optional else type_) for name, type_ in variables.items()}
        library = (*cel_library.FUNCTIONS, *functions)
        self._typed = cel.NewEnv(
            pool.seal(), config=_config(), variables=typed, functions=cel_library.typed_declarations(library)
        )
        self._dynamic = _dynamic_environment(tuple(variables), library)

    def compile(self, expression: str) -> Program:
        """Check and compile. Raises CompileError."""
        try:
            result_type = self._typed.compile(expression).return_type()
        except RuntimeError as error:
            raise CompileError(_compile_message(str(error))) from None
        return self._program(expression, _go_type(result_type.name()))

    def _program(self, expression: str, result_type: str) -> Program:
        try:
            checked = self._dynamic.compile(expression).serialize()
            rewritten, identifiers = cel_rewrite.rewrite(checked, self._empty_if_absent, self._optional)
            program = self._dynamic.deserialize(rewritten)
        except RuntimeError as error:
            raise CompileError(_compile_message(str(error))) from None
        return Program(expression, result_type, program, identifiers, self._optional)

    def program(self, expression: str) -> Program:
        """The program of an expression that `check` accepted. Raises CompileError."""
        return self._program(expression, "dyn")

    def check(self, expression: str) -> tuple[checked_pb2.CheckedExpr, str]:
        """The syntax tree with types and resolved references, and the type of the result as cel-go spells it ("error"
        for ANY, which the runtime does not name). Raises CompileError."""
        try:
            compiled = self._typed.compile(expression)
        except RuntimeError as error:
            raise CompileError(_compile_message(str(error))) from None
        return cel_rewrite.checked(compiled.serialize()), _go_type(compiled.return_type().name())

    def syntax(self, expression: str) -> Any:
        """The checked syntax tree (a `google.api.expr.v1alpha1.Expr` message). Raises CompileError."""
        try:
            return cel_rewrite.syntax_tree(self._typed.compile(expression).serialize())
        except RuntimeError as error:
            raise CompileError(_compile_message(str(error))) from None


@functools.lru_cache(maxsize=16)
def _dynamic_environment(variables: tuple[str, ...], library: tuple[cel_library.Function, ...]) -> cel.Env:
    return cel.NewEnv(
        cel_values.POOL,
        config=_config(),
        variables=dict.fromkeys(variables, cel.Type.DYN),
        functions=cel_library.dynamic_declarations(library),
    )


@functools.cache
def _config() -> cel.EnvConfig:
    return cel.NewEnvConfigFromYaml(_EXTENSIONS)


class _TypePool:
    """Turns our types into CEL types, making a protobuf message for each struct."""

    def __init__(self) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(name="fairlead/cel.proto", package="object", syntax="proto3")
        self._file.dependency.extend(
            [*(file.name for file in cel_values.FILES), struct_pb2.DESCRIPTOR.name]
            + [timestamp_pb2.DESCRIPTOR.name, duration_pb2.DESCRIPTOR.name]
        )
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()

    def declare(self, type_: Type) -> cel.Type:
        if isinstance(type_, ListOf):
            return cel.Type.List(self.declare(type_.items))
        if isinstance(type_, MapOf):
            return cel.Type.Map(cel.Type.STRING, self.declare(type_.values))
        if isinstance(type_, Struct):
            return cel.Type("object." + self._struct(type_))
        if type_.name in _SCALARS:
            return _SCALARS[type_.name][0]
        if type_ is ANY:
            return cel.Type(_ANY_MESSAGE)
        return _MESSAGE_TYPES.get(type_.name) or cel.Type(type_.name)

    def seal(self) -> descriptor_pool.DescriptorPool:
        pool = descriptor_pool.DescriptorPool()
        for module in (struct_pb2, timestamp_pb2, duration_pb2):
            pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        for file in cel_values.FILES:
            pool.AddSerializedFile(file.SerializeToString())
        pool.AddSerializedFile(self._file.SerializeToString())
        return pool

    def _struct(self, struct: Struct) -> str:
        known = self._names.get(id(struct))
        if known is not None:
            return known
        base = re.sub(r"\W", "_", struct.name) or "Object"
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}{number}"
        self._taken.add(name)
        self._names[id(struct)] = name
        message: Any = descriptor_pb2.DescriptorProto(name=name)
        for number, (field_name, type_) in enumerate(struct.fields.items(), 1):
            self._add_field(message, name, field_name, number, type_)
        self._file.message_type.append(message)
        return name

    def _add_field(self, message: Any, owner: str, name: str, number: int, type_: Type) -> None:
        field_ = message.field.add(name=name, number=number, label=_OPTIONAL, json_name=f"f{number}")
        if isinstance(type_, ListOf) and not isinstance(type_.items, ListOf | MapOf):
            field_.label = _REPEATED
            self._set_type(field_, type_.items)
        elif isinstance(type_, MapOf) and not isinstance(type_.values, ListOf | MapOf):
            entry_name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=_OPTIONAL, type=9)
            self._set_type(entry.field.add(name="value", number=2, label=_OPTIONAL), type_.values)
            field_.label, field_.type, field_.type_name = _REPEATED, _MESSAGE, f".object.{owner}.{entry_name}"
        else:
            self._set_type(field_, type_)

    def _set_type(self, field_: Any, type_: Type) -> None:
        if isinstance(type_, Struct):
            field_.type, field_.type_name = _MESSAGE, ".object." + self._struct(type_)
        elif isinstance(type_, ListOf | MapOf) or type_ in (ANY, DYN):
            # Protobuf has no lists of lists and the like: such fields are checked when they run.
            field_.type, field_.type_name = _MESSAGE, _DYNAMIC_MESSAGE
        elif type_.name in _SCALARS:
            field_.type = _SCALARS[type_.name][1]
        else:
            field_.type, field_.type_name = _MESSAGE, "." + type_.name


_MESSAGE_TYPES = {TIMESTAMP.name: cel.Type.TIMESTAMP, DURATION.name: cel.Type.DURATION}

_STATUS_PREFIX = re.compile(r"^(?:[A-Z_]+: )+")
_STATUS_SUFFIX = re.compile(r" \[[A-Z_]+\]$")
_UNDEFINED_FIELD = re.compile(r"(undefined field '[^']*') not found in struct '[^']*'")
_NO_SELECTION = re.compile(r"expression of type '([^']*)' cannot be the operand of a select operation")
_NO_OVERLOAD = re.compile(
    r"<input>:\d+:(\d+): found no matching overload for '([A-Za-z]\w*)' applied to '\((.*)\)'\n \| (.*)"
)
_UNDECLARED_PATH = re.compile(
    r"<input>:(\d+):(\d+): undeclared reference to '(\w+)((?:\.\w+)+)'( \(.*\))\n \| (.*)\n \| \.*\^"
)
_WORDINGS = {
    "cannot be the range of a comprehension": "cannot be range of a comprehension",
    "has() argument must be a field selection": "invalid argument to has() macro",
}
_OUT_OF_BOUNDS = re.compile(r"Index error: index=(-?\d+) size=\d+")
_NO_KEY = re.compile(r'^Key not found in map : "?(.*?)"?$')
_GO_NAMES = {"NULL": "null_type", "TIMESTAMP": "google.protobuf.Timestamp", "DURATION": "google.protobuf.Duration"}


def _compile_message(text: str) -> str:
    text = _STATUS_SUFFIX.sub("", text.removeprefix("INVALID_ARGUMENT: "))
    text = _NO_SELECTION.sub(r"type '\1' does not support field selection", _UNDEFINED_FIELD.sub(r"\1", text))
    for ours, theirs in _WORDINGS.items():
        text = text.replace(ours, theirs)
    return _NO_OVERLOAD.sub(_spell_call, _UNDECLARED_PATH.sub(_spell_undeclared, text))


def _spell_undeclared(match: re.Match[str]) -> str:
    """Of an unknown path "a.b.c" the first name is at fault, where it stands."""
    line, column, name, path, container, source = match.groups()
    # The position is that of the last dot.
    written = name + path.rpartition(".")[0]
    start = int(column) - 1 - len(written)
    if not source[: int(column) - 1].endswith(written):
        return match[0]
    arrow = "." * start + "^"
    return f"<input>:{line}:{start + 1}: undeclared reference to '{name}'{container}\n | {source}\n | {arrow}"


def _spell_call(match: re.Match[str]) -> str:
    """A mismatch of a method tells its target apart from its arguments."""
    column, name, arguments, line = match.groups()
    if not line[: int(column) - 1].endswith(f".{name}"):
        return match[0]
    target, rest = _split_first(arguments)
    start = match.start(3) - match.start() - 1
    return match[0][:start] + f"{target}.({rest})" + match[0][start + len(arguments) + 2 :]


def _split_first(types: str) -> tuple[str, str]:
    """The first of comma-separated types ("map(string, int), string") and the rest."""
    depth = 0
    for index, char in enumerate(types):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            return types[:index], types[index + 2 :]
    return types, ""


def _evaluation_error(text: str) -> EvaluationError:
    text = _STATUS_SUFFIX.sub("", _STATUS_PREFIX.sub("", text))
    if "Iteration budget exceeded" in text:
        return BudgetExceeded("operation cancelled: actual cost limit exceeded")
    missing = _NO_KEY.match(text)
    if missing:
        return EvaluationError(f"no such key: {missing[1]}")
    if text.endswith("<iter_range>"):
        return EvaluationError("expected iterable type")
    if text.startswith("No matching overloads found"):
        return EvaluationError("no such overload" + text[text.find(":") :].replace(" : ", ": ", 1))
    beyond = _OUT_OF_BOUNDS.match(text)
    if beyond:
        return EvaluationError(f"index out of bounds: {beyond[1]}")
    return EvaluationError({"divide by zero": "division by zero"}.get(text, text))


def _go_type(name: str) -> str:
    """The runtime's spelling of a type ("LIST<STRING>") as cel-go spells it ("list(string)")."""
    head, bracket, rest = name.partition("<")
    spelled = _GO_NAMES.get(head) or (head.lower() if head.isupper() else head)
    if not bracket:
        return spelled
    parameters, depth, start = [], 0, 0
    inner = rest[:-1]
    for index, char in enumerate(inner):
        depth += {"<": 1, ">": -1}.get(char, 0)
        if char == "," and depth == 0:
            parameters.append(inner[start:index].strip())
            start = index + 1
    parameters.append(inner[start:].strip())
    return f"{spelled}({', '.join(_go_type(p) for p in parameters)})"
