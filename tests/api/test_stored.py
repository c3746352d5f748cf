"""Whatever an API server stores of our kinds, our structs can read: random objects within the schema and the rules."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.served import obj, schema_of, stored
from fairlead.api import ModelAdapter, ModelService, RoleScale, ServingRuntime

KINDS = {kind.__name__: kind for kind in (ModelService, ModelAdapter, RoleScale, ServingRuntime)}
QUANTITIES = st.one_of(st.integers(0, 64), st.sampled_from(["1", "500m", "64Gi", "1.5"]))
COUNTS = st.one_of(st.integers(0, 8), st.sampled_from(["1", "25%", "100%"]))
TEXTS = st.sampled_from(["a", "b-c", "x1", "status", "h100"])
LEVELS = st.sampled_from(["rack", "topology.kubernetes.io/zone"])
SPECIAL = {
    "source": st.sampled_from(["hf://o/m", "/models/m", "oci://r/m:1"]),
    "requests": st.dictionaries(TEXTS, QUANTITIES, max_size=2),
    "limits": st.dictionaries(TEXTS, QUANTITIES, max_size=2),
    "required": st.lists(LEVELS, max_size=2),
    "preferred": st.lists(LEVELS, max_size=2),
    "rolesTogether": LEVELS,
    "offload": st.sampled_from(["64Gi", ""]),
}


def objects(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a schema: what is required, and of the rest now and then one."""
    properties = schema.get("properties", {})
    needed = {n: values(s, n) for n, s in properties.items() if n in schema.get("required", ())}
    others = {n: values(s, n) for n, s in properties.items() if n not in needed}
    return st.fixed_dictionaries(needed, optional=others)


def values(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    if name in SPECIAL and "properties" not in schema:
        return SPECIAL[name]
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return COUNTS
    kind = schema["type"]
    if kind == "object" and "properties" in schema:
        return objects(schema)
    if kind == "object":
        return st.dictionaries(TEXTS, values(schema.get("additionalProperties", {"type": "string"})), max_size=2)
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=2)
    if kind == "boolean":
        return st.booleans()
    if kind == "string":
        return TEXTS
    least, most = schema.get("minimum", -3), schema.get("maximum", 100)
    whole = st.integers(int(max(1, least)), int(min(most, 100)))
    # Whole numbers are written as such, however they came (a body says 1.0, the store 1).
    return whole


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_stored_can_be_read(kind: str, data: st.DataObject) -> None:
    spec = data.draw(objects(schema_of(kind)["properties"]["spec"]))
    made, errors = stored(obj(kind, spec))
    if not errors:
        read = msgspec.convert(made, KINDS[kind])
        again, problems = stored({**msgspec.to_builtins(read), "apiVersion": made["apiVersion"], "kind": kind})
        assert problems == [], "what we write is taken too"
        assert msgspec.convert(again, KINDS[kind]) == read


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(kind: str) -> None:
    def lacking(schema: dict[str, Any], path: str) -> list[str]:
        own = [] if "description" in schema or path in ("", ".metadata") else [path]
        items = schema.get("items", {})
        children = {**schema.get("properties", {}), **{f"[].{n}": s for n, s in items.get("properties", {}).items()}}
        return own + [p for n, s in children.items() for p in lacking(s, f"{path}.{n}")]

    assert lacking(schema_of(kind), "") == []
