"""The JSON body of a request, or vLLM's complaint about it.

Reference: vLLM 0.32, `entrypoints/serve/utils/api_utils.py::validate_json_request` and FastAPI's own reading.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from aiohttp import web

from fairlead.simulator.server.bodies.errors import ApiError
from fairlead.simulator.server.bodies.fields import Complaints

JSON = "application/json"

_MEDIA_TYPE = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"


async def json_body(http: web.Request) -> Any:
    """The decoded body. Raises ApiError."""
    given = http.headers.get("Content-Type", "").split(";", 1)[0].strip().lower()
    raw = await http.read()
    if given != JSON:
        raise ApiError(400, _MEDIA_TYPE, type="Bad Request")
    if not raw:
        complaints = Complaints()
        complaints.add("missing", "body", "Field required", None)
        raise complaints.error()
    body = _decoded(raw)
    if body is None:
        complaints = Complaints()
        complaints.add("missing", "body", "Field required", None)
        raise complaints.error()
    return body


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Python's own reader is the one that vLLM has: it takes NaN, and its complaints say where.
        return _read(raw)


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        complaints = Complaints()
        complaints.add("json_invalid", f"body.{error.pos}", "JSON decode error", {}, error=error.msg)
        raise complaints.error() from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise web.HTTPBadRequest(reason="There was an error parsing the body") from error


def json_response(content: Any, status: int = 200) -> web.Response:
    try:
        body = msgspec.json.encode(content)
    except UnicodeEncodeError:
        body = json.dumps(content).encode()  # with lone surrogates as they were sent, escaped
    return web.Response(status=status, body=body, content_type=JSON)
