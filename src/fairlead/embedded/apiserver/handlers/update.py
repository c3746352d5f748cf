"""PUT to an object or its status."""

from __future__ import annotations

from aiohttp import web

from fairlead.embedded.apiserver.body import body_media_type, decode, expected_of, parse_object, settle_strictness
from fairlead.embedded.apiserver.call import Call
from fairlead.embedded.apiserver.handlers.create import refuse_namespace
from fairlead.embedded.apiserver.handlers.presentation import respond_value
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import write_options
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.status import bad_request
from fairlead.kube.errors import NotFound


async def update(objects: Objects, call: Call) -> web.Response:
    """Replace an object, its status, or another subresource that is stored in it. Raises ApiError."""
    call.negotiate()
    body = await call.body()
    options = write_options(call.query, "UpdateOptions")
    type_ = call.type
    media_type = body_media_type(call.request.headers.get("Content-Type", ""), is_custom=type_.is_custom)
    obj, strict = parse_object(body, media_type, expected_of(type_), objects.catalog)
    strict += decode(obj, type_)
    call.warnings += settle_strictness(strict, options.field_validation, type_)
    refuse_namespace(obj, call)
    metadata = obj.setdefault("metadata", {})
    refuse_name(metadata, call.name)
    if type_.namespaced:
        metadata["namespace"] = call.namespace
    else:
        metadata.pop("namespace", None)
    write = Write(
        type_,
        call.namespace,
        call.name,
        manager=options.field_manager or call.manager,
        dry_run=options.dry_run,
        subresource=call.path.subresource,
        warnings=call.warnings,
    )
    try:
        written = await objects.update(write, lambda current: obj, uid=metadata.get("uid", ""))
    except NotFound as error:
        if not type_.allow_create_on_update or write.subresource or error.details.get("kind") != type_.resource:
            raise
        if metadata.get("uid"):
            raise objects.uid_mismatch(write, metadata["uid"], "") from error
        written = await objects.create(write, obj, by_update=True)
    return respond_value(call, written.value, objects.clock, status=201 if written.created else 200)


def refuse_name(metadata: Object, name: str) -> None:
    """The body's name has to be the path's. Raises BadRequest."""
    given = metadata.get("name")
    if not given:
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
