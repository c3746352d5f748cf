"""Errors of the Kubernetes API, shared by the client (which raises them) and the embedded server (which answers them).

ApiError                  any non-2xx answer; carries the API's Status
├── BadRequest 400        malformed request
├── Unauthorized 401
├── Forbidden 403
├── NotFound 404
├── MethodNotAllowed 405
├── NotAcceptable 406
├── AlreadyExists 409     reason AlreadyExists
├── Conflict 409          stale resourceVersion, or field-ownership conflicts in `causes`
├── Gone 410              reason Gone or Expired: list again
├── RequestEntityTooLarge 413
├── UnsupportedMediaType 415
├── Invalid 422           `causes` name each field
├── TooManyRequests 429   `retry_after_s`
├── InternalError 500
├── ServiceUnavailable 503
└── Timeout 504
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ApiError(Exception):
    """An error answer of a Kubernetes API.

    `status` is the `meta/v1` Status as a mapping: code, reason, message, details (with causes). The Status is the
    truth; the properties read it.
    """

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, *, status: Mapping[str, Any] | None = None, **details: Any) -> None:
        super().__init__(message)
        if status is None:
            shown = {k: v for k, v in details.items() if v not in (None, "", (), [])}
            status = {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": message,
                "reason": self.reason,
                **({"details": shown} if shown else {}),
                "code": self.code,
            }
        self.status: dict[str, Any] = dict(status)

    @property
    def http_code(self) -> int:
        return int(self.status.get("code") or self.code)

    @property
    def message(self) -> str:
        return str(self.status.get("message", ""))

    @property
    def details(self) -> dict[str, Any]:
        return dict(self.status.get("details") or {})

    @property
    def causes(self) -> Sequence[Mapping[str, str]]:
        """Each with `reason`, `message` and, for field errors, `field`."""
        return list(self.details.get("causes") or ())

    @property
    def retry_after_s(self) -> float | None:
        seconds = self.details.get("retryAfterSeconds")
        return None if seconds is None else float(seconds)


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Gone(ApiError):
    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


_BY_REASON: Mapping[str, type[ApiError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, Conflict, AlreadyExists, Gone,
        RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServiceUnavailable,
        Timeout,
    )
} | {"Gone": Gone}  # fmt: skip
_BY_CODE: Mapping[int, type[ApiError]] = {
    cls.code: cls for cls in reversed(list(_BY_REASON.values())) if cls is not AlreadyExists
}


def from_status(status: Mapping[str, Any]) -> ApiError:
    """The typed error of a Status, by reason first and by code where the reason is unknown."""
    cls = _BY_REASON.get(str(status.get("reason", ""))) or _BY_CODE.get(int(status.get("code") or 500), ApiError)
    return cls(str(status.get("message", "")), status=status)
