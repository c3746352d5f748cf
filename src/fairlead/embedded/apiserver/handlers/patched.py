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
from fairlead.embedded.apiserver.status import invalid_object
from fairlead.kube.errors import BadRequest, Invalid

_METADATA_ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip

_SCHEME = "pkg/api/legacyscheme/scheme.go:30"


def quotable(current: Object, type_: ResourceType) -> Object:
    """The current object with its keys in the order in which the API server serialises it."""
    if type_.is_custom:
        ordered: Object = _sorted(current)
        return ordered
    metadata = current["metadata"]
    return {**current, "metadata": {key: metadata[key] for key in _METADATA_ORDER if key in metadata}}


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
