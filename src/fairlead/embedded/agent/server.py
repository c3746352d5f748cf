"""The kubelet API of one node, over HTTPS on the node's loopback address: logs, exec, attach, port-forward, pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import WSMsgType, web

from fairlead.clock import parse_time
from fairlead.embedded.agent.agent import NodeAgent
from fairlead.embedded.agent.container import Container
from fairlead.embedded.agent.credentials import KubeletCredentials
from fairlead.embedded.agent.logs import LogOptions, read_log
from fairlead.embedded.agent.metrics import resource_metrics, stats_summary
from fairlead.embedded.agent.streaming import channels, port_forward
from fairlead.embedded.agent.streaming.sessions import StreamOptions, attach_session, exec_session
from fairlead.embedded.agent.streaming.spdy_connection import SpdyConnection
from fairlead.embedded.agent.streaming.upgrade import Hijacked, hijack, response_head
from fairlead.embedded.agent.worker import PodWorker

_PING_S = 30.0
Session = Callable[[channels.Channels], Awaitable[None]]


class KubeletServer:
    def __init__(self, agent: NodeAgent, credentials: KubeletCredentials, address: str, port: int) -> None:
        self._agent = agent
        self._credentials = credentials
        self._address = address
        self._port = port
        self.where = f"{address}:{port}"
        app = web.Application(middlewares=[self._authenticate])
        add = app.router.add_route
        add("GET", "/healthz", self._health)
        add("GET", "/pods", self._pods)
        add("GET", "/metrics", self._dra_metrics)
        add("GET", "/metrics/resource", self._metrics)
        add("GET", "/stats/summary", self._stats)
        add("GET", "/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for method in ("GET", "POST"):
            add(method, "/exec/{namespace}/{pod}/{container}", self._exec)
            add(method, "/attach/{namespace}/{pod}/{container}", self._attach)
            add(method, "/portForward/{namespace}/{pod}", self._port_forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Listen. Raises OSError if the address is in use."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._address, self._port, ssl_context=self._credentials.tls)
        await site.start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _authenticate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        if request.path != "/healthz" and not self._credentials.accepts(
            request.headers.get("Authorization", ""), certificate
        ):
            return web.Response(status=401, text="Unauthorized")
        return await handler(request)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _pods(self, request: web.Request) -> web.Response:
        items = [msgspec.to_builtins(worker.pod) for worker in self._agent.workers.values()]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return web.json_response(body)

    async def _metrics(self, request: web.Request) -> web.Response:
        text = await asyncio.to_thread(resource_metrics, self._agent)
        return web.Response(text=text, content_type="text/plain")

    async def _dra_metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self._agent.context.devices.metrics(), content_type="text/plain")

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(stats_summary, self._agent))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        worker, name = self._find(request)
        query = request.query
        options = log_options(query, self._agent.context.clock.wall_s())
        container = _log_source(worker, name, _flag(query, "previous"))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        source = read_log(container.log_path, options, lambda: container.exit is None, self._agent.context.clock)
        with contextlib.suppress(ConnectionError):
            async for piece in source:
                await response.write(piece)
            await response.write_eof()
        return response

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        worker, name = self._find(request)
        container = _running(worker, name)
        options = _stream_options(request.query)
        command = request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="you must specify at least 1 command")
        return await self._stream(request, options, lambda streams: exec_session(container, command, options, streams))

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        worker, name = self._find(request)
        container = _running(worker, name)
        asked = _stream_options(request.query)
        # The container's own terminal decides, not the client's wish.
        options = StreamOptions(asked.stdin, asked.stdout, asked.stderr, worker.slots[name].spec.tty)
        return await self._stream(request, options, lambda streams: attach_session(container, options, streams))

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        worker = self._worker(request)
        if not _is_websocket(request):
            return await self._over_spdy(
                request,
                (port_forward.SPDY_PROTOCOL,),
                lambda connection, _: port_forward.serve_spdy(connection, worker.pod_ip),
            )
        protocols = (port_forward.TUNNEL_PROTOCOL, *port_forward.WEBSOCKET_PROTOCOLS)
        socket = web.WebSocketResponse(protocols=protocols, heartbeat=_PING_S, max_msg_size=0)
        await socket.prepare(request)
        if socket.ws_protocol == port_forward.TUNNEL_PROTOCOL:
            connection = SpdyConnection(lambda: _next_binary(socket), socket.send_bytes)
            await port_forward.serve_spdy(connection, worker.pod_ip)
        else:
            ports = [
                int(p)
                for value in request.query.getall("ports", request.query.getall("port", []))
                for p in value.split(",")
            ]
            await port_forward.serve_websocket(socket, worker.pod_ip, ports)
        await socket.close()
        return socket

    async def _stream(self, request: web.Request, options: StreamOptions, session: Session) -> web.StreamResponse:
        if _is_websocket(request):
            return await _over_websocket(request, options, session)
        wanted = {channels.ERROR}
        for number, asked in (
            (channels.STDIN, options.stdin),
            (channels.STDOUT, options.stdout),
            (channels.STDERR, options.stderr and not options.tty),
        ):
            if asked:
                wanted.add(number)

        async def serve(connection: SpdyConnection, protocol: str) -> None:
            plain = not protocol.startswith("v4")
            expected = wanted | ({channels.RESIZE} if options.tty and not protocol.startswith("v2") else set())
            serving = asyncio.ensure_future(connection.serve())
            try:
                streams = await channels.SpdyChannels.accept(connection, expected, plain_errors=plain)
                receiving = asyncio.ensure_future(streams.receive())
                try:
                    await session(streams)
                finally:
                    receiving.cancel()
            except (TimeoutError, ConnectionError):
                pass
            finally:
                serving.cancel()

        return await self._over_spdy(request, channels.SPDY_PROTOCOLS, serve)

    async def _over_spdy(
        self,
        request: web.Request,
        supported: tuple[str, ...],
        serve: Callable[[SpdyConnection, str], Awaitable[None]],
    ) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "spdy/3.1":
            raise web.HTTPBadRequest(text="you must upgrade the connection to SPDY/3.1 or a WebSocket")
        offered = [p.strip() for v in request.headers.getall("X-Stream-Protocol-Version", []) for p in v.split(",")]
        chosen = next((p for p in supported if p in offered), supported[-1] if not offered else None)
        if chosen is None:
            raise web.HTTPForbidden(text=f"unable to negotiate protocol: client offers {offered}")
        async with hijack(request) as (reader, writer):
            head = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": chosen}
            writer.write(response_head(101, "Switching Protocols", head))

            async def write(data: bytes) -> None:
                writer.write(data)
                await writer.drain()

            await serve(SpdyConnection(lambda: reader.read(1 << 16), write), chosen)
        return Hijacked()

    def _worker(self, request: web.Request) -> PodWorker:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        worker = self._agent.find(namespace, name)
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{name}" in namespace "{namespace}" is not on this node')
        return worker

    def _find(self, request: web.Request) -> tuple[PodWorker, str]:
        worker, name = self._worker(request), request.match_info["container"]
        if name not in worker.slots:
            raise web.HTTPNotFound(text=f'container "{name}" not found in pod "{worker.pod.metadata.name}"')
        return worker, name


def log_options(query: Mapping[str, str], now_s: float) -> LogOptions:
    """Raises web.HTTPBadRequest."""
    try:
        since_s = parse_time(query["sinceTime"]) if query.get("sinceTime") else None
        if query.get("sinceSeconds"):
            since_s = now_s - float(query["sinceSeconds"])
        return LogOptions(
            follow=_flag(query, "follow"),
            tail_lines=int(query["tailLines"]) if query.get("tailLines") else None,
            since_wall_s=since_s,
            timestamps=_flag(query, "timestamps"),
            limit_bytes=int(query["limitBytes"]) if query.get("limitBytes") else None,
            stream={"Stdout": "stdout", "Stderr": "stderr"}.get(query.get("stream", "")),
        )
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"Unable to decode query: {error}") from error


async def _over_websocket(request: web.Request, options: StreamOptions, session: Session) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=channels.WEBSOCKET_PROTOCOLS, heartbeat=_PING_S, max_msg_size=0)
    await socket.prepare(request)
    streams = channels.WebSocketChannels(socket)
    receiving = asyncio.ensure_future(streams.receive())
    try:
        # An empty message tells clients that the session stands.
        first = channels.STDOUT if options.stdout else channels.STDERR if options.stderr else channels.ERROR
        await streams.write(first, b"")
        await session(streams)
    finally:
        receiving.cancel()
    return socket


async def _next_binary(socket: web.WebSocketResponse) -> bytes:
    while True:
        message = await socket.receive()
        if message.type == WSMsgType.BINARY:
            if message.data:
                return bytes(message.data)
        elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
            return b""


def _log_source(worker: PodWorker, name: str, previous: bool) -> Container:
    """The attempt whose log is meant, by what the status says of the container."""
    attempts, pod = worker.slots[name].attempts, worker.pod.metadata.name
    shown = worker.container_status(name)
    state, last = shown.get("state", {}), shown.get("lastState", {}).get("terminated")
    if previous:
        id = last["containerID"] if last else ""
        problem = f'previous terminated container "{name}" in pod "{pod}" not found'
    elif "waiting" in state and last is None:
        id, problem = "", f'container "{name}" in pod "{pod}" is waiting to start: {_why(state["waiting"]["reason"])}'
    else:
        id = last["containerID"] if "waiting" in state and last else shown.get("containerID", "")
        problem = f'container "{name}" in pod "{pod}" is terminated'
    found = next((attempt for attempt in attempts if attempt.id == id), None)
    if found is None:
        raise web.HTTPBadRequest(text=problem)
    return found


def _why(reason: str) -> str:
    known = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    return known.get(reason, reason)


def _running(worker: PodWorker, name: str) -> Container:
    current = worker.slots[name].current
    if current is None or not current.is_running:
        raise web.HTTPNotFound(text=f'container "{name}" of pod "{worker.pod.metadata.name}" is not running')
    return current


def _stream_options(query: Mapping[str, str]) -> StreamOptions:
    flags = {name: _flag(query, name) or _flag(query, short) for name, short in _SHORT_NAMES.items()}
    if not flags["stdin"] and not flags["stdout"] and not flags["stderr"]:
        raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr")
    return StreamOptions(**flags)


# The API server calls a kubelet with the short names; WebSocket clients pass the API's own.
_SHORT_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true", "t")


def _is_websocket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"
