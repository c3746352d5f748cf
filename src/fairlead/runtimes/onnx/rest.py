"""The REST side: Open Inference Protocol v2 with its extensions, KServe V1, metrics. Errors are `{"error": "…"}`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from fairlead import __version__
from fairlead.runtimes.onnx import v1_json, v2_json
from fairlead.runtimes.onnx.errors import InferenceError, invalid, not_ready, shortened, too_large
from fairlead.runtimes.onnx.inference import InferenceService

SERVER_NAME = "fairlead-onnx"
EXTENSIONS = ("binary_tensor_data", "model_repository")
HEADER_LENGTH = "Inference-Header-Content-Length"

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestApi:
    """HTTP handlers around one `InferenceService`."""

    def __init__(self, service: InferenceService, *, max_body_bytes: int, read_timeout_s: float) -> None:
        self._service = service
        self._repository = service.repository
        self._max_body_bytes = max_body_bytes
        self._read_timeout_s = read_timeout_s

    def application(self) -> web.Application:
        app = web.Application(client_max_size=self._max_body_bytes, middlewares=[_errors])
        route = app.router
        route.add_get("/v2", self._server_metadata)
        route.add_get("/v2/health/live", self._live)
        route.add_get("/v2/health/ready", self._ready)
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            route.add_get(model, self._metadata)
            route.add_get(f"{model}/ready", self._model_ready)
            route.add_post(f"{model}/infer", self._infer)
        route.add_post("/v2/repository/index", self._index)
        route.add_post("/v2/repository/models/{model}/load", self._load)
        route.add_post("/v2/repository/models/{model}/unload", self._unload)
        route.add_get("/v1/models", self._v1_models)
        route.add_post("/v1/models/{model}:predict", self._predict)
        route.add_get("/v1/models/{model}", self._v1_model)
        route.add_get("/metrics", self._metrics)
        return app

    async def _server_metadata(self, _: web.Request) -> web.Response:
        return _json({"name": SERVER_NAME, "version": __version__, "extensions": EXTENSIONS})

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self._service.ready else 503)

    async def _metadata(self, http: web.Request) -> web.Response:
        served = await self._repository.get(*_model(http))
        return _json(v2_json.metadata(http.match_info["model"], self._repository.versions(served.name),
                                      served.model.signature))  # fmt: skip

    async def _model_ready(self, http: web.Request) -> web.Response:
        name, version = _model(http)
        if not self._repository.ready(name, version):
            raise not_ready(f"model '{shortened(name)}' is not ready")
        return _json({"name": name, "ready": True})

    async def _infer(self, http: web.Request) -> web.Response:
        body = await self._body(http)
        call = self._service.begin("rest")
        try:
            served = await self._service.find(call, *_model(http))
            asked = v2_json.parse(body, http.headers.get(HEADER_LENGTH))
            answer, length = v2_json.render(await self._service.infer(served, asked.request), asked)
            call.code = 200
        except InferenceError as error:
            call.code = error.status
            raise
        finally:
            self._service.end(call)
        if length is None:
            return web.Response(body=answer, content_type="application/json")
        headers = {HEADER_LENGTH: str(length)}
        return web.Response(body=answer, content_type="application/octet-stream", headers=headers)

    async def _predict(self, http: web.Request) -> web.Response:
        body = await self._body(http)
        call = self._service.begin("v1")
        try:
            served = await self._service.find(call, *_model(http))
            request = v1_json.parse(body, served.model.signature)
            answer = v1_json.render(await self._service.infer(served, request))
            call.code = 200
        except InferenceError as error:
            call.code = error.status
            raise
        finally:
            self._service.end(call)
        return web.Response(body=answer, content_type="application/json")

    async def _index(self, http: web.Request) -> web.Response:
        given = _object(await self._body(http))
        entries = await self._repository.index(only_ready=given.get("ready") is True)
        return _json([{"name": e.name, "version": e.version, "state": e.state, "reason": e.reason} for e in entries])

    async def _load(self, http: web.Request) -> web.Response:
        parameters = _object(await self._body(http)).get("parameters", {})
        config = parameters.get("config") if isinstance(parameters, dict) else None
        if config is not None and not isinstance(config, str):
            raise invalid("parameter 'config' is a string that holds a JSON object")
        await self._repository.load(http.match_info["model"], config)
        return web.Response()

    async def _unload(self, http: web.Request) -> web.Response:
        await self._repository.unload(http.match_info["model"])
        return web.Response()

    async def _v1_models(self, _: web.Request) -> web.Response:
        return _json({"models": self._repository.names()})

    async def _v1_model(self, http: web.Request) -> web.Response:
        name = http.match_info["model"]
        return _json({"name": name, "ready": self._repository.ready(name)})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._service.metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _body(self, http: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._read_timeout_s):
                return await http.read()
        except TimeoutError:
            message = f"the request body did not arrive within {self._read_timeout_s:g} s"
            raise InferenceError(408, message) from None
        except web.HTTPRequestEntityTooLarge:
            raise too_large(self._max_body_bytes) from None


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except InferenceError as error:
        retry = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
        return _error(error.status, error.message, retry)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(error.status, f"{request.method} {shortened(request.path)}: {error.reason}", allow)
    except Exception:
        _log.exception("%s %s failed", request.method, shortened(request.path))
        return _error(500, "internal error; the server's log has the details", {})


def _model(http: web.Request) -> tuple[str, str]:
    return http.match_info["model"], http.match_info.get("version", "")


def _object(body: bytes) -> dict[str, Any]:
    """An optional JSON object."""
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"the request is not a JSON object: {error}") from error


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _error(status: int, message: str, headers: dict[str, str]) -> web.Response:
    body = msgspec.json.encode({"error": message})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
