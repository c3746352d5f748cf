"""OpenAPI documents of the served types: v2 and v3, as kubectl and client libraries read them.

kubectl takes from them: descriptions (`explain`), patch metadata and list types (`apply`), which query parameters a
resource's PATCH knows (`--validate`, `--dry-run=server`), and groups, versions and kinds everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.embedded.apiserver.schema.builtin import definition, group_version_kinds
from fairlead.embedded.apiserver.schema.descriptions import field_descriptions
from fairlead.embedded.apiserver.schema.node import UNSET, Schema
from fairlead.embedded.apiserver.schema.openapi_paths import paths_of

Document = dict[str, Any]

_INFO = {"title": "Kubernetes", "version": "v1.36.2"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_ALWAYS = (_META + "DeleteOptions", _META + "Status", _META + "ListMeta", _META + "Patch")
_FORMATS = {"date-time": "date-time", "micro-time": "date-time", "quantity": ""}


def openapi_v3_index(types: Sequence[ResourceType]) -> Document:
    """`/openapi/v3`: a path for each served group and version."""
    groups: dict[str, list[ResourceType]] = {}
    for type_ in types:
        root = f"apis/{type_.group}/{type_.version}" if type_.group else f"api/{type_.version}"
        groups.setdefault(root, []).append(type_)
    return {
        "paths": {
            root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={_digest(members)}"}
            for root, members in sorted(groups.items())
        }
    }


def _digest(types: Iterable[ResourceType]) -> str:
    """Changes with what the types serve; the schemas of built-in kinds never change."""
    digest = hashlib.sha256()
    for type_ in types:
        digest.update(f"{type_.resource}/{type_.kind}/{type_.verbs}/{type_.subresources}/{type_.scale}".encode())
        if type_.is_custom:
            digest.update(repr(_inline(type_.schema, _Refs("", {}))).encode())
    return digest.hexdigest()[:64].upper()


def openapi_v3(types: Sequence[ResourceType]) -> Document:
    """The document of one group and version."""
    schemas: Document = {}
    refs = _Refs("#/components/schemas/", schemas)
    paths = paths_of(types, refs.kind_reference, version=3)
    refs.define_pending()
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"BearerToken": {"type": "apiKey", "in": "header", "name": "authorization"}},
        },
    }


def openapi_v2(types: Sequence[ResourceType]) -> Document:
    """The document of everything that is served."""
    schemas: Document = {}
    refs = _Refs("#/definitions/", schemas)
    paths = paths_of(types, refs.kind_reference, version=2)
    refs.define_pending()
    return {"swagger": "2.0", "info": _INFO, "paths": paths, "definitions": dict(sorted(schemas.items()))}


def definition_name(type_: ResourceType) -> str:
    """The definition of a type's kind: Go's package for built-in kinds, the reversed group for custom ones."""
    if type_.schema.name:
        return type_.schema.name
    reversed_group = ".".join(reversed(type_.group.split(".")))
    return f"{reversed_group}.{type_.version}.{type_.kind}"


class _Refs:
    """Collects the definitions that are referred to, so that each is written once."""

    def __init__(self, prefix: str, schemas: Document) -> None:
        self.prefix = prefix
        self.schemas = schemas
        self.is_v3 = "components" in prefix
        self._pending: list[tuple[str, Callable[[], Document]]] = []
        self._known: set[str] = set()

    def define_pending(self) -> None:
        for name in _ALWAYS:
            if name != _META + "Patch":
                self.to_node(definition(name))
        while self._pending:
            name, make = self._pending.pop()
            self.schemas[name] = make()
        self.schemas[_META + "Patch"] = {"type": "object"}

    def to_node(self, node: Schema) -> Document:
        return self._refer(node.name, lambda: _define(node, self))

    def kind_reference(self, type_: ResourceType, kind: str) -> Document:
        """A reference to a type's kind, its list ("…List"), or a meta kind."""
        if kind == type_.kind:
            if type_.schema.name:
                return self.to_node(type_.schema)
            return self._refer(definition_name(type_), lambda: _define_custom(type_, self))
        if kind == type_.list_kind:
            name = definition_name(type_).removesuffix(type_.kind) + type_.list_kind
            return self._refer(name, lambda: _define_list(type_, self))
        if kind == "Scale":
            return self.to_node(definition("io.k8s.api.autoscaling.v1.Scale"))
        return {"$ref": f"{self.prefix}{_META}{kind}"}

    def _refer(self, name: str, make: Callable[[], Document]) -> Document:
        if name not in self._known:
            self._known.add(name)
            self._pending.append((name, make))
        return {"$ref": self.prefix + name}


def _define(node: Schema, refs: _Refs) -> Document:
    """The definition of a built-in struct or scalar."""
    document = _inline(node, refs, is_definition=True)
    descriptions = field_descriptions(node.name)
    properties = document.get("properties") or {}
    for name, text in descriptions.items():
        if name not in properties:
            continue
        target = properties[name]
        if refs.is_v3 and "$ref" in target:
            reference = target.pop("$ref")
            target["allOf"] = [{"$ref": reference}]
        target["description"] = text
    kinds = group_version_kinds(node.name)
    if kinds:
        document["x-kubernetes-group-version-kind"] = [_kind_extension(*kind) for kind in kinds]
    return document


def _define_custom(type_: ResourceType, refs: _Refs) -> Document:
    document = _inline(type_.schema, refs, is_definition=True)
    document["x-kubernetes-group-version-kind"] = [_kind_extension(type_.group, type_.version, type_.kind)]
    return document


def _define_list(type_: ResourceType, refs: _Refs) -> Document:
    strings = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    items = {"type": "array", "items": refs.kind_reference(type_, type_.kind)}
    metadata = refs.to_node(definition(_META + "ListMeta"))
    return {
        "type": "object",
        "required": ["items"],
        "properties": {**strings, "items": items, "metadata": metadata},
        "x-kubernetes-group-version-kind": [_kind_extension(type_.group, type_.version, type_.list_kind)],
    }


def _kind_extension(group: str, version: str, kind: str) -> dict[str, str]:
    if group == "meta.k8s.io":
        group = ""
    return {"group": group, "kind": kind, "version": version}


def _inline(node: Schema, refs: _Refs, *, is_definition: bool = False) -> Document:
    """A node where it stands: a reference for named ones."""
    if node.name and not is_definition:
        document = _with_extensions(dict(refs.to_node(node)), node, refs)
    else:
        document = _with_extensions(_shape(node, refs), node, refs)
    return document


def _shape(node: Schema, refs: _Refs) -> Document:
    document: Document = {}
    if node.format == "int-or-string":
        return _int_or_string(node, refs)
    if node.format == "quantity" and refs.is_v3:
        return {"oneOf": [{"type": "string"}, {"type": "number"}]}
    if node.type:
        document["type"] = node.type
    format_ = _FORMATS.get(node.format, node.format)
    if format_:
        document["format"] = format_
    if node.description:
        document["description"] = node.description
    if node.required:
        document["required"] = list(node.required)
    if node.properties:
        document["properties"] = {name: _inline(child, refs) for name, child in node.properties.items()}
    if node.items is not None and node.type == "array":
        document["items"] = _inline(node.items, refs)
    if node.additional is not None:
        document["additionalProperties"] = _inline(node.additional, refs)
    return document


def _validation(node: Schema) -> Document:
    """What a definition says that values must be, apart from their type: `kubectl explain` shows it, and clients check
    by it before they send. Combinations of schemas and CEL rules are not told."""
    said = node.constraints
    if said is None:
        return {}
    document: Document = {name: value for name, attribute in _VALIDATIONS if (value := getattr(said, attribute))}
    for name, value in (
        ("minimum", said.minimum), ("maximum", said.maximum), ("multipleOf", said.multiple_of),
        ("minLength", said.min_length), ("maxLength", said.max_length), ("minItems", said.min_items),
        ("maxItems", said.max_items), ("minProperties", said.min_properties), ("maxProperties", said.max_properties),
    ):  # fmt: skip
        if value is not None:
            document[name] = value
    if said.enum is not None:
        document["enum"] = list(said.enum)
    return document


_VALIDATIONS = (
    ("pattern", "pattern"), ("exclusiveMinimum", "exclusive_minimum"), ("exclusiveMaximum", "exclusive_maximum"),
    ("uniqueItems", "unique_items"),
)  # fmt: skip
"""Those that say nothing where they are false or empty."""


def _int_or_string(node: Schema, refs: _Refs) -> Document:
    if node.name:
        if refs.is_v3:
            return {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"format": "int-or-string", "type": "string"}
    return {"x-kubernetes-int-or-string": True}


def _with_extensions(document: Document, node: Schema, refs: _Refs) -> Document:
    extensions: Document = {}
    if node.list_type != "atomic":
        extensions["x-kubernetes-list-type"] = node.list_type
    if node.list_keys:
        extensions["x-kubernetes-list-map-keys"] = list(node.list_keys)
    if node.patch_strategies:
        extensions["x-kubernetes-patch-strategy"] = ",".join(sorted(node.patch_strategies, reverse=True))
    if node.patch_merge_key:
        extensions["x-kubernetes-patch-merge-key"] = node.patch_merge_key
    if node.map_atomic:
        extensions["x-kubernetes-map-type"] = "atomic"
    if not node.go_type:
        if node.preserve_unknown:
            extensions["x-kubernetes-preserve-unknown-fields"] = True
        if node.embedded_resource:
            extensions["x-kubernetes-embedded-resource"] = True
        if node.nullable:
            extensions["nullable"] = True
        extensions |= _validation(node)
    if node.default is not UNSET and refs.is_v3:
        extensions["default"] = node.default
    if extensions and "$ref" in document and refs.is_v3:
        document = {"allOf": [document]}
    return document | extensions
