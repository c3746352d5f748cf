"""Fields of a body set and its model renamed, while every byte that is not concerned stays as it was.

Strict JSON and, of keys that occur twice, the last one: what every engine's reader takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import msgspec
from msgspec import Raw

from fairlead.gateway.requests.form import form_field
from fairlead.gateway.requests.parse import BYTE_ORDER_MARK, HANDOFF_FIELDS, BadBody
from fairlead.gateway.requests.spans import offset_in, with_key


def rewrite_model(body: bytes, old: str, new: str) -> bytes:
    """The body with `new` as its model, in JSON or in a multipart form; unchanged where its model is not `old`.

    Raises BadBody for what is neither.
    """
    if body[:2] == b"--":
        value = form_field(body, b"model")
        if value is None:
            raise BadBody("The request is no multipart/form-data with a field `model`.", "model")
        start, end, text = value
        return body[:start] + new.encode() + body[end:] if text == old.encode() else body
    raw = top_level(body).get("model")
    if raw is None or msgspec.json.decode(raw) != old:
        return body
    start, end = _span(raw, body)
    return b"".join((body[:start], msgspec.json.encode(new), body[end:]))


def set_fields(body: bytes, fields: Mapping[str, Any], without: Sequence[str] = ()) -> bytes:
    """The JSON object with these top-level fields, and without those. Raises BadBody for what is no object.

    Values are anything that JSON has, or `msgspec.Raw`; names in `without` have no quotation mark. Large values of
    other fields are copied, not read anew.
    """
    for name in without:
        body = _without(body, name)
    present = top_level(body)
    splices: list[tuple[int, int, bytes]] = []
    added: list[bytes] = []
    for name, field in fields.items():
        value = msgspec.json.encode(field)
        if (raw := present.get(name)) is not None:
            splices.append((*_span(raw, body), value))
        else:
            added.append(msgspec.json.encode(name) + b":" + value)
    if added:
        closing = body.rindex(b"}")
        splices.append((closing, closing, (b"," if present else b"") + b",".join(added)))
    splices.sort()
    pieces: list[bytes] = []
    at = 0
    for start, end, value in splices:
        pieces += (body[at:start], value)
        at = end
    pieces.append(body[at:])
    return b"".join(pieces)


def without_places(body: bytes) -> bytes:
    """The JSON object without places of KV caches that a client names. Raises BadBody for what is no object.

    vLLM takes such fields also among the extra arguments of its sampling parameters.
    """
    body = set_fields(body, {}, HANDOFF_FIELDS)
    fields = top_level(body)
    changed: dict[str, Any] = {}
    if _is_object(extra := fields.get("vllm_xargs")):
        changed["vllm_xargs"] = Raw(set_fields(bytes(extra), {}, HANDOFF_FIELDS))
    if _is_object(sampling := fields.get("sampling_params")):
        text = bytes(sampling)
        if _is_object(extra := top_level(text).get("extra_args")):
            cleaned = Raw(set_fields(bytes(extra), {}, HANDOFF_FIELDS))
            changed["sampling_params"] = Raw(set_fields(text, {"extra_args": cleaned}))
    return set_fields(body, changed) if changed else body


def _is_object(raw: Raw | None) -> TypeGuard[Raw]:
    return raw is not None and bytes(memoryview(raw)[:1]) == b"{"


def top_level(body: bytes) -> dict[str, Raw]:
    """The object's fields with their values as they stand in it. Raises BadBody for what is no object."""
    try:
        return _object.decode(_text(body))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadBody(f"The request body is no JSON object: {error}.") from error


_object = msgspec.json.Decoder(dict[str, Raw])


def _without(body: bytes, name: str) -> bytes:
    # A key that occurs twice has to go twice.
    while (raw := top_level(body).get(name)) is not None:
        start, end = with_key(body, *_span(raw, body))
        body = body[:start] + body[end:]
    return body


def _span(raw: Raw, body: bytes) -> tuple[int, int]:
    start = offset_in(raw, body)
    return start, start + len(memoryview(raw))


def _text(body: bytes) -> bytes | memoryview:
    return memoryview(body)[3:] if body[:3] == BYTE_ORDER_MARK else body
