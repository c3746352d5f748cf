"""The HTTP interface: vLLM's routes, and what each of them does with the engines.

On SIGTERM it drains: /health turns 503, requests already here finish, new ones are still taken for a moment (whoever
routes to it needs that long to notice) and then refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from fairlead import __version__
from fairlead.clock import Clock
from fairlead.simulator.server.adapters import Models
from fairlead.simulator.server.answers.answer import Answer, AnswerHead, AnswerOptions
from fairlead.simulator.server.answers.message_answer import MessageAnswer, anthropic_error
from fairlead.simulator.server.answers.response_answer import ResponseAnswer, echoed_fields
from fairlead.simulator.server.bodies.anthropic_body import count_tokens_body, messages_body
from fairlead.simulator.server.bodies.conversations import (
    message_messages,
    message_tools,
    response_constraint,
    response_messages,
    response_tools,
)
from fairlead.simulator.server.bodies.errors import ApiError, unavailable
from fairlead.simulator.server.bodies.http_body import json_body, json_response
from fairlead.simulator.server.bodies.openai_body import chat_body, completion_body
from fairlead.simulator.server.bodies.responses_body import responses_body
from fairlead.simulator.server.bodies.sampling import Sampling
from fairlead.simulator.server.composer import Composed, Composer
from fairlead.simulator.server.driver import Driver
from fairlead.simulator.server.embed import embed
from fairlead.simulator.server.failures import HEADER, Failure, FailureError, parse_failures
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.metrics.metrics_page import MetricsPage
from fairlead.simulator.server.operations import Operations
from fairlead.simulator.server.respond import Responder
from fairlead.simulator.server.tokenize import detokenized, tokenized

LAME_DUCK_S = 0.5
"""How long a draining engine still takes new requests."""
MAX_BODY_BYTES = 256 * 1024 * 1024
LARGE_BODY_BYTES = 64 * 1024
"""From here on tokenising takes so long that it leaves the event loop to the streams."""
API_VERSION = "0.32.0"
"""Of vLLM, whose interface this is."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SimulatedServer:
    """Handlers of one server, and its draining."""

    def __init__(
        self,
        driver: Driver,
        composer: Composer,
        models: Models,
        responder: Responder,
        page: MetricsPage,
        operations: Operations,
        clock: Clock,
    ) -> None:
        self._driver = driver
        self._composer = composer
        self._models = models
        self._responder = responder
        self._page = page
        self._operations = operations
        self._clock = clock
        self._in_flight = 0
        self._draining = False
        self._refusing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._around])
        posts: dict[str, Handler] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/responses": self._response,
            "/v1/responses/{response_id}/cancel": self._no_response,
            "/v1/messages": self._message,
            "/v1/messages/count_tokens": self._count_tokens,
            "/v1/embeddings": self._embeddings,
            "/v1/load_lora_adapter": self._load_adapter,
            "/v1/unload_lora_adapter": self._unload_adapter,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/ping": self._health,
            "/metrics": self._metrics,
        }
        gets: dict[str, Handler] = {
            "/v1/models": self._list_models,
            "/v1/responses/{response_id}": self._no_response,
            "/health": self._health,
            "/ping": self._health,
            "/load": self._load,
            "/version": self._version,
            "/metrics": self._metrics,
        }
        for path, handler in posts.items():
            app.router.add_post(path, handler)
        for path, handler in gets.items():
            app.router.add_get(path, handler, allow_head=False)
        self._operations.add_routes(app)
        return app

    async def drain(self, timeout_s: float) -> None:
        """Finish what is in flight, for at most `timeout_s` seconds."""
        self._draining = True
        began_s = self._clock.monotonic_s()
        await self._clock.sleep(min(LAME_DUCK_S, timeout_s))
        self._refusing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, began_s + timeout_s - self._clock.monotonic_s())):
                await self._idle.wait()

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Errors in vLLM's form, and the metrics of the HTTP frontend."""
        http = request
        began_s = self._clock.monotonic_s()
        status = 500
        response_bytes = 0
        try:
            try:
                response = await handler(http)
            except ApiError as error:
                response = _error_response(http, error)
            except UnicodeEncodeError as error:
                # JSON can hold half a character, escaped; no answer, hash or prompt can.
                message = f"the body has text that is not Unicode: {error.reason}"
                response = _error_response(http, ApiError(400, message))
            except web.HTTPNotFound as error:
                response = self._elsewhere(http) or json_response({"detail": error.reason}, error.status)
            except web.HTTPException as error:
                headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
                response = json_response({"detail": error.reason}, error.status)
                response.headers.update(headers)
            status = response.status
            if isinstance(response, web.Response) and response.body is not None:
                response_bytes = len(response.body) if isinstance(response.body, bytes) else 0
            return response
        finally:
            resource = http.match_info.route.resource
            self._page.http.observe(
                resource.canonical if resource is not None else "none",
                http.method,
                status,
                self._clock.monotonic_s() - began_s,
                request_bytes=http.content_length or 0,
                response_bytes=response_bytes,
            )

    def _elsewhere(self, http: web.Request) -> web.Response | None:
        """A path with a slash too many is sent to the one without."""
        path = http.path.rstrip("/")
        known = {resource.canonical for resource in http.app.router.resources()}
        if path == http.path or path not in known:
            return None
        return web.Response(status=307, headers={"Location": str(http.url.with_path(path))})

    # Generation

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        return await self._generate(http, lambda raw: self._composer.chat(chat_body(raw)), "chatcmpl-")

    async def _completion(self, http: web.Request) -> web.StreamResponse:
        return await self._generate(http, lambda raw: self._composer.completion(completion_body(raw)), "cmpl-")

    async def _response(self, http: web.Request) -> web.StreamResponse:
        return await self._generate(http, self._compose_response, "resp_", opens_at_once=True)

    async def _message(self, http: web.Request) -> web.StreamResponse:
        return await self._generate(http, self._compose_message, "chatcmpl-")

    def _compose_response(self, raw: Any) -> Composed:
        body = responses_body(raw)
        self._models.resolve(body.get("model"))
        if body.get("previous_response_id"):
            raise _unknown_response(body["previous_response_id"])
        if body.get("background"):
            raise ApiError(
                400,
                "This vLLM engine does not support `store=True` and therefore does not support the background mode. "
                "To enable these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when "
                "launching the vLLM server.",
                type="invalid_request_error",
                param="background",
            )
        tools, choice = response_tools(body)

        def answer(
            head: AnswerHead, request: LiveRequest, options: AnswerOptions, sampling: Sampling
        ) -> ResponseAnswer:
            return ResponseAnswer(head, request, options, echoed_fields(body, max_tokens=sampling.max_tokens))

        return self._composer.single(
            body,
            response_messages(body),
            tools,
            choice,
            body.get("max_output_tokens"),
            response_constraint(body),
            answer,
            name="max_output_tokens",
        )

    def _compose_message(self, raw: Any) -> Composed:
        body = messages_body(raw)
        tools, choice = message_tools(body)
        body = {**body, "stop": body.get("stop_sequences")}

        def answer(head: AnswerHead, request: LiveRequest, options: AnswerOptions, sampling: Sampling) -> Answer:
            return MessageAnswer(head, request)

        messages, limit = message_messages(body), body["max_tokens"]
        return self._composer.single(body, messages, tools, choice, limit, None, answer, name="max_completion_tokens")

    async def _generate(
        self, http: web.Request, compose: Callable[[Any], Composed], prefix: str, *, opens_at_once: bool = False
    ) -> web.StreamResponse:
        if self._refusing:
            refusal = unavailable("the engine is shutting down")
            return web.Response(
                status=503, body=refusal.body(), content_type="application/json", headers={"Connection": "close"}
            )
        self._in_flight += 1
        self._idle.clear()
        try:
            fate = await self._responder.fate(_wished(http))
            raw = await json_body(http)
            large = (http.content_length or 0) > LARGE_BODY_BYTES
            composed = await asyncio.to_thread(compose, raw) if large else compose(raw)
            self._count_tool_look(http.path, composed)
            return await self._responder.respond(http, composed, prefix=prefix, fate=fate, opens_at_once=opens_at_once)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    def _count_tool_look(self, path: str, composed: Composed) -> None:
        kind = {"/v1/chat/completions": "chat_completions", "/v1/responses": "responses"}.get(path, "other")
        mode = "streaming" if composed.options.stream else "non_streaming"
        for request in composed.requests:
            if request.outcome.call is not None:
                self._page.tool_calls[mode, "tool_call", kind] += 1

    # The rest

    async def _embeddings(self, http: web.Request) -> web.StreamResponse:
        await self._responder.fate(_wished(http))
        return await embed(await json_body(http), self._composer, self._models, self._responder, self._clock)

    async def _count_tokens(self, http: web.Request) -> web.StreamResponse:
        body = count_tokens_body(await json_body(http))
        self._models.resolve(body.get("model"))
        tokens = self._composer.count(message_messages(body), message_tools(body)[0])
        return json_response({"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}})

    async def _tokenize(self, http: web.Request) -> web.StreamResponse:
        return json_response(tokenized(await json_body(http), self._composer, self._models))

    async def _detokenize(self, http: web.Request) -> web.StreamResponse:
        return json_response(detokenized(await json_body(http), self._composer, self._models))

    async def _list_models(self, _: web.Request) -> web.StreamResponse:
        return json_response(self._models.cards())

    async def _load_adapter(self, http: web.Request) -> web.StreamResponse:
        return web.Response(text=self._models.load(await json_body(http)))

    async def _unload_adapter(self, http: web.Request) -> web.StreamResponse:
        raw = await json_body(http)
        said = self._models.unload(raw)
        for rank in self._driver.ranks:
            if rank.engine.scheduler.adapters is not None:
                rank.engine.scheduler.adapters.forget(raw["lora_name"])
        return web.Response(text=said)

    async def _no_response(self, http: web.Request) -> web.StreamResponse:
        raise _unknown_response(http.match_info["response_id"])

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=503 if self._draining else 200)

    async def _load(self, _: web.Request) -> web.StreamResponse:
        return json_response({"server_load": self._in_flight})

    async def _version(self, _: web.Request) -> web.StreamResponse:
        return json_response({"version": f"{API_VERSION}+fairlead.{__version__}"})

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        now_s = self._driver.catch_up()
        return web.Response(
            body=self._page.text(now_s, self._clock.wall_s()),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def _unknown_response(name: str) -> ApiError:
    return ApiError(404, f"Response with id '{name}' not found.", type="invalid_request_error", param="response_id")


def _error_response(http: web.Request, error: ApiError) -> web.Response:
    content = error.content()
    # Bodies that cannot be read are answered in the common form there, too.
    if http.path.startswith("/v1/messages") and error.type != "Bad Request":
        content = anthropic_error(content)
    return json_response(content, error.status)


def _wished(http: web.Request) -> tuple[Failure, ...]:
    wish = http.headers.get(HEADER)
    if wish is None:
        return ()
    try:
        return parse_failures(wish)
    except FailureError as error:
        raise ApiError(400, f"{HEADER}: {error}", param=HEADER) from error
