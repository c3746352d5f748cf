"""DELETE of an object and of a collection."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fairlead.embedded.apiserver.body import Expected, body_media_type, parse_document
from fairlead.embedded.apiserver.call import Call, respond_object
from fairlead.embedded.apiserver.handlers.lists import respond_list, select
from fairlead.embedded.apiserver.handlers.presentation import respond_one
from fairlead.embedded.apiserver.list_options import list_options
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import DeleteOptions, delete_options
from fairlead.embedded.apiserver.schema.builtin import schema_for
from fairlead.embedded.apiserver.schema.decode import decode_object
from fairlead.embedded.apiserver.selection import selection_of
from fairlead.embedded.apiserver.status import bad_request, success
from fairlead.kube.errors import BadRequest, NotFound

_SCHEME = "pkg/apis/meta/internalversion/scheme/register.go:27"


async def delete(objects: Objects, call: Call) -> web.Response:
    """Delete an object. Raises ApiError."""
    call.negotiate()
    options = delete_options(call.query, await body_of(call))
    _warn(call, options)
    write = Write(call.type, call.namespace, call.name, dry_run=options.dry_run)
    obj, gone = await objects.delete(write, options)
    status = 202 if not gone and options.orphan is False else 200
    if gone and not call.type.returns_deleted:
        details = {
            "name": call.name,
            "group": call.type.group,
            "kind": call.type.resource,
            "uid": obj["metadata"].get("uid"),
        }
        return respond_object(success(**details), status=status, call=call)
    return respond_one(call, obj, objects.clock, status=status)


async def delete_collection(objects: Objects, call: Call) -> web.StreamResponse:
    """Delete all selected objects; answers with the list of what was found. Raises ApiError."""
    call.negotiate()
    options = delete_options(call.query, await body_of(call))
    _warn(call, options)
    page = await select(objects, selection_of(call), list_options(call.query, watching=False))
    for name, namespace in page.names(call.type):
        write = Write(call.type, namespace, name, dry_run=options.dry_run)
        try:
            await objects.delete(write, _own(options))
        except NotFound:
            continue
    return await respond_list(objects, call, page)


def _warn(call: Call, options: DeleteOptions) -> None:
    warning = call.type.strategy.deletion_warning
    if warning and options.propagation is None and options.orphan is None:
        call.warnings.append(warning)


def _own(options: DeleteOptions) -> DeleteOptions:
    return DeleteOptions(
        dry_run=options.dry_run,
        grace_period_s=options.grace_period_s,
        uid=options.uid,
        version=options.version,
        propagation=options.propagation,
        orphan=options.orphan,
    )


async def body_of(call: Call) -> Any:
    """The DeleteOptions (of any group version) in a body as a mapping; None where there is none. Raises BadRequest."""
    body = await call.body()
    if not body:
        return None
    media_type = body_media_type(call.request.headers.get("Content-Type", ""))
    schema = schema_for("meta.k8s.io", "v1", "DeleteOptions")
    try:
        obj, _ = parse_document(body, media_type, Expected("meta.k8s.io", "v1", "DeleteOptions"))
    except BadRequest as error:
        raise bad_request(f"couldn't get version/kind; {error.message}") from error
    kind = obj.get("kind") or "DeleteOptions"
    if kind != "DeleteOptions":
        version = obj.get("apiVersion") or "meta.k8s.io/v1"
        raise bad_request(f'no kind "{kind}" is registered for version "{version}" in scheme "{_SCHEME}"')
    decode_object(obj, schema)
    return obj
