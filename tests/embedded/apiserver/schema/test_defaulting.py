from typing import Any

from fairlead.embedded.apiserver.schema.builtin import schema_for
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.schema.defaulting import apply_defaults
from fairlead.embedded.apiserver.schema.structural import compile_crd_schema

SCHEMA = compile_crd_schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "default": {"made": True},
                "properties": {
                    "s": {"type": "string", "default": "x"},
                    "nullable": {"type": "string", "nullable": True, "default": "y"},
                    "list": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"k": {"type": "integer", "default": 1}}},
                    },
                    "map": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "properties": {"o": {"type": "object", "default": {}}},
                        },
                    },
                    "made": {"type": "boolean"},
                },
            }
        },
    }
)


def defaulted(obj: dict[str, Any]) -> dict[str, Any]:
    decode_object(obj, SCHEMA)
    apply_defaults(obj, SCHEMA)
    return obj


def test_absent_and_null_fields_get_defaults_and_nullable_nulls_stay() -> None:
    assert defaulted({})["spec"] == {"made": True, "s": "x", "nullable": "y"}
    assert defaulted({"spec": {"s": None, "nullable": None}})["spec"] == {"s": "x", "nullable": None}


def test_items_and_map_values_get_defaults() -> None:
    spec = defaulted({"spec": {"list": [{}, {"k": 2}], "map": {"a": {}}}})["spec"]
    assert spec["list"] == [{"k": 1}, {"k": 2}]
    assert spec["map"] == {"a": {"o": {}}}


def test_defaults_are_not_shared_between_objects() -> None:
    first, second = defaulted({}), defaulted({})
    first["spec"]["made"] = False
    assert second["spec"]["made"] is True


def test_builtin_defaults() -> None:
    pod = {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}]}}
    apply_defaults(pod, schema_for("", "v1", "Pod"))
    assert pod["spec"]["containers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
