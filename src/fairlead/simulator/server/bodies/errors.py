"""Answers that say no, in vLLM's form: `{"error": {"message", "type", "param", "code"}}`.

Protocol: vLLM 0.32, `entrypoints/serve/exception_handling`.
"""

from __future__ import annotations

from typing import Any

import msgspec

_BAD_REQUEST = "BadRequestError"


class ApiError(Exception):
    """A request that gets no answer: HTTP status, and what goes into the error body."""

    def __init__(self, status: int, message: str, *, type: str = _BAD_REQUEST, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param

    def content(self) -> dict[str, Any]:
        """The body as an object."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.status}
        return {"error": error}

    def body(self) -> bytes:
        return msgspec.json.encode(self.content())


def invalid(message: str, *, parameter: str | None = None, value: object = None) -> ApiError:
    """What vLLM calls a validation error: 400, with parameter and value at the end of the message."""
    details = [
        f"{name}={detail}" for name, detail in (("parameter", parameter), ("value", value)) if detail is not None
    ]
    suffix = f" ({', '.join(details)})" if details else ""
    return ApiError(400, message + suffix, param=parameter)


def no_such_model(model: str, served: tuple[str, ...]) -> ApiError:
    return ApiError(
        404,
        f"The model `{model}` does not exist. Valid aliases: {', '.join(served)}.",
        type="NotFoundError",
        param="model",
    )


def unavailable(message: str) -> ApiError:
    return ApiError(503, message, type="ServiceUnavailableError")
