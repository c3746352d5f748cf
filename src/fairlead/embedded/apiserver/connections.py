"""Connections that answer what never becomes a request: unknown methods and broken HTTP get a Status like any error."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod

from fairlead.embedded.apiserver.call import respond_error
from fairlead.embedded.apiserver.status import bad_request, method_not_allowed
from fairlead.kube.errors import ApiError, InternalError

_log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One client's connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed, or what escaped from a handler; the connection then closes."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun and cannot become an error any more")
        response = respond_error(_error_of(status, exc))
        response.force_close()
        return response


def _error_of(status: int, cause: BaseException | None) -> ApiError:
    if isinstance(cause, BadHttpMethod):
        return method_not_allowed()
    if status < 500:
        return bad_request("the request is not valid HTTP")
    _log.error("a request failed", exc_info=cause)
    return InternalError("Internal error occurred")


class Connections(web.Server):
    """Makes a `Connection` of each client that connects."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application over such connections."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Connections(made.request_handler, request_factory=made.request_factory, **made._kwargs)
