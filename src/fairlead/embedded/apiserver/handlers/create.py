"""POST to a collection."""

from __future__ import annotations

from aiohttp import web

from fairlead.embedded.apiserver.body import body_media_type, decode, expected_of, parse_object, settle_strictness
from fairlead.embedded.apiserver.call import Call
from fairlead.embedded.apiserver.handlers.presentation import respond_value
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import write_options
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.status import bad_request


async def create(objects: Objects, call: Call) -> web.Response:
    """Create an object. Raises ApiError."""
    call.negotiate()
    body = await call.body()
    options = write_options(call.query, "CreateOptions")
    type_ = call.type
    media_type = body_media_type(call.request.headers.get("Content-Type", ""), is_custom=type_.is_custom)
    expected = expected_of(type_)
    obj, strict = parse_object(body, media_type, expected, objects.catalog)
    strict += decode(obj, type_)
    call.warnings += settle_strictness(strict, options.field_validation, type_)
    refuse_namespace(obj, call)
    write = Write(
        type_,
        call.namespace,
        manager=options.field_manager or call.manager,
        dry_run=options.dry_run,
        warnings=call.warnings,
    )
    written = await objects.create(write, obj)
    return respond_value(call, written.value, objects.clock, status=201)


def refuse_namespace(obj: Object, call: Call) -> None:
    """The body's namespace has to be the path's. Raises BadRequest."""
    if not call.type.namespaced:
        return
    namespace = (obj.get("metadata") or {}).get("namespace")
    if namespace and namespace != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
