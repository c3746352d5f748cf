"""Topograph's HTTP API: `POST /v1/generate`, `GET /v1/topology?uid=`, `/v1/lookup`, `/healthz`, `/metrics`.

A request names a provider, an engine and the nodes; the answer to it is an id, at once (202), and the topology is
asked for by the id: 202 while it is pending, 200 with the result, 404 for an id that is unknown or forgotten, else
the error. Statuses and messages are Topograph's. There is no authentication: bind to loopback, or put a proxy in
front.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from aiohttp import web

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.topology.controller import read_cluster, read_nodes, write_labels
from fairlead.devices.topology.engines.outputs import check_engine, label_settings, node_selector, render
from fairlead.devices.topology.errors import InvalidTopology, MergeConflict, SourceError, SourceUnavailable, Unsupported
from fairlead.devices.topology.jobs import Answer, Jobs, JobSettings, QueueFull, identifier_of
from fairlead.devices.topology.providers.cloud import PARSERS, KnownInstance
from fairlead.devices.topology.providers.inputs import METADATA_HEADERS, Inputs
from fairlead.devices.topology.providers.sources import PROVIDERS, Query, SimulatedFailure, discover
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError
from fairlead.kube.transport import Unreachable

DEFAULT_PORT = 49021
_LIMIT_BYTES = 4 << 20
"""Of a request: some 50,000 nodes. Many requests may wait, and each is kept while it does."""


class NamedPart(msgspec.Struct, frozen=True):
    """`provider` or `engine` of a request. `creds` are taken and not used: Fairlead signs no cloud requests."""

    name: str = ""
    params: dict[str, Any] | None = None
    creds: dict[str, Any] | None = None


class Region(msgspec.Struct, frozen=True):
    """`instances`: instance id -> node name."""

    region: str = ""
    instances: dict[str, str] | None = None


class Request(msgspec.Struct, frozen=True):
    provider: NamedPart | None = None
    engine: NamedPart | None = None
    nodes: tuple[Region, ...] | None = None


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Defaults of requests, and what their providers may read. `endpoints`: provider -> address."""

    provider: str = ""
    engine: str = ""
    provider_params: Mapping[str, Any] = field(default_factory=dict)
    engine_params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=Inputs)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    jobs: JobSettings = field(default_factory=JobSettings)


@dataclass(frozen=True, slots=True)
class _Asked:
    provider: str
    provider_params: Mapping[str, Any]
    engine: str
    engine_params: Mapping[str, Any]
    nodes: tuple[Region, ...]

    @property
    def identifier(self) -> str:
        return identifier_of(self.provider, self.provider_params, self.engine, self.engine_params, self.nodes)


class TopologyServer:
    """The application and its jobs. `client` is the Kubernetes API for engine k8s and providers labels and dra;
    None where there is none."""

    def __init__(self, options: ServerOptions, client: Client | None = None, clock: Clock = SYSTEM) -> None:
        self._options = options
        self._client = client
        self._clock = clock
        self._jobs: Jobs[_Asked] = Jobs(self._perform, options.jobs, clock)
        self._done: Counter[tuple[str, str, int]] = Counter()
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._http: Counter[tuple[str, str, int]] = Counter()
        self.app = web.Application(middlewares=[self._count], client_max_size=_LIMIT_BYTES)
        for path, handler in (
            ("/v1/generate", self._generate),
            ("/v1/lookup", self._lookup),
            ("/v1/topology", self._topology),
            ("/healthz", self._healthz),
            ("/metrics", self._metrics),
        ):
            self.app.router.add_route("*", path, handler)
        self.app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        await self._jobs.close()

    async def _generate(self, request: web.Request) -> web.Response:
        asked = await self._read(request)
        if asked.provider == "test":
            status = asked.provider_params.get("generateResponseCode", 202)
            if isinstance(status, int) and 400 <= status <= 599:
                return _plain(status, str(asked.provider_params.get("errorMessage", "")))
            if status != 202:
                return _plain(400, "Unsupported response code.")
        try:
            return web.Response(status=202, text=self._jobs.submit(asked, asked.identifier))
        except QueueFull as error:
            return _plain(503, str(error), {"Retry-After": "30"})

    async def _lookup(self, request: web.Request) -> web.Response:
        return _answered(self._jobs.answer((await self._read(request)).identifier))

    async def _topology(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            return _plain(405, "invalid request method", {"Allow": "GET"})
        identifier = request.query.get("uid", "")
        if not identifier:
            return _plain(400, "must specify request uid")
        return _answered(self._jobs.answer(identifier))

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="OK\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text="".join(f"{line}\n" for line in self._series()), content_type="text/plain")

    def _series(self) -> list[str]:
        lines = ["# TYPE topograph_version gauge", 'topograph_version{version="fairlead"} 1']
        lines.append("# TYPE topograph_requests_total counter")
        for (provider, engine, status), count in sorted(self._done.items()):
            lines.append(
                f'topograph_requests_total{{provider="{provider}",engine="{engine}",status="{status}"}} {count}'
            )
        lines.append("# TYPE topograph_request_duration_seconds summary")
        for (provider, engine), seconds in sorted(self._seconds.items()):
            labels = f'{{provider="{provider}",engine="{engine}"}}'
            count = sum(done for (p, e, _), done in self._done.items() if (p, e) == (provider, engine))
            lines.append(f"topograph_request_duration_seconds_sum{labels} {seconds:.6f}")
            lines.append(f"topograph_request_duration_seconds_count{labels} {count}")
        lines.append("# TYPE topograph_http_requests_total counter")
        for (method, path, status), count in sorted(self._http.items()):
            lines.append(f'topograph_http_requests_total{{method="{method}",path="{path}",status="{status}"}} {count}')
        lines += ["# TYPE topograph_requests_pending gauge", f"topograph_requests_pending {self._jobs.pending}"]
        return lines

    async def _read(self, request: web.Request) -> _Asked:
        """Raises the HTTP error."""
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"], text="Invalid request method\n")
        body = await request.read()
        try:
            document = msgspec.json.decode(body or b"{}", type=Request)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise web.HTTPBadRequest(text=f"failed to parse payload: {error}\n") from error
        provider, engine = document.provider or NamedPart(), document.engine or NamedPart()
        asked = _Asked(
            provider.name or self._options.provider,
            {**self._options.provider_params, **(provider.params or {})},
            engine.name or self._options.engine,
            {**self._options.engine_params, **(engine.params or {})},
            document.nodes or (),
        )
        try:
            self._check(asked)
        except Unsupported as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        return asked

    def _check(self, asked: _Asked) -> None:
        if not asked.provider:
            raise Unsupported("no provider given for topology request")
        if asked.provider not in PROVIDERS:
            raise Unsupported(f"unsupported provider {asked.provider}")
        check_engine(asked.engine)
        if asked.engine == "k8s":
            if self._client is None:
                raise Unsupported("engine k8s writes node labels, and no Kubernetes API is configured")
            label_settings(asked.engine_params)
            node_selector(asked.engine_params)

    async def _perform(self, asked: _Asked) -> Answer:
        started_s = self._clock.monotonic_s()
        try:
            answer = Answer(200, await self._answer(asked))
        except SimulatedFailure as error:
            answer = Answer(error.status, str(error).encode())
        except Unsupported as error:
            answer = Answer(error.status, str(error).encode())
        except (SourceUnavailable, Unreachable) as error:
            answer = Answer(503, str(error).encode())
        except (SourceError, InvalidTopology, MergeConflict) as error:
            # 422, not 502: asking again does not make the same input better.
            answer = Answer(422, str(error).encode())
        except ApiError as error:
            answer = Answer(502, str(error).encode())
        key = (asked.provider, asked.engine)
        self._done[*key, answer.status] += 1
        self._seconds[key] += self._clock.monotonic_s() - started_s
        return answer

    async def _answer(self, asked: _Asked) -> bytes:
        found = await discover(asked.provider, await self._query(asked))
        # Large fabrics take a while: not on the event loop.
        if asked.engine == "k8s":
            assert self._client is not None
            await write_labels(
                self._client, found.topology, label_settings(asked.engine_params), node_selector(asked.engine_params)
            )
            return b"OK\n"
        return await asyncio.to_thread(render, asked.engine, found.topology, asked.engine_params)

    async def _query(self, asked: _Asked) -> Query:
        instances = {
            identifier: KnownInstance(node, region.region)
            for region in asked.nodes
            for identifier, node in (region.instances or {}).items()
        }
        client = self._client
        if not instances and client is not None and asked.engine == "k8s" and asked.provider in PARSERS:
            instances = (await read_nodes(client)).instances()
        inputs = replace(
            self._options.inputs,
            endpoint=self._options.endpoints.get(asked.provider, ""),
            headers=METADATA_HEADERS.get(asked.provider, {}),
        )
        cluster = (lambda: read_cluster(client)) if client is not None else None
        return Query(inputs, asked.provider_params, instances or None, cluster)

    @web.middleware
    async def _count(self, request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
        status = 500
        # Any text may come as a path or method: only those we serve become labels.
        path = request.path if request.match_info.http_exception is None else "other"
        try:
            answer: web.StreamResponse = await handler(request)
            status = answer.status
            return answer
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            self._http[request.method if path != "other" else "other", path, status] += 1


def _answered(answer: Answer) -> web.Response:
    if answer.status in (200, 202):
        return web.Response(status=answer.status, body=answer.body, content_type="text/plain")
    return _plain(answer.status, answer.body.decode())


def _plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)


async def serve(
    server: TopologyServer, host: str, port: int, started: Callable[[int], None] = lambda port: None
) -> None:
    """Serve until cancelled. `started` gets the port."""
    runner = web.AppRunner(server.app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        started(runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
