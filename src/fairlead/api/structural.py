"""OpenAPI v3 structural schemas (as CustomResourceDefinitions want them) from msgspec structs.

The struct is the one definition of a kind: field types, `msgspec.Meta` constraints, defaults and field descriptions
(`Meta(description=...)`) become the schema; what a schema cannot say is added as CEL rules by the kind's CRD.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, UnsetType, inspect

Json = dict[str, Any]

_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY: Json = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$",
    "x-kubernetes-int-or-string": True,
}
"""A Kubernetes quantity, written as an integer or a text."""

MAP_OF_QUANTITIES: Json = {"type": "object", "additionalProperties": QUANTITY, "maxProperties": 64}
"""Resource names to quantities."""

INT_OR_PERCENT: Json = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": r"^[0-9]{1,5}%?$",
    "x-kubernetes-int-or-string": True,
}
"""A count, or a share of the desired number as `25%`."""


def told(description: str, schema: Json | None = None, **limits: Any) -> Meta:
    """`msgspec.Meta` of a field: its description for people, the limits that msgspec knows (`ge`, `max_length`,
    `pattern` …), and what else its schema is to have."""
    return Meta(**limits, extra_json_schema={"description": description, **(schema or {})})


_WHOLE = {"x-kubernetes-int-or-string", "properties", "additionalProperties"}
_STRING_LIMITS = (("min_length", "minLength"), ("max_length", "maxLength"), ("pattern", "pattern"))
_NUMBER_LIMITS = (("ge", "minimum"), ("le", "maximum"), ("multiple_of", "multipleOf"))
_LIST_LIMITS = (("min_length", "minItems"), ("max_length", "maxItems"))


def openapi_schema(struct: type[msgspec.Struct]) -> Json:
    """The structural schema of a struct. Raises TypeError for a field type that CRDs cannot express."""
    return _schema(inspect.type_info(struct))


def filled(struct: type[msgspec.Struct]) -> Json:
    """Schema of a field that is absent from no stored object: an object of the struct's defaults stands for it.

    They are given one by one, since an API server judges a default as it is, before those inside it are filled in.
    """
    properties = openapi_schema(struct)["properties"]
    return {"default": {name: schema["default"] for name, schema in properties.items() if "default" in schema}}


def _schema(info: inspect.Type) -> Json:
    if isinstance(info, inspect.Metadata):
        said = dict(info.extra_json_schema or {})
        # What is an integer or a text on the wire is a union here, and what a pod takes as it is has no struct: their
        # schemas are given whole.
        schema = {} if _WHOLE & said.keys() else _schema(info.type)
        return schema | said | dict(info.extra or {})
    if isinstance(info, inspect.UnionType):
        members = [m for m in info.types if not isinstance(m, inspect.NoneType) and not _is_unset(m)]
        if len(members) == 1:
            return _schema(members[0])
        raise TypeError(f"a union has no structural schema: {info}")
    if isinstance(info, inspect.StructType):
        return _object(info)
    if isinstance(info, (inspect.ListType, inspect.VarTupleType)):
        return {"type": "array", "items": _schema(info.item_type)} | _limits(info, _LIST_LIMITS)
    if isinstance(info, inspect.DictType):
        if isinstance(info.value_type, inspect.AnyType):
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {"type": "object", "additionalProperties": _schema(info.value_type)}
    return _scalar(info)


def _scalar(info: inspect.Type) -> Json:
    if isinstance(info, inspect.StrType):
        return {"type": "string"} | _limits(info, _STRING_LIMITS)
    if isinstance(info, inspect.BoolType):
        return {"type": "boolean"}
    if isinstance(info, inspect.IntType):
        return {"type": "integer", "format": "int64"} | _limits(info, _NUMBER_LIMITS)
    if isinstance(info, inspect.FloatType):
        return {"type": "number"} | _limits(info, _NUMBER_LIMITS)
    if isinstance(info, inspect.LiteralType):
        return {"type": "string", "enum": sorted(str(v) for v in info.values)}
    raise TypeError(f"no structural schema for {info}")


def _object(info: inspect.StructType) -> Json:
    properties: Json = {}
    required = []
    for field in info.fields:
        schema = _schema(field.type)
        if field.required:
            required.append(field.encode_name)
        elif field.default is not NODEFAULT and field.default not in (None, UNSET, "", ()):
            schema = schema | {"default": msgspec.to_builtins(field.default)}
        properties[field.encode_name] = schema
    result: Json = {"type": "object", "properties": properties}
    if info.cls.__doc__ and not info.cls.__doc__.startswith(info.cls.__name__ + "("):
        result["description"] = " ".join(info.cls.__doc__.split())
    if required:
        result["required"] = required
    return result


def _limits(info: inspect.Type, names: tuple[tuple[str, str], ...]) -> Json:
    return {name: getattr(info, attribute) for attribute, name in names if getattr(info, attribute, None) is not None}


def _is_unset(info: inspect.Type) -> bool:
    return isinstance(info, inspect.CustomType) and info.cls is UnsetType
