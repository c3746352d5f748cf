"""Options of lists and watches: versions, limits, continue tokens. Rules and wording follow
`k8s.io/apimachinery/pkg/apis/meta/internalversion/validation` and `k8s.io/apiserver/pkg/storage`."""

from __future__ import annotations

import base64
import posixpath
import string
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.embedded.apiserver.invalid import FieldError, forbidden
from fairlead.embedded.apiserver.options import Query, not_supported_in_order, parse_flag, parse_int
from fairlead.embedded.apiserver.schema.json_syntax import kind_name, syntax_error
from fairlead.embedded.apiserver.status import bad_request, invalid_options
from fairlead.kube.errors import BadRequest

EXACT, NOT_OLDER = "Exact", "NotOlderThan"
INCONSISTENT = -1
"""Version in a continue token that gives up consistency: go on with the present."""
LAST_CHARACTER = "\U0010ffff"
_BASE64_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """`version` is None where unset; `after` is the key that a continue token resumes behind, without what precedes all
    keys of the listed scope."""

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
        continued, after = _parse_token(token)
        if number not in (None, 0):
            raise bad_request("specifying resource version is not allowed when using continue")
        number = continued
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
    """A token that resumes a list at `version` behind the key `after`, as seen from the listed scope."""
    token = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": version, "start": after + "\0"})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, str]:
    """Version and key of a token. Raises BadRequest."""
    data = _decode_token(token)
    problem = syntax_error(data)
    if problem is not None:
        raise _bad_token(problem)
    parsed: Any = msgspec.json.decode(data)
    if not isinstance(parsed, dict):
        raise _bad_token(f"json: cannot unmarshal {kind_name(parsed)} into Go value of type storage.continueToken")
    for name, types, go_type in (("v", str, "string"), ("rv", int, "int64"), ("start", str, "string")):
        if parsed.get(name) is not None and (not isinstance(parsed[name], types) or parsed[name] is True):
            kind = kind_name(parsed[name])
            raise _bad_token(
                f"json: cannot unmarshal {kind} into Go struct field continueToken.{name} of type {go_type}"
            )
    form, version, start = parsed.get("v") or "", parsed.get("rv") or 0, parsed.get("start") or ""
    if form != "meta.k8s.io/v1":
        raise _bad_token(f"server does not recognize this encoded version {form}")
    if version == 0:
        raise _bad_token("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not start:
        raise _bad_token("encoded start key empty (version meta.k8s.io/v1)")
    key = start if start.startswith("/") else "/" + start
    if posixpath.normpath(key) != key:
        raise _bad_token(start)
    return max(version, INCONSISTENT), _before(key[1:])


def _before(start: str) -> str:
    """A key that precedes `start` directly: a list resumes behind it."""
    if start.endswith("\0"):
        return start[:-1]
    return start[:-1] + chr(ord(start[-1]) - 1) + LAST_CHARACTER


def _decode_token(token: str) -> bytes:
    for index, character in enumerate(token):
        if character not in _BASE64_CHARACTERS:
            raise _bad_token(f"illegal base64 data at input byte {index}")
    if len(token) % 4 == 1:
        raise _bad_token(f"illegal base64 data at input byte {len(token) - 1}")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _bad_token(reason: str) -> BadRequest:
    return bad_request(f"invalid continue token: continue key is not valid: {reason}")
