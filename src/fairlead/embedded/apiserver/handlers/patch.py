"""PATCH to an object or its status: JSON patch, merge patch, strategic merge patch and server-side apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from fairlead.clock import format_time
from fairlead.embedded.apiserver import ownership
from fairlead.embedded.apiserver.body import decode, warnings_of
from fairlead.embedded.apiserver.call import Call
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.handlers.create import refuse_namespace
from fairlead.embedded.apiserver.handlers.patched import quotable, reason_of, refused, strictness_reason, type_patched
from fairlead.embedded.apiserver.handlers.presentation import respond_value
from fairlead.embedded.apiserver.objects import Objects, Write, Written
from fairlead.embedded.apiserver.options import WriteOptions, write_options
from fairlead.embedded.apiserver.ownership.managed import FieldPaths
from fairlead.embedded.apiserver.patches import apply_json_patch, apply_merge_patch, apply_strategic_patch
from fairlead.embedded.apiserver.patches.json_value import go_print
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.schema.decode import decode_object, parse_body
from fairlead.embedded.apiserver.schema.defaulting import apply_defaults
from fairlead.embedded.apiserver.schema.json_syntax import operation_problems, syntax_error
from fairlead.embedded.apiserver.status import bad_request, conflict
from fairlead.kube.errors import BadRequest, NotFound, UnsupportedMediaType

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


async def patch(objects: Objects, call: Call) -> web.Response:
    """Patch an object, its status, or another subresource that is stored in it. Raises ApiError."""
    media_type = patch_media_type(call)
    call.negotiate()
    body = await call.body()
    options = write_options(call.query, "PatchOptions", is_apply=media_type == APPLY_PATCH)
    write = Write(
        call.type,
        call.namespace,
        call.name,
        manager=options.field_manager or call.manager,
        dry_run=options.dry_run,
        subresource=call.path.subresource,
        warnings=call.warnings,
    )
    if media_type == APPLY_PATCH:
        written = await _apply(objects, call, write, options, body)
    else:
        change = patch_change(call, media_type, body, options, objects.catalog)
        written = await objects.update(write, change, is_patch=True)
    return respond_value(call, written.value, objects.clock, status=201 if written.created else 200)


def patch_media_type(call: Call) -> str:
    """The kind of patch. Raises UnsupportedMediaType."""
    media_type = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    accepted = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH]
    if call.type.is_custom:
        accepted.remove(STRATEGIC_PATCH)
    if media_type not in accepted:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
        )
    return media_type


def patch_change(
    call: Call, media_type: str, body: bytes, options: WriteOptions, catalog: Catalog
) -> Callable[[Object], Object]:
    """What a patch makes of the current object: patched, type-checked and defaulted."""
    document, duplicates = parse_patch(body, media_type)

    def change(current: Object) -> Object:
        patched = apply_patch(current, document, media_type, call)
        try:
            unknown = type_patched(patched, call.type, catalog)
        except BadRequest as error:
            reason = reason_of(error, call.type)
        else:
            reason = ""
            if options.field_validation == "Strict" and (unknown or duplicates):
                reason = strictness_reason(duplicates + unknown)
        if reason:
            raise refused(quoted_patch(current, document, media_type, call), reason)
        if options.field_validation == "Warn":
            call.warnings.extend(duplicates + unknown)
        _refuse_other(patched, call)
        return patched

    return change


def quoted_patch(current: Object, document: Any, media_type: str, call: Call) -> Object | str:
    """What an error quotes: the patched document, but the patch itself where it is a strategic one."""
    if media_type == STRATEGIC_PATCH:
        return go_print(document)
    return apply_patch(quotable(current, call.type), document, media_type, call)


def parse_patch(body: bytes, media_type: str = "") -> tuple[Any, list[str]]:
    """A patch document of any JSON kind and what strictness refuses in it. Raises BadRequest."""
    try:
        return msgspec.json.decode(body), _problems(body)
    except msgspec.DecodeError as error:
        prefix = "" if media_type == STRATEGIC_PATCH else "error decoding patch: "
        raise bad_request(f"{prefix}{syntax_error(body) or error}") from error


def _problems(body: bytes) -> list[str]:
    if body.lstrip()[:1] == b"[":
        return operation_problems(body)
    if body.lstrip()[:1] != b"{":
        return []
    try:
        return parse_body(body, "application/json")[1]
    except BadRequest:
        return []


def apply_patch(current: Object, document: Any, media_type: str, call: Call) -> Object:
    """The patched object. Raises ApiError."""
    if media_type == JSON_PATCH:
        patched = apply_json_patch(current, document)
    elif media_type == MERGE_PATCH:
        patched = apply_merge_patch(current, document)
    else:
        patched = apply_strategic_patch(current, document, call.type.schema)
    if not isinstance(patched, dict):
        raise bad_request("the patched document is not an object")
    return patched


def _refuse_other(patched: Object, call: Call) -> None:
    """A patch may not make another object of it. Raises BadRequest."""
    metadata = patched.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata is not an object")
    refuse_namespace(patched, call)
    if metadata.get("name") != call.name:
        raise bad_request(
            f"the name of the object ({metadata.get('name', '')}) does not match the name on the URL ({call.name})"
            if metadata.get("name")
            else f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
        )


def applied_change(
    call: Call, body: bytes, options: WriteOptions, objects: Objects, subresource: str
) -> Callable[[Object | None], Object]:
    """What server-side apply makes of the current object, or of nothing. Raises BadRequest for a malformed body."""
    type_ = call.type
    applied, strict = parse_applied(body)
    reset_fields, only_fields = _owned_scope(type_, subresource)
    versions = objects.catalog.schemas_of(type_)

    def merge(live: Object | None) -> Object:
        _refuse_other_type(applied, type_)
        merged = ownership.apply(
            live,
            applied,
            type_.schema,
            manager=options.field_manager,
            force=bool(options.force),
            api_version=type_.api_version,
            subresource=subresource,
            now=format_time(objects.clock.wall_s()),
            reset_fields=reset_fields,
            only_fields=only_fields,
            versions=versions,
        )
        _type_merged(merged, type_)
        _refuse_other(merged, call)
        _settle_applied_strictness(strict, options.field_validation, call)
        if live is not None:
            ownership.keep_times_if_unchanged(merged, live)
        return merged

    return merge


async def _apply(objects: Objects, call: Call, write: Write, options: WriteOptions, body: bytes) -> Written:
    """Server-side apply: create where there is nothing, merge otherwise."""
    type_ = call.type
    merge = applied_change(call, body, options, objects, write.subresource)
    try:
        return await objects.update(write, merge, records_ownership=False, is_patch=True)
    except NotFound as error:
        if write.subresource or error.details.get("kind") != type_.resource:
            raise
        created = merge(None)
        if created["metadata"].get("uid"):
            reason = f"uid mismatch: the provided object specified uid {created['metadata']['uid']}, and no existing "
            raise conflict(type_.group, type_.resource, call.name, reason + "object was found") from error
        return await objects.create(write, created, records_ownership=False, by_update=True)


def parse_applied(body: bytes) -> tuple[Object, list[str]]:
    """An applied configuration as it came, and its duplicate keys. Raises BadRequest."""
    try:
        return parse_body(body, "application/yaml")
    except BadRequest as error:
        reason = error.message
        if reason.startswith("yaml: "):
            reason = f"error converting YAML to JSON: {reason}"
        else:
            found = reason.partition(" into ")[0]
            reason = (
                f"error unmarshaling JSON: while decoding JSON: {found} into Go value of type map[string]interface {{}}"
            )
        raise bad_request(f"error decoding patch: {reason}") from error


def _refuse_other_type(applied: Object, type_: ResourceType) -> None:
    """A configuration has to say what it is. Raises BadRequest."""
    api_version, kind = str(applied.get("apiVersion") or ""), applied.get("kind") or ""
    if (api_version, kind) != (type_.api_version, type_.kind):
        group, _, version = api_version.rpartition("/")
        raise bad_request(f"invalid object type: {group}/{version}, Kind={kind}")


def _settle_applied_strictness(problems: list[str], field_validation: str, call: Call) -> None:
    """Tell duplicate keys of a configuration. Raises BadRequest where validation is strict."""
    if problems and field_validation == "Strict":
        reason = ", ".join(problems)
        raise bad_request(f"error strict decoding patch: error converting YAML to JSON: {reason}")
    if problems and field_validation == "Warn":
        call.warnings += [warning for problem in problems for warning in warnings_of(problem)]


def _type_merged(merged: Object, type_: ResourceType) -> None:
    """Type-check and default what an apply made. Raises BadRequest.

    The configuration of a custom resource fits its schema already, and unlike in a body, nulls in it are values that
    validation sees.
    """
    if not type_.is_custom:
        decode(merged, type_)
        return
    decode_object(merged["metadata"], type_.schema.properties["metadata"])
    apply_defaults(merged, type_.schema)
    type_.strategy.default(merged)


def _owned_scope(type_: ResourceType, subresource: str) -> tuple[FieldPaths, FieldPaths]:
    """What an apply may not own, since the resource or subresource resets it, and what alone it may (if not empty)."""
    if subresource in ("", "scale"):
        return type_.reset_fields, ()
    return ((), (("status",),)) if type_.is_custom else ((("spec",),), ())
