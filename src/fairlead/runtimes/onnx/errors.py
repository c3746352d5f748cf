"""What a request may be refused with, the same for REST and gRPC."""

from __future__ import annotations


class InferenceError(Exception):
    """A refusal. `status` is the HTTP status; gRPC has its own code for each (see `grpc_service`)."""

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s


def invalid(message: str) -> InferenceError:
    """The request does not fit the protocol or the model."""
    return InferenceError(400, message)


def unknown(message: str) -> InferenceError:
    """No such model or version."""
    return InferenceError(404, message)


def too_large(limit_bytes: int) -> InferenceError:
    return InferenceError(413, f"the request body exceeds {limit_bytes} bytes")


def queue_full(model: str, limit: int) -> InferenceError:
    """429 and not 503: the server is well, there is only more to do than it can hold."""
    return InferenceError(429, f"the queue of model '{model}' is full: {limit} requests wait; try again", 1)


def not_ready(message: str) -> InferenceError:
    return InferenceError(503, message, 1)


def timed_out(model: str, timeout_s: float) -> InferenceError:
    return InferenceError(504, f"model '{model}' did not answer within the request's timeout of {timeout_s:g} s")


def shortened(text: str, length: int = 200) -> str:
    """What a client sent, for a message: never the megabytes that it may have been."""
    return text if len(text) <= length else text[:length] + "…"
