"""Rules for names, labels, annotations, owners and finalizers, in Kubernetes' words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.kinds import names
from fairlead.embedded.apiserver.kinds.metadata import validate_object_meta, validate_object_meta_update

_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (names.dns_label, ["a", "a-1", "1", "a" * 63], ["", "A", "-a", "a-", "a.b", "a" * 64, "é", "a\n"]),
        (names.dns_subdomain, ["a.b", "a" * 253], ["", "a..b", ".a", "a_b", "a" * 254]),
        (names.dns1035_label, ["a1"], ["1a", "", "a" * 64]),
        (names.qualified_name, ["a", "A.b_c", "x.io/a"], ["", "/a", "x.io/", "X.io/a", "a/b/c", "a" * 64]),
        (names.label_value, ["", "a.B_c"], ["-a", "a b", "a" * 64]),
        (names.config_map_key, ["a.b-c_D", ".a"], ["", ".", "..", "..a", "a b", "a" * 254]),
        (names.env_name, ["A_b.c-d"], ["", "1a", ".", "..", "a b"]),
        (names.path_segment, ["a:b", "A b"], [".", "..", "a/b", "a%b"]),
        (names.port_name, ["http", "a-1"], ["", "1", "a--b", "-a", "A", "abcdefghijklmnop"]),
        (names.ip, ["10.0.0.1", "::1"], ["", "10.0.0", "010.0.0.1", "x"]),
        (names.cidr, ["10.0.0.0/8", "::/0"], ["10.0.0.0", "10.0.0.0/33"]),
    ],
)
def test_rule(rule: names.Rule, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if rule(text)] == []
    assert [text for text in bad if not rule(text)] == []


def test_message_of_a_bad_label() -> None:
    assert names.dns_label("A") == (_LABEL,)
    assert names.dns_label("a" * 64) == ("must be no more than 63 characters",)


@given(st.text(max_size=70))
def test_a_label_is_a_subdomain_and_a_label_value(text: str) -> None:
    if not names.dns_label(text):
        assert not names.dns_subdomain(text)
        assert not names.label_value(text)
        assert text.isascii()


def found(metadata: dict[str, Any], **options: Any) -> list[str]:
    return [error.field for error in validate_object_meta({"metadata": metadata}, namespaced=True, **options)]


_OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u"}


@pytest.mark.parametrize(
    ("metadata", "fields"),
    [
        ({"name": "x", "namespace": "n"}, []),
        ({"namespace": "n"}, ["metadata.name"]),
        ({"name": "x"}, ["metadata.namespace"]),
        ({"name": "X", "namespace": "n"}, ["metadata.name"]),
        ({"name": "x", "generateName": "-x-", "namespace": "n"}, ["metadata.generateName"]),
        ({"name": "x", "generateName": "x-", "namespace": "n"}, []),
        ({"name": "x", "namespace": "N"}, ["metadata.namespace"]),
        ({"name": "x", "namespace": "n", "labels": {"a b": "c"}}, ["metadata.labels"]),
        ({"name": "x", "namespace": "n", "labels": {"a": "-"}}, ["metadata.labels"]),
        ({"name": "x", "namespace": "n", "annotations": {"A/b": "", "a//b": ""}}, ["metadata.annotations"]),
        ({"name": "x", "namespace": "n", "annotations": {"a": "b" * (256 << 10)}}, ["metadata.annotations"]),
        ({"name": "x", "namespace": "n", "finalizers": ["a b"]}, ["metadata.finalizers"]),
        ({"name": "x", "namespace": "n", "ownerReferences": [_OWNER]}, []),
        (
            {"name": "x", "namespace": "n", "ownerReferences": [{**_OWNER, "uid": ""}]},
            ["metadata.ownerReferences.uid"],
        ),
        (
            {"name": "x", "namespace": "n", "ownerReferences": [{**_OWNER, "controller": True}] * 2},
            ["metadata.ownerReferences"],
        ),
    ],
)
def test_metadata_of_a_new_object(metadata: dict[str, Any], fields: list[str]) -> None:
    assert found(metadata) == fields


def test_a_cluster_object_has_no_namespace() -> None:
    errors = validate_object_meta({"metadata": {"name": "x", "namespace": "n"}}, namespaced=False)
    assert [(error.field, error.reason) for error in errors] == [("metadata.namespace", "FieldValueForbidden")]


def changed(**parts: Any) -> list[str]:
    old = {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "creationTimestamp": "t"}
    return [
        f"{error.field}: {error.message}"
        for error in validate_object_meta_update({"metadata": {**old, **parts}}, {"metadata": old})
    ]


def test_update_keeps_the_identity() -> None:
    assert changed(labels={"a": "b"}) == []
    assert changed(name="y") == ['metadata.name: Invalid value: "y": field is immutable']
    assert changed(uid="v") == ['metadata.uid: Invalid value: "v": field is immutable']


def test_an_object_under_deletion_gets_no_new_finalizers() -> None:
    old = {"name": "x", "namespace": "n", "resourceVersion": "1", "deletionTimestamp": "t", "finalizers": ["a.io/b"]}
    new = {**old, "finalizers": ["a.io/b", "a.io/c"]}
    errors = validate_object_meta_update({"metadata": new}, {"metadata": old})
    assert [(error.field, error.reason) for error in errors] == [("metadata.finalizers", "FieldValueForbidden")]
    assert not validate_object_meta_update({"metadata": {**old, "finalizers": []}}, {"metadata": old})
