"""Objects in the form a client asked for: as they are, as a Table, or only their metadata."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from fairlead.clock import Clock
from fairlead.embedded.apiserver.call import Call, respond, respond_object
from fairlead.embedded.apiserver.codec import decode_value, sent_bytes
from fairlead.embedded.apiserver.printing.table import table
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.status import bad_request
from fairlead.kube.errors import NotAcceptable


def respond_value(call: Call, value: bytes, clock: Clock, *, status: int = 200) -> web.Response:
    """Answer with one stored object."""
    if not call.form.transform:
        body = sent_bytes(call.type, call.head, value)
        return respond(body, status=status, media_type=call.form.media_type, warnings=call.warnings)
    return respond_one(call, decode_value(call.type, value), clock, status=status)


def respond_one(call: Call, obj: Object, clock: Clock, *, status: int = 200) -> web.Response:
    """Answer with one decoded object."""
    transform = call.form.transform
    if transform == "Table":
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return respond_object(as_table(call, call.type, [obj], metadata, clock), status=status, call=call)
    if transform == "PartialObjectMetadata":
        return respond_object(partial(obj, call.form.version), status=status, call=call)
    if transform == "PartialObjectMetadataList":
        raise NotAcceptable(f"you requested {transform}, but the requested object is not a list ({go_type(call.type)})")
    return respond_object(obj, status=status, call=call)


def as_table(call: Call, type_: ResourceType, objects: Sequence[Object], metadata: Object, clock: Clock) -> Object:
    """The meta.k8s.io Table of objects; the `includeObject` parameter says what its rows carry. Raises BadRequest."""
    include = call.query.get("includeObject", "") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise bad_request(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        )
    made = table(type_, objects, now=clock.wall_s(), include_object=include, list_metadata=metadata)
    if call.form.version == "v1beta1":
        made["apiVersion"] = "meta.k8s.io/v1beta1"
        for row in made["rows"]:
            if isinstance(row.get("object"), dict) and row["object"].get("kind") == "PartialObjectMetadata":
                row["object"]["apiVersion"] = "meta.k8s.io/v1beta1"
    return made


def partial(obj: Object, version: str) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}


def go_type(type_: ResourceType, suffix: str = "") -> str:
    """The API server's own name of what it holds an object (or with "List" a list of them) in."""
    if type_.is_custom:
        return f"*unstructured.Unstructured{suffix}"
    group = (type_.storage_resource or (type_.group,))[0]
    return f"*{group.partition('.')[0] or 'core'}.{type_.kind}{suffix}"
