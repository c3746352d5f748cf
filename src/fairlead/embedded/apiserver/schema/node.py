"""The one schema model that everything structural walks: decoding, pruning, defaulting, validation, strategic merge,
field ownership, OpenAPI. Built-in kinds and CRDs compile to the same nodes, so no walker knows where one came from.

Nodes of built-in kinds are shared and may be cyclic (JSONSchemaProps refers to itself): walkers recurse over the data,
never over the schema alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

UNSET: Any = object()
"""Marks an absent default (None is a possible default of a nullable field)."""


@dataclass(slots=True, eq=False)
class Schema:
    """One node. `type` is "object", "array", "string", "integer", "number", "boolean", or "" (anything)."""

    type: str = ""
    format: str = ""
    """int32, int64, double, byte, date-time, micro-time, quantity, int-or-string; CRD formats as written."""
    name: str = ""
    """Definition name for OpenAPI references ("io.k8s.api.core.v1.PodSpec"); empty for inline nodes."""
    go_type: str = ""
    """Go type as decoding errors name it ("v1.PodSpec"); empty where unknown."""
    description: str = ""

    # objects
    properties: dict[str, Schema] = field(default_factory=dict)
    additional: Schema | None = None
    """Schema of map values, for objects that are maps."""
    required: tuple[str, ...] = ()
    map_atomic: bool = False
    preserve_unknown: bool = False
    embedded_resource: bool = False

    # arrays
    items: Schema | None = None
    list_type: str = "atomic"
    """"atomic", "set" or "map"."""
    list_keys: tuple[str, ...] = ()

    # strategic merge of built-in kinds
    patch_merge_key: str = ""
    patch_strategies: frozenset[str] = frozenset()
    """Of "merge", "replace", "retainKeys"."""

    default: Any = UNSET
    nullable: bool = False
    constraints: StructuralConstraints | None = None
    """Value validation of CRDs; None where there is none."""
    go: GoStruct | None = None
    """How the Go struct behind a built-in object behaves; None for maps, other types and everything of CRDs."""
    decoder: Callable[[Any], Any] | None = field(default=None, repr=False)
    """Memo of `schema/decode.py`."""
    defaulter: Any = field(default=UNSET, repr=False)
    """Memo of `schema/defaulting.py`."""


@dataclass(slots=True, eq=False)
class GoStruct:
    """What the API server's Go struct adds to an object's schema: only it tells which empty fields are written."""

    name: str
    """As decoding errors name it ("DeploymentSpec")."""
    zeros: dict[str, Any] = field(default_factory=dict)
    """Fields that are written even when they are absent -> the empty value they are written with."""
    kept: frozenset[str] = frozenset()
    """Optional fields whose empty value (0, "", false, {}) differs from absence, so that it is kept when given."""


@dataclass(slots=True, eq=False)
class StructuralConstraints:
    """Value validation that a structural schema adds (OpenAPI v3 as CRDs allow it)."""

    enum: tuple[Any, ...] | None = None
    pattern: str | None = None
    minimum: float | None = None
    exclusive_minimum: bool = False
    maximum: float | None = None
    exclusive_maximum: bool = False
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool = False
    min_properties: int | None = None
    max_properties: int | None = None
    all_of: tuple[Schema, ...] = ()
    any_of: tuple[Schema, ...] = ()
    one_of: tuple[Schema, ...] = ()
    not_: Schema | None = None
    rules: tuple[Any, ...] = ()
    """Compiled `x-kubernetes-validations`, owned by `schema/rules.py`."""
