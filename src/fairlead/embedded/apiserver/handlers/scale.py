"""The `scale` subresource: an autoscaling/v1 Scale over the fields that a type's `ScaleMapping` names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from fairlead.clock import format_time
from fairlead.embedded.apiserver import ownership
from fairlead.embedded.apiserver.body import Expected, body_media_type, parse_object, settle_strictness
from fairlead.embedded.apiserver.call import Call
from fairlead.embedded.apiserver.codec import decode_value
from fairlead.embedded.apiserver.handlers.create import refuse_namespace
from fairlead.embedded.apiserver.handlers.patch import APPLY_PATCH, applied_change, patch_change, patch_media_type
from fairlead.embedded.apiserver.handlers.presentation import respond_one
from fairlead.embedded.apiserver.handlers.update import refuse_name
from fairlead.embedded.apiserver.invalid import invalid
from fairlead.embedded.apiserver.objects import Change, Objects, Write
from fairlead.embedded.apiserver.options import WriteOptions, write_options
from fairlead.embedded.apiserver.registry import Object, ResourceType, ScaleMapping
from fairlead.embedded.apiserver.schema.builtin import schema_for
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.status import bad_request, invalid_object
from fairlead.kube.errors import BadRequest
from fairlead.kube.selectors import from_label_selector, from_labels

SUBRESOURCE = "scale"
_EXPECTED = Expected("autoscaling", "v1", "Scale")


def scale_type(namespaced: bool = True) -> ResourceType:
    """Scale as a type, for decoding and printing."""
    return ResourceType(
        group="autoscaling",
        version="v1",
        resource="scales",
        kind="Scale",
        namespaced=namespaced,
        schema=schema_for("autoscaling", "v1", "Scale"),
    )


async def get_scale(objects: Objects, call: Call) -> web.Response:
    """The Scale of an object. Raises ApiError."""
    call.negotiate()
    record = objects.get(call.type, call.namespace, call.name)
    scale = scale_of(call.type, objects.read(call.type, record))
    return _respond(objects, call, scale)


async def update_scale(objects: Objects, call: Call) -> web.Response:
    """Replace the Scale. Raises ApiError."""
    call.negotiate()
    body = await call.body()
    options = write_options(call.query, "UpdateOptions")
    media_type = body_media_type(call.request.headers.get("Content-Type", ""))
    scale, strict = parse_object(body, media_type, _EXPECTED, objects.catalog)
    strict += _decode(scale)
    call.warnings += settle_strictness(strict, options.field_validation, scale_type())
    refuse_namespace(scale, call)
    refuse_name(scale.setdefault("metadata", {}), call.name)
    return await _change(objects, call, options, _tracked(lambda current: scale, objects, options, call))


async def patch_scale(objects: Objects, call: Call) -> web.Response:
    """Patch the Scale. Raises ApiError."""
    media_type = patch_media_type(call)
    call.negotiate()
    body = await call.body()
    options = write_options(call.query, "PatchOptions", is_apply=media_type == APPLY_PATCH)
    as_scale = replace(call, type=scale_type(call.type.namespaced))
    change: Change
    if media_type == APPLY_PATCH:
        change = applied_change(as_scale, body, options, objects, SUBRESOURCE)
    else:
        change = _tracked(patch_change(as_scale, media_type, body, options, objects.catalog), objects, options, call)
    return await _change(objects, call, options, change)


def _tracked(change: Change, objects: Objects, options: WriteOptions, call: Call) -> Change:
    """A change of a Scale that makes who asked for it the owner of what it changes."""

    def tracked(current: Object) -> Object:
        scale = change(current)
        ownership.record_update(
            scale,
            current,
            scale_type().schema,
            manager=options.field_manager or call.manager,
            api_version=ownership.SCALE_VERSION,
            subresource=SUBRESOURCE,
            now=format_time(objects.clock.wall_s()),
        )
        return scale

    return tracked


async def _change(objects: Objects, call: Call, options: WriteOptions, change: Change) -> web.Response:
    type_ = call.type
    mapping = type_.scale
    assert mapping is not None
    path = tuple(mapping.spec_replicas_path.strip(".").split("."))

    def with_replicas(current: Object) -> Object:
        entries = current["metadata"].get("managedFields") or []
        before = scale_of(type_, current)
        if entries:
            before["metadata"]["managedFields"] = ownership.entries_for_scale(entries, path)
        scale = change(before)
        replicas = (scale.get("spec") or {}).get("replicas", 0)
        if replicas < 0:
            error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
            raise invalid_object("autoscaling", "Scale", call.name, [error])
        changed = copy.deepcopy(current)
        _set(changed, mapping.spec_replicas_path, replicas)
        metadata = scale.get("metadata") or {}
        changed["metadata"]["resourceVersion"] = metadata.get("resourceVersion") or ""
        if metadata.get("uid"):
            changed["metadata"]["uid"] = metadata["uid"]
        tracked = metadata.get("managedFields") or []
        if entries or tracked:
            owners = ownership.entries_from_scale(entries, tracked, path, type_.api_version)
            changed["metadata"]["managedFields"] = owners
        return changed

    write = Write(
        type_,
        call.namespace,
        call.name,
        manager=options.field_manager or call.manager,
        dry_run=options.dry_run,
        subresource=SUBRESOURCE,
        warnings=call.warnings,
    )
    written = await objects.update(write, with_replicas, is_patch=True, records_ownership=False)
    return _respond(objects, call, scale_of(type_, decode_value(type_, written.value)))


def _respond(objects: Objects, call: Call, scale: Object) -> web.Response:
    call.type = scale_type(call.type.namespaced)
    return respond_one(call, scale, objects.clock)


def _decode(scale: Object) -> list[str]:
    try:
        unknown: list[str] = decode_object(scale, scale_type().schema)
    except BadRequest as error:
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {error.message}') from error
    return unknown


def scale_of(type_: ResourceType, obj: Object) -> Object:
    """The Scale that an object shows."""
    mapping = type_.scale
    assert mapping is not None
    source = obj["metadata"]
    metadata = {
        key: source[key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if source.get(key)
    }
    replicas = _at(obj, mapping.spec_replicas_path)
    status: Object = {"replicas": _at(obj, mapping.status_replicas_path) or 0}
    selector = _selector(obj, mapping)
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def _selector(obj: Object, mapping: ScaleMapping) -> str:
    if mapping.label_selector_path is None:
        return ""
    found = _at(obj, mapping.label_selector_path)
    if isinstance(found, str):
        return found
    if not isinstance(found, Mapping):
        return ""
    is_selector = "matchLabels" in found or "matchExpressions" in found
    return str(from_label_selector(found) if is_selector else from_labels(found))


def _at(obj: Object, path: str) -> Any:
    value: Any = obj
    for key in path.strip(".").split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _set(obj: Object, path: str, value: Any) -> None:
    *inner, last = path.strip(".").split(".")
    for key in inner:
        obj = obj.setdefault(key, {})
    obj[last] = value
