"""The two forms in which the API server answers a patch that cannot be applied and carries no field errors."""

from __future__ import annotations

from fairlead.kube.errors import ApiError, Invalid


def rejected() -> Invalid:
    """A well-formed patch that does not fit the object: 422, with a fixed message and empty details."""
    message = "the server rejected our request due to an error in our request"
    return Invalid(message, status=_status(message, code=422, reason="Invalid", details={}))


def unclassified(message: str) -> ApiError:
    """An error that the API server passes on as it is: 500 with no reason and no details."""
    return ApiError(message, status=_status(message, code=500))


def _status(message: str, *, code: int, **extra: object) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        **extra,
        "code": code,
    }
