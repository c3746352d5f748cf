"""Answers that the gateway gives itself, errors in the form of the protocol that was asked: OpenAI's API or the
Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the gateway itself. `reason` is machine-readable and labels metrics and the access log."""

    status: int
    body: bytes
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)


def error_body(message: str, type: str, code: str, param: str | None = None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": type, "param": param, "code": code}})


def bad_request(message: str, param: str | None = None) -> Reply:
    return _error(400, message, "invalid_request_error", "invalid_request", param)


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
    reply = _error(405, f"{path} takes {allowed}, not {method}.", "invalid_request_error", "method_not_allowed")
    return Reply(reply.status, reply.body, reply.reason, {"allow": allowed})


def too_large(limit_bytes: int) -> Reply:
    return _error(413, f"The request body exceeds {limit_bytes} bytes.", "invalid_request_error", "request_too_large")


def unavailable(message: str, code: str, retry_after_s: int) -> Reply:
    reply = _error(503, message, "service_unavailable_error", code)
    return Reply(reply.status, reply.body, reply.reason, {"retry-after": str(retry_after_s)})


def in_v2_form(reply: Reply) -> Reply:
    """An error as the Open Inference Protocol has it: `{"error": message}`."""
    message = msgspec.json.decode(reply.body)["error"]["message"]
    return Reply(reply.status, msgspec.json.encode({"error": message}), reply.reason, reply.headers)


def answer(body: Any, reason: str) -> Reply:
    return Reply(200, msgspec.json.encode(body), reason)


def _short(text: str, length: int = 256) -> str:
    """What a client sent, for a message: never the megabytes that it may have been."""
    return text if len(text) <= length else text[:length] + "…"


def _error(status: int, message: str, type: str, code: str, param: str | None = None) -> Reply:
    return Reply(status, error_body(message, type, code, param), code)
