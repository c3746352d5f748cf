"""The errors that request handlers raise, with the API server's wording and details.

Forms follow `k8s.io/apimachinery/pkg/api/errors`: `details.kind` is the resource for most errors and the kind for
invalid objects; unset fields are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.kube.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Timeout,
)

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def not_found(type_: ResourceType, name: str) -> NotFound:
    return NotFound(f'{type_.qualified} "{name}" not found', name=name, group=type_.group, kind=type_.resource)


def already_exists(type_: ResourceType, name: str) -> AlreadyExists:
    return AlreadyExists(
        f'{type_.qualified} "{name}" already exists', name=name, group=type_.group, kind=type_.resource
    )


def conflict(group: str, resource: str, name: str, reason: str) -> Conflict:
    """A failed precondition; `resource` is the kind where the API server says the kind."""
    qualified = f"{resource}.{group}" if group else resource
    return Conflict(
        f'Operation cannot be fulfilled on {qualified} "{name}": {reason}', name=name, group=group, kind=resource
    )


def modified(type_: ResourceType, name: str) -> Conflict:
    return conflict(type_.group, type_.resource, name, MODIFIED)


def forbidden(type_: ResourceType, name: str, reason: str, causes: Sequence[dict[str, str]] = ()) -> Forbidden:
    return Forbidden(
        f'{type_.qualified} "{name}" is forbidden: {reason}',
        name=name,
        group=type_.group,
        kind=type_.resource,
        causes=list(causes),
    )


def invalid_object(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Invalid:
    """422 with one cause for each error; the message names each distinct one once."""
    messages = list(dict.fromkeys(f"{error.field}: {error.message}" for error in errors))
    text = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    qualified = f"{kind}.{group}" if group else kind
    causes = [{"reason": e.reason, "message": e.message, "field": e.field} for e in errors]
    return Invalid(f'{qualified} "{name}" is invalid: {text}', name=name, group=group, kind=kind, causes=causes)


def invalid_options(kind: str, errors: Sequence[FieldError]) -> Invalid:
    """422 for query parameters and DeleteOptions."""
    return invalid_object("meta.k8s.io", kind, "", errors)


def plain_internal(message: str) -> ApiError:
    """500 without a reason: how errors that no code expected reach clients."""
    return InternalError(message, status=_status(500, message))


def _status(code: int, message: str, reason: str = "", details: dict[str, Any] | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message
    }  # fmt: skip
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = details
    status["code"] = code
    return status


def unknown_path() -> NotFound:
    """A path below a served group version that names nothing."""
    text = "the server could not find the requested resource"
    return NotFound(text, status=_status(404, text, "NotFound", {}))


def method_not_allowed() -> MethodNotAllowed:
    text = "the server does not allow this method on the requested resource"
    return MethodNotAllowed(text, status=_status(405, text, "MethodNotAllowed", {}))


def too_large_version(asked: int, current: int) -> Timeout:
    return Timeout(
        f"Timeout: Too large resource version: {asked}, current: {current}",
        causes=[{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        retryAfterSeconds=1,
    )


def expired(message: str) -> Gone:
    return Gone(message)


def bad_request(message: str) -> BadRequest:
    return BadRequest(message)


def success(code: int = 0, **details: Any) -> dict[str, Any]:
    """A Status that reports success; `details` without empty values."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    shown = {key: value for key, value in details.items() if value}
    if shown:
        status["details"] = shown
    if code:
        status["code"] = code
    return status
