"""Answers that the gateway gives itself.

Errors are made in OpenAI's form, and `shaped` turns them into the form of the protocol that was asked: Anthropic's or
the Open Inference Protocol's. Sources: OpenAI and Anthropic API references, "Errors"; Open Inference Protocol, v2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from fairlead.gateway.protocol import DROP_REASON_HEADER

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the gateway itself. `reason` is machine-readable and labels metrics and the access log."""

    status: int
    body: bytes
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Shape(StrEnum):
    """Whose form an error has."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    OPEN_INFERENCE = "open-inference"


_ANTHROPIC_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    412: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def shape_of(path: str) -> Shape:
    """The form of errors on a path without query."""
    if path.startswith("/v1/messages"):
        return Shape.ANTHROPIC
    if path.startswith(("/v2/models", "/v2/health")) or path == "/v2":
        return Shape.OPEN_INFERENCE
    if path.startswith("/v1/models/") and path.endswith((":predict", ":explain")):
        return Shape.OPEN_INFERENCE
    return Shape.OPENAI


def shaped(reply: Reply, shape: Shape) -> Reply:
    """An error of this module in that form; answers that are no errors stay as they are."""
    if shape is Shape.OPENAI or reply.status < 400:
        return reply
    message = msgspec.json.decode(reply.body)["error"]["message"]
    body: dict[str, object] = {"error": message}
    if shape is Shape.ANTHROPIC:
        default = "invalid_request_error" if reply.status < 500 else "api_error"
        kind = _ANTHROPIC_TYPES.get(reply.status, default)
        body = {"type": "error", "error": {"type": kind, "message": message}}
    return Reply(reply.status, msgspec.json.encode(body), reply.reason, reply.headers)


def in_v2_form(reply: Reply) -> Reply:
    """An error as the Open Inference Protocol has it."""
    return shaped(reply, Shape.OPEN_INFERENCE)


def error_body(message: str, type: str, code: str, param: str | None = None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": type, "param": param, "code": code}})


def bad_request(message: str, param: str | None = None) -> Reply:
    return _error(400, message, "invalid_request_error", "invalid_request", param)


def model_needed(served: int) -> Reply:
    """The body may leave the model out, but then there must be one pool alone to send it to."""
    return bad_request(
        f"The request names no model and {served} model name(s) are served: add `model`; GET /v1/models lists them.",
        "model",
    )


def unknown_model(model: str, served: int) -> Reply:
    names = f"{served} model name(s) are served; GET /v1/models lists them" if served else "no model is served"
    return _error(
        404,
        f"The model `{_short(model)}` does not exist: {names}.",
        "invalid_request_error",
        "model_not_found",
        "model",
    )


def unknown_path(method: str, path: str) -> Reply:
    return _error(404, f"Unknown request URL: {method} {_short(path)}.", "invalid_request_error", "unknown_url")


def method_not_allowed(method: str, path: str, allowed: str) -> Reply:
    return _error(
        405, f"{_short(path)} takes {allowed}, not {method}.", "invalid_request_error", "method_not_allowed",
        headers={"allow": allowed},
    )  # fmt: skip


def not_in_cache(model: str) -> Reply:
    """`Prefer: if-available` was asked, and no endpoint has any of the prompt in its cache."""
    return _error(
        412,
        f"No endpoint of `{_short(model)}` has the beginning of the prompt in its cache, as `Prefer: if-available` "
        "asks for. Send the request without that header to have it computed.",
        "invalid_request_error",
        "precondition_failed",
    )


def too_large(limit_bytes: int) -> Reply:
    return _error(413, f"The request body exceeds {limit_bytes} bytes.", "invalid_request_error", "request_too_large")


def dropped(reason: str, message: str, retry_after_s: float, status: int = 429) -> Reply:
    """A request that flow control did not let through, or took back; `reason` as the dropped-reason header has it."""
    return _error(
        status, message, "rate_limit_error" if status == 429 else "service_unavailable_error", reason.replace("-", "_"),
        headers={"retry-after": _seconds(retry_after_s), DROP_REASON_HEADER: reason},
    )  # fmt: skip


def unavailable(message: str, code: str, retry_after_s: float, drop_reason: str = "") -> Reply:
    headers = {"retry-after": _seconds(retry_after_s)}
    if drop_reason:
        headers[DROP_REASON_HEADER] = drop_reason
    return _error(503, message, "service_unavailable_error", code, headers=headers)


def no_endpoints(message: str, retry_after_s: float, code: str = "no_ready_endpoints") -> Reply:
    return unavailable(message, code, retry_after_s, "rejected-no-endpoints")


def internal(message: str = "The gateway failed at this request; its log says more.") -> Reply:
    return _error(500, message, "server_error", "internal_error")


def timed_out(message: str) -> Reply:
    return _error(504, message, "server_error", "timeout")


def answer(body: Any, reason: str) -> Reply:
    return Reply(200, msgspec.json.encode(body), reason)


def _seconds(retry_after_s: float) -> str:
    """RFC 9110: whole seconds; never 0, which clients take for "at once"."""
    return str(max(1, math.ceil(retry_after_s)))


def _short(text: str, length: int = 256) -> str:
    """What a client sent, for a message: never the megabytes that it may have been."""
    return text if len(text) <= length else text[:length] + "…"


def _error(
    status: int, message: str, type: str, code: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    return Reply(status, error_body(message, type, code, param), code, headers or {})
