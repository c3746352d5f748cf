from __future__ import annotations

import base64
import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protobuf_encoder import EXTENSIONS, MAGIC, RAW, body, enveloped, message, tagged, varint

from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.protobuf import UndecodableObject, decode_body
from fairlead.embedded.apiserver.protobuf.decode import numbers
from fairlead.embedded.apiserver.schema.builtin import schema_for
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube.errors import ApiError, BadRequest

FURTHER = [
    ("meta.k8s.io", "v1", "DeleteOptions"),
    ("policy", "v1", "Eviction"),
    ("autoscaling", "v1", "Scale"),
    ("authentication.k8s.io", "v1", "TokenRequest"),
    ("authorization.k8s.io", "v1", "SelfSubjectAccessReview"),
    ("apps", "v1", "DaemonSet"),
]
SCHEMAS = {(each.group, each.version, each.kind): each.schema for each in builtin_types()}
SCHEMAS |= {kind: schema_for(*kind) for kind in FURTHER}
KINDS = sorted(SCHEMAS)


def _nodes(schema: Schema, seen: set[int]) -> Iterator[Schema]:
    if id(schema) in seen:
        return
    seen.add(id(schema))
    yield schema
    children = [*schema.properties.values(), schema.items, schema.additional]
    for child in children:
        if child is not None:
            yield from _nodes(child, seen)


def _json_names(name: str) -> set[str]:
    names: set[str] = set()
    for field in numbers(name).values():
        names |= _json_names(field[1:]) if field[0] == "@" else {field}
    return names


@pytest.mark.parametrize("kind", KINDS, ids="/".join)
def test_every_field_of_every_kind_has_a_number(kind: tuple[str, str, str]) -> None:
    for node in _nodes(SCHEMAS[kind], set()):
        if node.go is not None and node.properties:
            assert set(node.properties) - {"kind", "apiVersion"} <= _json_names(node.name), node.name


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(TEXT, inner, min_size=1, max_size=2),
    max_leaves=3,
)
FORMATS: dict[str, st.SearchStrategy[Any]] = {
    "byte": st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()),
    "date-time": st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds") + "Z"),
    "micro-time": st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z"),
    "quantity": st.sampled_from(["0", "1", "100m", "1.5Gi", "2e3", "-7", "0.5"]),
    "int-or-string": TEXT | st.integers(-(2**31), 2**31 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
}
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "integer": FORMATS["int64"],
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}


@st.composite
def values(draw: st.DrawFn, schema: Schema, depth: int) -> Any:
    """A value that fits, as JSON holds it. Lists and maps are not empty: protobuf cannot tell them from none."""
    if schema.type == "array":
        assert schema.items is not None
        return draw(st.lists(values(schema.items, depth - 1), min_size=1, max_size=2))
    if schema.type == "object" and schema.additional is not None:
        return draw(st.dictionaries(TEXT, values(schema.additional, depth - 1), min_size=1, max_size=2))
    if schema.format in FORMATS:
        return draw(FORMATS[schema.format])
    if schema.type in SCALARS:
        return draw(SCALARS[schema.type])
    if schema.name.endswith(RAW):
        return draw(JSON)
    if schema.items is not None:
        return draw(schema_likes(schema, depth))
    # The type meta of an inner object has no place in protobuf.
    names = sorted(_json_names(schema.name) & schema.properties.keys())
    names = [name for name in names if depth > 0 or _is_plain(schema.properties[name])]
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=4)) if names else []
    return {name: draw(values(schema.properties[name], depth - 1)) for name in chosen}


@st.composite
def schema_likes(draw: st.DrawFn, schema: Schema, depth: int) -> Any:
    assert schema.items is not None
    inner = values(schema.items, depth - 1)
    if schema.name.endswith("OrBool"):
        return draw(st.booleans() | inner)
    element = TEXT if schema.name.endswith("OrStringArray") else inner
    return draw(inner | st.lists(element, min_size=1, max_size=2))


def _is_plain(schema: Schema) -> bool:
    return schema.format in FORMATS or schema.type in SCALARS


@cache
def objects(kind: tuple[str, str, str]) -> st.SearchStrategy[dict[str, Any]]:
    schema = SCHEMAS[kind]
    group, version, name = kind
    identity = {"apiVersion": f"{group}/{version}" if group else version, "kind": name}
    return values(schema, 5).map(lambda obj: {**obj, **identity})


@pytest.mark.parametrize("kind", KINDS, ids="/".join)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_decodes_what_the_json_body_says(kind: tuple[str, str, str], data: st.DataObject) -> None:
    obj = data.draw(objects(kind))
    expected = copy.deepcopy(obj)
    assert decode_object(expected, SCHEMAS[kind]) == []
    decoded = decode_body(body(obj, schema=SCHEMAS[kind]), *kind, SCHEMAS[kind])
    assert decode_object(decoded, SCHEMAS[kind]) == []
    assert decoded == expected


DEPLOYMENT = ("apps", "v1", "Deployment")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_broken_bytes_are_refused_or_decoded(data: st.DataObject) -> None:
    sent = bytearray(body(data.draw(objects(DEPLOYMENT))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(sent) - 1))
        if data.draw(st.booleans()):
            sent[at] = data.draw(st.integers(0, 255))
        else:
            del sent[at:]
        if not sent:
            break
    try:
        decode_body(bytes(sent), *DEPLOYMENT)
    except ApiError as error:
        assert isinstance(error, BadRequest)


def config_map(raw: bytes) -> dict[str, Any]:
    return decode_body(enveloped(raw, "v1", "ConfigMap"), "", "v1", "ConfigMap")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (tagged(1, 5), "proto: wrong wireType = 0 for field Metadata"),
        (tagged(4, "x"), "proto: wrong wireType = 2 for field Immutable"),
        (tagged(2, "x")[:-1], "unexpected EOF"),
        (b"\x0a", "unexpected EOF"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "proto: negative length found during unmarshaling"),
        (b"\xff" * 11, "proto: integer overflow"),
        (b"\x57", "proto: illegal wireType 7"),
        (b"\x02\x00", "proto: illegal tag 0 (wire type 2)"),
        (b"\x54", "proto: wiretype end group for non-group"),
        (varint(200 << 3 | 3) + tagged(1, 1), "unexpected EOF"),
    ],
)
def test_malformed_messages(raw: bytes, reason: str) -> None:
    with pytest.raises(UndecodableObject) as caught:
        config_map(raw)
    assert caught.value.message == f'ConfigMap in version "v1" cannot be handled as a ConfigMap: {reason}'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty data"),
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (MAGIC, "empty body"),
        (MAGIC + b"\x12\x05a", "unexpected EOF"),
    ],
)
def test_broken_envelopes(data: bytes, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_body(data, "", "v1", "ConfigMap")
    assert caught.value.message == reason
    assert not isinstance(caught.value, UndecodableObject)


def test_unknown_fields_are_skipped() -> None:
    group = varint(300 << 3 | 3) + tagged(1, 7) + tagged(2, "x") + varint(300 << 3 | 4)
    unknown = tagged(100, 1) + tagged(101, "x") + varint(102 << 3 | 5) + b"1234" + varint(103 << 3 | 1) + b"12345678"
    entry = tagged(2, tagged(1, "a") + tagged(2, "b"))
    assert config_map(unknown + group + entry + unknown)["data"] == {"a": "b"}


def test_kind_of_the_envelope_counts() -> None:
    raw = enveloped(tagged(1, tagged(1, "x")), "v1", "Secret")
    assert decode_body(raw, "", "v1", "ConfigMap") == {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"},
    }  # fmt: skip
    anonymous = MAGIC + tagged(2, tagged(1, tagged(1, "x")))
    assert decode_body(anonymous, "apps", "v1", "Deployment")["apiVersion"] == "apps/v1"
    unknown = enveloped(b"\xff", "demo/v1", "Nothing")
    assert decode_body(unknown, "", "v1", "ConfigMap") == {"apiVersion": "demo/v1", "kind": "Nothing"}


def test_parts_of_a_message_add_up() -> None:
    decoded = config_map(tagged(1, tagged(1, "n")) + tagged(1, tagged(3, "default")))
    assert decoded["metadata"] == {"name": "n", "namespace": "default"}


def test_packed_integers() -> None:
    schema = schema_for("", "v1", "Pod")
    groups = schema.properties["spec"].properties["securityContext"]
    number = next(n for n, field in numbers(groups.name).items() if field == "supplementalGroups")
    context = tagged(number, varint(5) + varint(-1) + varint(7)) + tagged(number, 9)
    spec = next(n for n, field in numbers(schema.properties["spec"].name).items() if field == "securityContext")
    pod = decode_body(enveloped(tagged(2, tagged(spec, context)), "v1", "Pod"), "", "v1", "Pod")
    assert pod["spec"]["securityContext"]["supplementalGroups"] == [5, -1, 7, 9]


def test_short_negative_integers() -> None:
    # Some encoders write int32 in five bytes.
    spec = enveloped(tagged(2, tagged(1, 0xFFFFFFFF)), "apps/v1", "Deployment")
    assert decode_body(spec, *DEPLOYMENT)["spec"]["replicas"] == -1


def test_zero_times_and_times_out_of_range() -> None:
    def made(timestamp: bytes) -> bytes:
        return enveloped(tagged(1, tagged(8, timestamp)), "v1", "ConfigMap")

    assert decode_body(made(b""), "", "v1", "ConfigMap")["metadata"] == {"creationTimestamp": None}
    before = decode_body(made(tagged(1, -62135596800)), "", "v1", "ConfigMap")
    assert before["metadata"]["creationTimestamp"] == "0001-01-01T00:00:00Z"
    with pytest.raises(UndecodableObject, match="years 1 to 9999"):
        decode_body(made(tagged(1, 1 << 60)), "", "v1", "ConfigMap")


def test_bottomless_nesting_is_refused() -> None:
    schema = schema_for("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    version = schema.properties["spec"].properties["versions"].items
    assert version is not None
    not_ = next(n for n, field in numbers(EXTENSIONS + "JSONSchemaProps").items() if field == "not")
    nested = b""
    for _ in range(5000):
        nested = tagged(not_, nested)
    # spec.versions[].schema.openAPIV3Schema
    path = [1, _number(version, "schema"), _number(schema.properties["spec"], "versions"), 2]
    for number in path:
        nested = tagged(number, nested)
    with pytest.raises(UndecodableObject, match="exceeded max depth"):
        decode_body(enveloped(nested, "apiextensions.k8s.io/v1", "CustomResourceDefinition"), "", "v1", "x")


def _number(schema: Schema, name: str) -> int:
    return next(n for n, field in numbers(schema.name).items() if field == name)


def test_empty_map_values() -> None:
    secret = enveloped(tagged(2, tagged(1, "k")), "v1", "Secret")
    assert decode_body(secret, "", "v1", "Secret")["data"] == {"k": ""}
    quota = schema_for("", "v1", "ResourceQuota")
    assert message({"spec": {"hard": {}}}, quota, quota.name) == tagged(2, b"")
    hard = enveloped(tagged(2, tagged(1, tagged(1, "pods"))), "v1", "ResourceQuota")
    assert decode_body(hard, "", "v1", "ResourceQuota")["spec"]["hard"] == {"pods": "0"}
