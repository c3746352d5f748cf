"""`/openapi/v2` and `/openapi/v3`: made on demand, kept until the served types change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from fairlead.embedded.apiserver.call import page_not_found, respond
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.codec import encode
from fairlead.embedded.apiserver.schema.openapi import openapi_v2, openapi_v3, openapi_v3_index
from fairlead.embedded.apiserver.status import method_not_allowed

_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


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
        return response

    def document(self, path: str) -> bytes | None:
        """The document at a path below `/openapi/`; None where there is none."""
        if self._revision != self._catalog.revision:
            self._documents.clear()
            self._revision = self._catalog.revision
        found = self._documents.get(path)
        if found is None:
            made = self._make(path)
            if made is None:
                return None
            found = self._documents[path] = encode(made)
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
