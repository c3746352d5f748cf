"""CEL selectors over devices: their environment, and the check that admits them.

An expression sees `device` with its driver, attributes and capacity (both by domain and name) and whether it may be
allocated several times. It has to yield a bool, or an attribute, whose type only a device tells.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, required, too_long
from fairlead.embedded.apiserver.kinds.dra_rules import check_list
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.schema.node import Schema, StructuralConstraints
from fairlead.embedded.apiserver.schema.rule_cost import estimate_with
from fairlead.kube import cel

SELECTORS_LIMIT = 32
EXPRESSION_LIMIT_BYTES = 10 * 1024
COST_LIMIT = 1_000_000
ENTRIES_LIMIT = 32
"""Attributes and capacities of a device, which also bounds the domains that they are in."""


_ANY = cel.Type("google.protobuf.Any")
_STRUCT_NAME = "object.kubernetes_DRADevice"
_SHOWN_STRUCT_NAME = "kubernetes.DRADevice"
"""The runtime's name of the device's type, and the name that people see."""


def _map_of(values: Schema) -> Schema:
    limits = StructuralConstraints(max_properties=ENTRIES_LIMIT)
    return Schema(type="object", additional=values, constraints=limits)


def _text(limit: int) -> Schema:
    return Schema(type="string", constraints=StructuralConstraints(max_length=limit))


_ATTRIBUTES = _map_of(_map_of(_text(64)))
_CAPACITY = _map_of(_map_of(Schema()))
# What the estimate of an expression's cost knows about the sizes of things.
_VARIABLES = {
    "device": Schema(
        type="object",
        properties={"driver": _text(63), "attributes": _ATTRIBUTES, "capacity": _CAPACITY},
    ),
    "device.attributes": _ATTRIBUTES,
    "device.capacity": _CAPACITY,
}


@functools.cache
def _environment() -> cel.Environment:
    device = cel.Struct(
        "kubernetes.DRADevice",
        fields={
            "driver": cel.STRING,
            "attributes": cel.MapOf(),
            "capacity": cel.MapOf(),
            "allowMultipleAllocations": cel.BOOL,
        },
    )
    # A struct's field cannot be a map of maps; a variable with the dotted name of the field can, and is found first.
    return cel.Environment(
        {
            "device": device,
            "device.attributes": cel.MapOf(values=cel.MapOf(values=_ANY)),
            "device.capacity": cel.MapOf(values=cel.MapOf(values=cel.QUANTITY)),
        }
    )


def check_selectors(
    errors: Errors, selectors: Sequence[Mapping[str, Any]] | None, path: str, *, stored: bool = False
) -> None:
    """Selectors of a class or request. Stored expressions were valid once and stay so."""

    def check(errors: Errors, selector: Mapping[str, Any], path: str) -> None:
        expression = selector.get("cel")
        if expression is None:
            errors.append(required(f"{path}.cel"))
        elif not stored:
            errors += check_expression(expression.get("expression", ""), f"{path}.cel.expression")

    check_list(errors, selectors, path, check, limit=SELECTORS_LIMIT)


def check_expression(expression: str, path: str) -> Sequence[FieldError]:
    """What is wrong with one expression."""
    if len(expression.encode()) > EXPRESSION_LIMIT_BYTES:
        return (too_long(path, EXPRESSION_LIMIT_BYTES),)
    problem = _problem(expression)
    if problem is None:
        return ()
    if problem == _TOO_COMPLEX:
        return (forbidden(path, problem),)
    return (invalid(path, expression, problem),)


_TOO_COMPLEX = "too complex, exceeds cost limit"


def _with_type_names(text: str) -> str:
    return text.replace(_STRUCT_NAME, _SHOWN_STRUCT_NAME)


@functools.lru_cache(1024)
def _problem(expression: str) -> str | None:
    try:
        program = _environment().compile(expression)
    except cel.CompileError as error:
        return f"compilation failed: {_positioned(_with_type_names(str(error)), expression)}"
    result = _with_type_names(program.result_type).replace("error", "any")
    if result not in ("bool", "any"):
        # Inside of other types the unknown one goes by its full name.
        shown = result.replace("any", "google.protobuf.Any")
        return f"must evaluate to bool or the unknown type, not {shown}"
    return _TOO_COMPLEX if estimate_with(_environment(), expression, _VARIABLES) > COST_LIMIT else None


def _positioned(message: str, expression: str) -> str:
    # The end of nothing is at column 0, elsewhere columns count from 1.
    return message if expression else message.replace("<input>:1:1:", "<input>:1:0:", 1)
