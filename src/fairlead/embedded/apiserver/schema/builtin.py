"""Schemas of the built-in kinds, from the table that `tools/generate_schemas.py` derives.

The table is read on first use and a definition becomes nodes when somebody asks for it. Nodes are shared.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
from collections.abc import Iterator
from importlib import resources
from typing import Any

import msgspec

from fairlead.embedded.apiserver.schema.node import UNSET, GoStruct, Schema

_TYPES = {"s": "string", "i": "integer", "n": "number", "b": "boolean", "o": "object", "a": "array", "": ""}
_GO_SCALARS = {"string": "string", "boolean": "bool", "number": "float64"}
_ZEROS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}
_FORMAT_ZEROS: dict[str, Any] = {"quantity": "0", "int-or-string": 0, "date-time": None, "micro-time": None}
_API_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_JSON_SCHEMA = _API_EXTENSIONS + "JSONSchemaProps"
_SCHEMA_LIKE = {
    _API_EXTENSIONS + name
    for name in ("JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray")
}
"""A JSON schema or something short for one: nodes of no type whose `items` is the schema."""
_NO_FIELD_FACTS = frozenset({"$", "z"})

_nodes: dict[str, Schema] = {}


@functools.cache
def _table() -> dict[str, Any]:
    packed = resources.files(__package__).joinpath("builtin.json.gz").read_bytes()
    table: dict[str, Any] = msgspec.json.decode(gzip.decompress(packed))
    return table


def definition(name: str) -> Schema:
    """The schema of a definition such as "io.k8s.api.core.v1.PodSpec". Raises KeyError for an unknown one."""
    node = _nodes.get(name)
    if node is None:
        node = _nodes[name] = _define(name, _table()["definitions"][name])
    return node


def schema_for(group: str, version: str, kind: str) -> Schema:
    """The schema of a kind; group "" is core, "meta.k8s.io" has DeleteOptions and the like. Raises KeyError."""
    return definition(_table()["kinds"][f"{group}/{version}/{kind}"])


def group_version_kinds(name: str) -> tuple[tuple[str, str, str], ...]:
    """The (group, version, kind) of a definition; empty where it is not a kind of its own."""
    return _kinds_by_definition().get(name, ())


@functools.cache
def _kinds_by_definition() -> dict[str, tuple[tuple[str, str, str], ...]]:
    found: dict[str, tuple[tuple[str, str, str], ...]] = {}
    for key, name in _table()["kinds"].items():
        group, version, kind = key.split("/")
        found[name] = (*found.get(name, ()), (group, version, kind))
    return found


def definition_names() -> Iterator[str]:
    return iter(_table()["definitions"])


def _define(name: str, source: dict[str, Any]) -> Schema:
    node = _node(source, name)
    if name in _SCHEMA_LIKE:
        node.items = definition(_JSON_SCHEMA)
    properties = source.get("p")
    if properties is None:
        return node
    # Registered before its properties exist, so that definitions may refer to each other in circles.
    _nodes[name] = node
    kept = frozenset(field_name for field_name, child in properties.items() if child.get("z") == "p")
    node.go = GoStruct(name.rpartition(".")[2], {}, kept)
    zeros = node.go.zeros
    for field_name, child in properties.items():
        node.properties[field_name] = field_node = _node(child)
        mode = child.get("z")
        if mode == "a":
            zeros[field_name] = _zero(field_node)
        elif mode == "n":
            zeros[field_name] = None
    return node


def _node(source: dict[str, Any], name: str = "") -> Schema:
    reference = source.get("$")
    if reference is not None:
        target = definition(reference)
        return target if source.keys() <= _NO_FIELD_FACTS else _with_field_facts(target, source)
    type_ = _TYPES[source["t"]]
    items = source.get("i")
    values = source.get("A")
    node = Schema(
        type=type_,
        format=source.get("f", ""),
        name=name,
        required=tuple(source.get("r", ())),
        map_atomic="M" in source,
        preserve_unknown="u" in source or (not type_ and "f" not in source),
        items=None if items is None else _node(items),
        additional=None if values is None else _node(values),
    )
    node.go_type = source.get("g") or _go_type(node)
    _add_field_facts(node, source)
    return node


def _with_field_facts(target: Schema, source: dict[str, Any]) -> Schema:
    node = dataclasses.replace(target)
    node.go_type = source.get("g") or target.go_type
    _add_field_facts(node, source)
    return node


def _add_field_facts(node: Schema, source: dict[str, Any]) -> None:
    node.list_type = {"m": "map", "s": "set"}.get(source.get("L", "")[:1], node.list_type)
    node.list_keys = tuple(source.get("K", node.list_keys))
    node.patch_merge_key = source.get("k", node.patch_merge_key)
    if "s" in source:
        node.patch_strategies = frozenset(source["s"].split(","))
    node.default = source.get("d", node.default if node.default is not UNSET else UNSET)
    node.map_atomic = node.map_atomic or "M" in source


def _go_type(node: Schema) -> str:
    if node.name:
        return ".".join(node.name.split(".")[-2:])
    if node.items is not None:
        return f"[]{node.items.go_type}"
    if node.additional is not None:
        return f"map[string]{node.additional.go_type}"
    if node.type == "integer":
        return node.format or "int64"
    return _GO_SCALARS.get(node.type, "")


def _zero(node: Schema) -> Any:
    if node.format in _FORMAT_ZEROS:
        return _FORMAT_ZEROS[node.format]
    if node.type == "object":
        # Structs are written as {}, maps and raw extensions as null.
        return {} if node.name and not node.preserve_unknown and node.additional is None else None
    return _ZEROS.get(node.type)
