import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.schema.builtin import schema_for
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.schema.structural import compile_crd_schema
from fairlead.kube.errors import BadRequest

POD = schema_for("", "v1", "Pod")
DEPLOYMENT = schema_for("apps", "v1", "Deployment")


def pod(**container: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", **container}]}}


def decoded(obj: dict[str, Any], schema: Any = POD) -> dict[str, Any]:
    assert decode_object(obj, schema) == []
    return obj


def test_empty_structs_are_written_and_empty_fields_are_not() -> None:
    obj = decoded({"spec": {"nodeSelector": {}, "nodeName": "", "containers": [{"name": "c", "env": []}]}})
    assert obj == {"metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]}, "status": {}}


def test_pointers_keep_their_empty_values() -> None:
    obj = decoded({"spec": {"replicas": 0, "minReadySeconds": 0, "selector": {}}}, DEPLOYMENT)
    assert obj["spec"]["replicas"] == 0
    assert "minReadySeconds" not in obj["spec"]
    assert obj["spec"]["selector"] == {}


def test_lists_without_omitempty_are_null() -> None:
    role = decoded({"metadata": {"name": "r"}}, schema_for("rbac.authorization.k8s.io", "v1", "Role"))
    assert role["rules"] is None


def test_quantities_and_times_get_their_normal_form() -> None:
    obj = decoded(pod(resources={"limits": {"cpu": "1000m", "memory": 1024, "x.y/z": "0.5"}}))
    assert obj["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1024", "x.y/z": "500m"}
    obj = decoded({"metadata": {"deletionTimestamp": "2020-01-01T02:00:00.5+02:00"}})
    assert obj["metadata"]["deletionTimestamp"] == "2020-01-01T00:00:00Z"


def test_null_is_the_zero_value_of_elements() -> None:
    obj = decoded({"metadata": {"labels": {"a": None}}, "spec": {"containers": [{"name": "c", "args": [None]}]}})
    assert obj["metadata"]["labels"] == {"a": ""}
    assert obj["spec"]["containers"][0]["args"] == [""]


def test_unknown_fields_are_told_in_document_order_with_indexes() -> None:
    obj = {"zz": 1, "spec": {"containers": [{"name": "a"}, {"name": "c", "Image": "x"}], "aa": {}}, "bb": 1}
    assert decode_object(obj, POD) == [
        'unknown field "zz"',
        'unknown field "spec.containers[1].Image"',
        'unknown field "spec.aa"',
        'unknown field "bb"',
    ]
    assert obj["spec"] == {"containers": [{"name": "a", "resources": {}}, {"name": "c", "resources": {}}]}


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"spec": "x"}, "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec"),
        ({"spec": {"containers": {}}}, "object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        (pod(image=5), "number into Go struct field Container.spec.containers.image of type string"),
        (
            pod(imagePullPolicy=[]),
            "array into Go struct field Container.spec.containers.imagePullPolicy of type v1.Pul",
        ),
        (pod(args=[1]), "number into Go struct field Container.spec.containers.args of type string"),
        (pod(tty="true"), "string into Go struct field Container.spec.containers.tty of type bool"),
        (pod(ports=[{"containerPort": 2.5}]), "number 2.5 into Go struct field ContainerPort.spec.containers.ports.c"),
        (pod(ports=[{"containerPort": 1 << 31}]), "cannot unmarshal number 2147483648 into Go struct field"),
        (pod(resources={"limits": {"cpu": "1x"}}), "quantities must match the regular expression"),
        (
            pod(resources={"limits": 1}),
            "number into Go struct field ResourceRequirements.spec.containers.resources.limi",
        ),
        ({"metadata": {"creationTimestamp": "now"}}, 'cannot parse "now" as "2006"'),
        ({"metadata": {"labels": {"a": True}}}, "bool into Go struct field ObjectMeta.metadata.labels of type string"),
    ],
)
def test_wrong_types_are_refused_in_go_s_words(obj: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as error:
        decode_object(obj, POD)
    assert message in error.value.message


def test_bytes_are_checked_and_normalised() -> None:
    secret = schema_for("", "v1", "Secret")
    assert decoded({"data": {"a": "YQ=="}}, secret)["data"] == {"a": "YQ=="}
    with pytest.raises(BadRequest, match=r"illegal base64 data at input byte 3"):
        decode_object({"data": {"a": "not base64!"}}, secret)


CUSTOM = compile_crd_schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "a": {"type": "string"},
                    "n": {"type": "string", "nullable": True},
                    "any": {"x-kubernetes-preserve-unknown-fields": True},
                    "kept": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {"inner": {"type": "object", "properties": {"k": {"type": "string"}}}},
                    },
                    "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {}}},
                    "embedded": {
                        "type": "object",
                        "x-kubernetes-embedded-resource": True,
                        "properties": {"spec": {"type": "object"}},
                    },
                },
            }
        },
    }
)


def test_custom_objects_are_pruned() -> None:
    obj = {
        "apiVersion": "e.com/v1",
        "kind": "W",
        "metadata": {"name": "w", "bogus": 1},
        "top": 1,
        "spec": {
            "a": None,
            "n": None,
            "any": {"x": [None]},
            "kept": {"free": {"y": 1}, "inner": {"k": "v", "z": 1}},
            "map": {"k": {"x": 1}},
            "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "e", "oops": 1}, "other": 1},
        },
    }
    unknown = decode_object(obj, CUSTOM)
    assert unknown == [
        f'unknown field "{path}"'
        for path in (
            "metadata.bogus", "spec.embedded.metadata.oops", "spec.embedded.other", "spec.kept.inner.z",
            "spec.map.k.x", "top",
        )
    ]  # fmt: skip
    assert obj["spec"] == {
        "n": None,
        "any": {"x": [None]},
        "kept": {"free": {"y": 1}, "inner": {"k": "v"}},
        "map": {"k": {}},
        "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "e"}},
    }


def test_custom_metadata_is_typed() -> None:
    with pytest.raises(BadRequest, match=r"string into Go struct field ObjectMeta\.labels of type map"):
        decode_object({"metadata": {"labels": "x"}}, CUSTOM)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=10,
)
pod_like = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"name": json_values, "labels": json_values}),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(
                    st.fixed_dictionaries({}, optional={"name": json_values, "env": json_values, "x": json_values}),
                    max_size=2,
                )
                | json_values,
                "nodeSelector": json_values,
                "priority": json_values,
            },
        ),
    },
)


@given(pod_like)
def test_decoding_is_total_and_idempotent(obj: dict[str, Any]) -> None:
    try:
        decode_object(obj, POD)
    except BadRequest:
        return
    once = copy.deepcopy(obj)
    assert decode_object(obj, POD) == []
    assert obj == once


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"}, {"type": "number"}, {"x-kubernetes-int-or-string": True},
        {"x-kubernetes-preserve-unknown-fields": True},
    ],
)  # fmt: skip
def test_numbers_of_custom_resources_are_stored_as_go_writes_them(schema: dict[str, Any]) -> None:
    """kube-apiserver keeps a float64 of `1.0` and writes it as `1`, which clients with integer fields rely on."""
    either = {"type": "array", "items": schema}
    compiled = compile_crd_schema(
        {
            "type": "object",
            "properties": {"one": schema, "list": either, "map": {"type": "object", "additionalProperties": schema}},
        }
    )
    obj = decoded({"one": 1.0, "list": [2.0, 2.5, 3], "map": {"a": -4.0, "b": 1e21, "c": 1e20}}, compiled)
    assert json.dumps(obj) == (
        '{"one": 1, "list": [2, 2.5, 3], "map": {"a": -4, "b": 1e+21, "c": 100000000000000000000}}'
    )


def test_numbers_where_nothing_is_said_of_them_are_stored_so_too() -> None:
    free = compile_crd_schema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    obj = decoded({"spec": {"ports": [{"port": 80.0, "weight": 0.5}], "text": "1.0"}}, free)
    assert json.dumps(obj) == '{"spec": {"ports": [{"port": 80, "weight": 0.5}], "text": "1.0"}}'
