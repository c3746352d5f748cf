"""What a device selector may say: the CEL environments of dynamic resource allocation, and checking against them.

The variable `device` is known to the type checker under dotted names too (`device.attributes`, …): maps of maps can be
a variable's type but not a protobuf field's, and the checker prefers the longest declared name.

New expressions obey the feature switches. Stored ones, accepted by an API server with other switches, may use the
fields and functions of every feature; only the type of attributes follows the switch.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from typing import Any

from google.api.expr.v1alpha1 import checked_pb2

from fairlead.kube import cel, cel_library

MAX_BYTES = 10 * 1024
"""Longest expression, in bytes of UTF-8."""
MAX_LIST_VALUES = 48
"""Most values that a list attribute may hold, and the most that `includes` looks at."""

DRIVER, ATTRIBUTES, CAPACITY, SHARED = (
    "device.driver",
    "device.attributes",
    "device.capacity",
    "device.allowMultipleAllocations",
)
INCLUDES = "includes"

_INCLUDES = cel_library.Function(INCLUDES, ("(dyn, dyn) -> bool",), lambda target, value: _includes(target, value))
_PRESENCE = re.compile(
    r"""(?P<literal>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\bhas\(\s*device\.(?P<field>\w+)\s*\)""", re.DOTALL
)
_ANY = "google.protobuf.Any"
_ANY_RESULT = re.compile(r"\berror\b")
_FIELDS = ("driver", "attributes", "capacity")
_SHARED_FIELD = "allowMultipleAllocations"


class CompileError(Exception):
    """The selector is malformed, ill-typed or too long; the message shows position and source as cel-go does."""


class EnvironmentType(enum.Enum):
    """Whether an expression comes from a user now, or was accepted earlier and is only to be run."""

    NEW = "NewExpressions"
    STORED = "StoredExpressions"


@dataclass(frozen=True, slots=True)
class Features:
    """Optional features of dynamic resource allocation that change what selectors may say."""

    consumable_capacity: bool = True
    """`device.allowMultipleAllocations`."""
    list_attributes: bool = True
    """Attributes with several values, and `includes`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A selector that passed the type checker."""

    expression: str
    tree: checked_pb2.CheckedExpr
    result_type: str
    """As cel-go spells it."""
    environment: cel.Environment

    def program(self) -> cel.Program:
        """For the C++ runtime. Raises CompileError."""
        try:
            return self.environment.program(_settle_presence(self.expression, shared=True))
        except cel.CompileError as error:
            raise CompileError(f"compilation failed: {error}") from None


def check(expression: str, features: Features, environment: EnvironmentType) -> Checked:
    """Parse and type-check. Raises CompileError."""
    if len(expression.encode()) > MAX_BYTES:
        raise CompileError(f"Too long: may not be more than {MAX_BYTES} bytes")
    shared = features.consumable_capacity or environment is EnvironmentType.STORED
    includes = features.list_attributes or environment is EnvironmentType.STORED
    cel_environment = _environment(shared, includes, features.list_attributes)
    try:
        tree, result_type = cel_environment.check(_settle_presence(expression, shared))
    except cel.CompileError as error:
        raise CompileError(f"compilation failed: {_named(str(error))}") from None
    # The runtime's own spelling has no name for "any".
    result_type = _named(_ANY_RESULT.sub(_ANY, result_type))
    return Checked(expression, tree, result_type, cel_environment)


def check_result(checked: Checked, features: Features) -> None:
    """A selector gives a bool, or an attribute whose type is not known before it is read. Raises CompileError."""
    accepted = ("bool", _ANY, "dyn") if features.list_attributes else ("bool", _ANY)
    if checked.result_type not in accepted:
        raise CompileError(f"must evaluate to bool or the unknown type, not {checked.result_type}")


def _named(text: str) -> str:
    return text.replace("object.DRADevice", "kubernetes.DRADevice")


@functools.cache
def _environment(shared: bool, includes: bool, lists: bool) -> cel.Environment:
    attribute = cel.DYN if lists else cel.ANY
    attributes = cel.MapOf(values=cel.MapOf(values=attribute))
    capacity = cel.MapOf(values=cel.MapOf(values=cel.QUANTITY))
    fields: dict[str, cel.Type] = {"driver": cel.STRING, "attributes": attributes, "capacity": capacity}
    if shared:
        fields[_SHARED_FIELD] = cel.BOOL
    dotted = {f"device.{name}": type_ for name, type_ in fields.items()}
    return cel.Environment(
        {"device": cel.Struct("DRADevice", fields), **dotted},
        empty_if_absent=(ATTRIBUTES, CAPACITY),
        functions=(_INCLUDES,) if includes else (),
    )


def _settle_presence(expression: str, shared: bool) -> str:
    """`has(device.driver)` is always true; the checker would take the dotted name for the value of the field.

    The text keeps its length, so that positions in messages stay right.
    """

    def settle(match: re.Match[str]) -> str:
        if match["field"] in _FIELDS or (shared and match["field"] == _SHARED_FIELD):
            return "true".ljust(len(match[0]))
        return match[0]

    return _PRESENCE.sub(settle, expression) if "has(" in expression else expression


def _includes(target: Any, value: Any) -> bool:
    if not isinstance(target, list):
        return _same(target, value)
    for index, item in enumerate(target):
        if index >= MAX_LIST_VALUES:
            raise ValueError(f"'includes' function cannot be applied to lists longer than {MAX_LIST_VALUES} values")
        if _same(item, value):
            return True
    return False


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
