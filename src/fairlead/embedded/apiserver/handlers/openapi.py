"""`/openapi/v2` and `/openapi/v3`: made on demand, kept until the served types change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from fairlead.embedded.apiserver.call import page_not_found, respond
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.codec import encode
from fairlead.embedded.apiserver.negotiation import JSON, parse_accept
from fairlead.embedded.apiserver.protobuf import openapi_document
from fairlead.embedded.apiserver.schema.openapi import openapi_v2, openapi_v3, openapi_v3_index
from fairlead.embedded.apiserver.status import method_not_allowed

_V2_PROTOBUF = "v2 in protobuf"


class OpenApi:
    """The OpenAPI documents of what a catalog serves."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._revision = -1
        # path below /openapi -> encoded document
        self._documents: dict[str, bytes] = {}

    def handle(self, request: web.Request, parts: Sequence[str]) -> web.Response:
        """Answer a request below `/openapi/`. Raises MethodNotAllowed."""
        if request.method != "GET":
            raise method_not_allowed()
        path = "/".join(part for part in parts if part)
        if path == "v2" and _wants_protobuf(request.headers.get("Accept", "")):
            path = _V2_PROTOBUF
        body = self.document(path)
        if body is None:
            return page_not_found() if not path.startswith("v3/") else web.Response(status=404)
        etag = '"' + hashlib.sha256(body).hexdigest()[:32].upper() + '"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"Etag": etag})
        response = respond(body)
        response.headers["Etag"] = etag
        if path == "v3":
            response.headers["Content-Type"] = "text/plain; charset=utf-8"
        elif path == _V2_PROTOBUF:
            response.headers["Content-Type"] = openapi_document.MEDIA_TYPES[1]
        return response

    def document(self, path: str) -> bytes | None:
        """The document at a path below `/openapi/`; None where there is none."""
        if self._revision != self._catalog.revision:
            self._documents.clear()
            self._revision = self._catalog.revision
        found = self._documents.get(path)
        if found is None:
            made = self._make("v2" if path == _V2_PROTOBUF else path)
            if made is None:
                return None
            write = openapi_document.openapi_v2_document if path == _V2_PROTOBUF else encode
            found = self._documents[path] = write(made)
        return found

    def _make(self, path: str) -> dict[str, Any] | None:
        if path == "v2":
            return openapi_v2(self._catalog.all())
        if path == "v3":
            return openapi_v3_index(self._catalog.all())
        parts = path.split("/")
        if parts[:2] == ["v3", "api"] and len(parts) == 3:
            types = self._catalog.types("", parts[2])
        elif parts[:2] == ["v3", "apis"] and len(parts) == 4:
            types = self._catalog.types(parts[2], parts[3])
        else:
            return None
        return openapi_v3(types) if types else None


def _wants_protobuf(accept: str) -> bool:
    """Whether the best form that a client names is protobuf."""
    for clause in parse_accept(accept):
        if clause.media_type in openapi_document.MEDIA_TYPES:
            return True
        if clause.media_type in (JSON, "*/*", "application/*"):
            return False
    return False
