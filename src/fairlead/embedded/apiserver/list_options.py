"""Options of lists and watches: versions, limits, continue tokens. Rules and wording follow
`k8s.io/apimachinery/pkg/apis/meta/internalversion/validation` and `k8s.io/apiserver/pkg/storage`."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.embedded.apiserver.invalid import FieldError, forbidden
from fairlead.embedded.apiserver.options import Query, not_supported_in_order, parse_flag, parse_int
from fairlead.embedded.apiserver.status import bad_request, invalid_options

EXACT, NOT_OLDER = "Exact", "NotOlderThan"
INCONSISTENT = -1
"""Version in a continue token that gives up consistency: go on with the present."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """`version` is None where unset; `after` is the key that a continue token resumes behind."""

    version: int | None = None
    match: str = ""
    limit: int = 0
    after: str = ""
    is_continued: bool = False
    timeout_s: int | None = None
    bookmarks: bool = False
    send_initial_events: bool | None = None


def list_options(query: Query, *, watching: bool) -> ListOptions:
    """Parse and check. Raises BadRequest, Invalid."""
    if not query:
        return ListOptions()
    timeout = query.get("timeoutSeconds", "")
    timeout_s = parse_int(timeout) if timeout else None
    limit = query.get("limit", "")
    limit_count = parse_int(limit) if limit else 0
    match = query.get("resourceVersionMatch", "")
    token = query.get("continue", "")
    version = query.get("resourceVersion", "")
    initial = parse_flag(query, "sendInitialEvents")
    errors = _watch_errors(match, token, initial) if watching else _list_errors(match, token, version, initial)
    if errors:
        raise invalid_options("ListOptions", errors)
    number = parse_version(version) if version else None
    after = ""
    if token and not watching:
        if number not in (None, 0):
            raise bad_request("specifying resource version is not allowed when using continue")
        number, after = _parse_token(token)
    return ListOptions(
        version=number,
        match=match,
        limit=max(limit_count, 0),
        after=after,
        is_continued=bool(token) and not watching,
        timeout_s=timeout_s,
        bookmarks=bool(parse_flag(query, "allowWatchBookmarks")),
        send_initial_events=initial,
    )


def parse_version(text: str) -> int:
    """A resource version of a list or watch. Raises BadRequest."""
    if not text.isdigit():
        raise bad_request(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
            "invalid syntax"
        )
    return int(text)


def _list_errors(match: str, token: str, version: str, initial: bool | None) -> list[FieldError]:
    path = "resourceVersionMatch"
    errors: list[FieldError] = []
    if match:
        if not version:
            errors.append(forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if token:
            errors.append(forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
        if match not in (EXACT, NOT_OLDER):
            errors.append(not_supported_in_order(path, match, (EXACT, NOT_OLDER, "")))
        if match == EXACT and version == "0":
            errors.append(forbidden(path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if initial is not None:
        errors.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _watch_errors(match: str, token: str, initial: bool | None) -> list[FieldError]:
    path = "resourceVersionMatch"
    errors: list[FieldError] = []
    if initial is not None and match != NOT_OLDER:
        errors.append(forbidden(path, f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}"))
    if match:
        if initial is None:
            errors.append(
                forbidden(path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            )
        if match != NOT_OLDER:
            errors.append(not_supported_in_order(path, match, (NOT_OLDER,)))
        if token:
            errors.append(forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
    return errors


def continue_token(version: int, after: str) -> str:
    """A token that resumes a list at `version` behind the key `after`."""
    token = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": version, "start": after + "\0"})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, str]:
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    try:
        parsed: Any = msgspec.json.decode(data)
        version, start, form = parsed["rv"], parsed["start"], parsed["v"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    if form != "meta.k8s.io/v1":
        raise bad_request(f"continue key is not valid: server does not recognize this encoded version {form}")
    if not isinstance(version, int) or version == 0 or version < INCONSISTENT:
        raise bad_request("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not isinstance(start, str) or not start:
        raise bad_request("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
    return version, start.rstrip("\0")
