"""A patched document made an object again: type-checked and defaulted, or refused with the document quoted.

A patch answers 422 where the same body in a PUT would answer 400: the client sent a valid patch, only its outcome is no
object of the kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.codec import encode
from fairlead.embedded.apiserver.invalid import invalid
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.embedded.apiserver.status import invalid_object
from fairlead.kube.errors import BadRequest, Invalid

_SCHEME = "pkg/api/legacyscheme/scheme.go:30"


def quotable(current: Object, type_: ResourceType) -> Object:
    """The current object with its keys in the order in which the API server serialises it."""
    if type_.is_custom:
        ordered: Object = _sorted(current)
        return ordered
    kind = {key: current[key] for key in ("kind", "apiVersion") if key in current}
    return {**kind, **_in_go_order(current, type_.schema)}


def _in_go_order(value: Any, schema: Schema | None) -> Any:
    """Structs in the order of their fields, which is that of the schema's properties; maps by key."""
    if schema is None:
        return value
    if isinstance(value, list):
        return [_in_go_order(item, schema.items) for item in value]
    if not isinstance(value, dict):
        return value
    if schema.go is None:
        return {key: _in_go_order(value[key], schema.additional) for key in sorted(value)}
    return {key: _in_go_order(value[key], child) for key, child in schema.properties.items() if key in value}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def type_patched(patched: Object, type_: ResourceType, catalog: Catalog) -> list[str]:
    """Decode and default in place; returns unknown-field errors. Raises BadRequest, whose message is the reason."""
    api_version, kind = patched.get("apiVersion") or type_.api_version, patched.get("kind") or type_.kind
    patched["apiVersion"], patched["kind"] = api_version, kind
    if (api_version, kind) != (type_.api_version, type_.kind):
        other = catalog.find_kind(*_group_and_version(api_version), kind)
        if other is not None:
            decode_object(patched, other.schema)
        raise BadRequest(_unconvertible(str(api_version), str(kind), type_, is_known=other is not None))
    return decode(patched, type_)


def _unconvertible(api_version: str, kind: str, type_: ResourceType, *, is_known: bool) -> str:
    if not is_known:
        return f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
    internal = type_.group.partition(".")[0] or "core"
    version = _group_and_version(api_version)[1]
    return f"converting ({version}.{kind}) to ({internal}.{type_.kind}): unknown conversion"


def _group_and_version(api_version: Any) -> tuple[str, str]:
    group, _, version = str(api_version).rpartition("/")
    return group, version


def reason_of(error: BadRequest, type_: ResourceType) -> str:
    """What is wrong with a document, without what a body's error says around it."""
    begin = f'{type_.kind} in version "{type_.version}" cannot be handled as a {type_.kind}: '
    return error.message.removeprefix(begin)


def strictness_reason(errors: Sequence[str]) -> str:
    return "strict decoding error: " + ", ".join(errors)


def refused(document: Object | str, reason: str) -> Invalid:
    """The error that quotes a patched document, or what stands for it, and says what is wrong with it."""
    text = document if isinstance(document, str) else encode(document).decode()
    return invalid_object("", "", "", [invalid("patch", text, reason)])
