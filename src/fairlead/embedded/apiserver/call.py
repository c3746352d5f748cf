"""One request to one resource type, and how it is answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec
import yaml
from aiohttp import web
from multidict import MultiDict, MultiDictProxy, MultiMapping

from fairlead.embedded.apiserver.authorization import ADMIN, User
from fairlead.embedded.apiserver.body import BODY_LIMIT_BYTES
from fairlead.embedded.apiserver.codec import encode
from fairlead.embedded.apiserver.negotiation import JSON, PLAIN, YAML, Form, negotiate
from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.embedded.apiserver.request_path import RequestPath
from fairlead.kube.errors import ApiError, RequestEntityTooLarge

_NO_QUERY: MultiMapping[str] = MultiDictProxy(MultiDict())
WARNINGS_CHARACTERS = 4096
"""Warnings that are longer together are cut to `LONG_WARNING_CHARACTERS` each."""
LONG_WARNING_CHARACTERS = 256


@dataclass(slots=True)
class Call:
    """A request whose path names a served type. `warnings` become `Warning` headers of the answer."""

    request: web.Request
    path: RequestPath
    type: ResourceType
    head: bytes
    user: User = ADMIN
    form: Form = PLAIN
    warnings: list[str] = field(default_factory=list)
    _body: bytes | None = None

    @property
    def namespace(self) -> str:
        return self.path.namespace

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def query(self) -> MultiMapping[str]:
        return query_of(self.request)

    @property
    def manager(self) -> str:
        """The default field manager: the product name of the User-Agent."""
        return unquote(self.request.headers.get("User-Agent", "unknown").partition("/")[0])[:128]

    def negotiate(self) -> None:
        """Choose the form of the answer. Raises NotAcceptable."""
        accept = self.request.headers.get("Accept", "")
        if accept not in ("", JSON, "*/*"):
            self.form = negotiate(accept)

    async def body(self) -> bytes:
        """The body. Raises RequestEntityTooLarge."""
        if self._body is None:
            self._body = await read_body(self.request)
        return self._body


def query_of(request: web.Request) -> MultiMapping[str]:
    return request.query if request.query_string else _NO_QUERY


async def read_body(request: web.Request) -> bytes:
    """A request's body within the limit. Raises RequestEntityTooLarge."""
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        raise too_large()
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large() from None


def too_large() -> ApiError:
    return RequestEntityTooLarge(f"Request entity too large: limit is {BODY_LIMIT_BYTES}")


def respond(
    body: bytes, *, status: int = 200, media_type: str = JSON, warnings: list[str] | None = None
) -> web.Response:
    """An answer from encoded JSON."""
    if media_type == YAML:
        body = to_yaml(body)
    response = web.Response(body=body, status=status)
    headers = response.headers
    headers["Content-Type"] = media_type
    headers["Cache-Control"] = "no-cache, private"
    for text in shown_warnings(warnings or ()):
        headers.add("Warning", warning(text))
    return response


def respond_object(obj: Any, *, status: int = 200, call: Call | None = None, media_type: str = JSON) -> web.Response:
    """An answer from a decoded object."""
    if call is not None:
        media_type = call.form.media_type
    return respond(encode(obj), status=status, media_type=media_type, warnings=call.warnings if call else None)


def respond_error(error: ApiError, *, media_type: str = JSON, warnings: list[str] | None = None) -> web.Response:
    response = respond(encode(error.status), status=error.http_code, media_type=media_type, warnings=warnings)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(int(error.retry_after_s))
    return response


def page_not_found() -> web.Response:
    """A path outside of what is served."""
    return web.Response(text="404 page not found\n", status=404, headers={"X-Content-Type-Options": "nosniff"})


def shown_warnings(texts: Iterable[str]) -> list[str]:
    """The distinct texts that fit into headers: cut short once they are too long together."""
    distinct = [text for text in dict.fromkeys(texts) if text and not any(map(_is_control, text))]
    if sum(map(len, distinct)) <= WARNINGS_CHARACTERS:
        return distinct
    shown: list[str] = []
    written = 0
    for text in distinct:
        if written >= WARNINGS_CHARACTERS:
            break
        shown.append(text[:LONG_WARNING_CHARACTERS])
        written += len(shown[-1])
    return shown


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character < "\xa0"


def warning(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


def to_yaml(body: bytes) -> bytes:
    return yaml.dump(msgspec.json.decode(body), default_flow_style=False, allow_unicode=True, width=1 << 30).encode()
