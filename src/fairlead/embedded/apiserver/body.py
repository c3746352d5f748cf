"""Request bodies: from bytes to a decoded, type-checked, defaulted object, with the API server's errors.

Unknown and duplicate fields are dropped; `fieldValidation` says whether they are refused, told as warnings, or ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.embedded.apiserver import protobuf
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.schema.body import DUPLICATE_KEYS
from fairlead.embedded.apiserver.schema.decode import decode_object, parse_body
from fairlead.embedded.apiserver.schema.defaulting import apply_defaults
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.embedded.apiserver.status import bad_request
from fairlead.kube.errors import BadRequest, UnsupportedMediaType

BODY_LIMIT_BYTES = 3 * 1024 * 1024
_SUMMARY_BYTES = 30
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_GROUP_VERSION = re.compile(r"[^/]*(/[^/]*)?")
BODY_TYPES = ("application/json", "application/yaml", protobuf.MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a body has to be: a kind of a group version."""

    group: str
    version: str
    kind: str
    is_custom: bool = False
    schema: Schema | None = field(default=None, compare=False)
    """None where the kind is found by its name."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def expected_of(type_: ResourceType) -> Expected:
    return Expected(type_.group, type_.version, type_.kind, type_.is_custom, type_.schema)


def body_media_type(content_type: str, *, is_custom: bool = False) -> str:
    """The media type of a body, JSON where none is said. Raises UnsupportedMediaType."""
    accepted = BODY_TYPES[:2] if is_custom else BODY_TYPES
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type or media_type == "application/octet-stream":
        return "application/json"
    if media_type in accepted:
        return media_type
    raise UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    )


def parse_object(data: bytes, media_type: str, expected: Expected, catalog: Catalog) -> tuple[Object, list[str]]:
    """The body with `kind` and `apiVersion` filled in, and its duplicate-field errors. Raises BadRequest."""
    obj, duplicates = recognize(data, media_type, expected)
    api_version = obj.get("apiVersion") or ("" if expected.is_custom else expected.api_version)
    kind = obj.get("kind") or expected.kind
    if not isinstance(api_version, str) or not _GROUP_VERSION.fullmatch(api_version):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {expected.kind}): unexpected GroupVersion string: "
            f"{api_version} ({summary(data)})"
        )
    if (api_version, kind) != (expected.api_version, expected.kind):
        _refuse_kind(api_version, kind, expected, catalog)
    obj["kind"], obj["apiVersion"] = kind, api_version
    return obj, duplicates


def recognize(data: bytes, media_type: str, expected: Expected) -> tuple[Object, list[str]]:
    """The body as it came, and its duplicate-field errors. Raises BadRequest, which quotes the body."""
    try:
        return parse_document(data, media_type, expected)
    except protobuf.UndecodableObject:
        raise
    except BadRequest as error:
        what = "" if media_type == protobuf.MEDIA_TYPE else "couldn't get version/kind; "
        raise bad_request(
            f"the object provided is unrecognized (must be of type {expected.kind}): {what}{error.message} "
            f"({summary(data)})"
        ) from error


def parse_document(data: bytes, media_type: str, expected: Expected) -> tuple[Object, list[str]]:
    """The body as it came, and its duplicate-field errors. Raises BadRequest with the bare reason."""
    if media_type == protobuf.MEDIA_TYPE:
        return protobuf.decode_body(data, expected.group, expected.version, expected.kind, expected.schema), []
    return parse_body(data, media_type)


def _refuse_kind(api_version: str, kind: str, expected: Expected, catalog: Catalog) -> None:
    """Raise for a body of another kind or group version."""
    if expected.is_custom and api_version == expected.api_version:
        # Custom resources are decoded as what they claim to be; that it is another kind is found by validation.
        return
    group, _, version = api_version.rpartition("/")
    if group == "" and version == "":
        version = expected.version
    begin = f'{kind} in version "{version}" cannot be handled as a {expected.kind}: '
    if expected.is_custom or (kind == expected.kind and _is_known(catalog, group, version, kind)):
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({expected.api_version})"
        )
    if _is_known(catalog, group, version, kind):
        internal = expected.group.partition(".")[0] or "core"
        raise bad_request(f"{begin}converting ({version}.{kind}) to ({internal}.{expected.kind}): unknown conversion")
    raise bad_request(f'{begin}no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"')


# Kinds of the API's scheme that are not resources of their own.
_FURTHER_KINDS = {
    ("extensions", "v1beta1", "Scale"),
    ("autoscaling", "v1", "Scale"),
    ("policy", "v1", "Eviction"),
    ("policy", "v1beta1", "Eviction"),
    ("", "v1", "Binding"),
    ("authentication.k8s.io", "v1", "TokenRequest"),
}


def _is_known(catalog: Catalog, group: str, version: str, kind: str) -> bool:
    return catalog.find_kind(group, version, kind) is not None or (group, version, kind) in _FURTHER_KINDS


def summary(data: bytes) -> str:
    """A short form of a body for error messages."""
    if not data:
        return "<empty>"
    short = data[:_SUMMARY_BYTES]
    more = " ..." if len(data) > _SUMMARY_BYTES else ""
    return (short.decode("utf8", "replace") if data[:1] == b"{" else short.hex()) + more


def decode(obj: Object, type_: ResourceType) -> list[str]:
    """Type-check, prune and default an object in place; returns unknown-field errors. Raises BadRequest."""
    metadata = obj.get("metadata")
    clears_owners = isinstance(metadata, dict) and metadata.get("managedFields") == []
    try:
        unknown = decode_object(obj, type_.schema)
    except BadRequest as error:
        raise bad_request(_cannot_be_handled(type_, error.message)) from error
    if clears_owners:
        # Decoding drops empty lists, but here an empty list differs from none.
        obj["metadata"]["managedFields"] = []
    apply_defaults(obj, type_.schema)
    type_.strategy.default(obj)
    return unknown


def _cannot_be_handled(type_: ResourceType, reason: str) -> str:
    return f'{type_.kind} in version "{type_.version}" cannot be handled as a {type_.kind}: {reason}'


def settle_strictness(errors: Sequence[str], field_validation: str, type_: ResourceType) -> list[str]:
    """Warnings for unknown and duplicate fields. Raises BadRequest where validation is strict."""
    if not errors or field_validation == "Ignore":
        return []
    if field_validation == "Strict":
        raise bad_request(_cannot_be_handled(type_, "strict decoding error: " + ", ".join(errors)))
    return [warning for error in errors for warning in warnings_of(error)]


def warnings_of(error: str) -> list[str]:
    """The warnings that a strictness error becomes: YAML tells all duplicate keys in one error."""
    if not error.startswith(DUPLICATE_KEYS):
        return [error]
    return [line.strip() for line in error.removeprefix(DUPLICATE_KEYS).split("\n")]
