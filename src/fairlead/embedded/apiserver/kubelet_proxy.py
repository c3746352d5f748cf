"""Pod subresources that a node serves: log, exec, attach and port-forward, passed on to the node's kubelet API.

Logs are fetched and passed on; the others are connection upgrades (WebSocket in any of kubectl's channel protocols, or
SPDY/3.1), of which only the request head is understood here: after that, bytes are carried both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import web

from fairlead.embedded.agent.credentials import client_context
from fairlead.embedded.agent.streaming.upgrade import Hijacked, copy, hijack
from fairlead.kube.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable, from_status

Object = Mapping[str, Any]
LookupPod = Callable[[str, str], Object | None]
"""Namespace and name -> stored pod, None where there is none."""
LookupNode = Callable[[str], Object | None]

_UPGRADES = frozenset({"GET", "POST"})
NODE_METHODS = {"log": frozenset({"GET"}), "exec": _UPGRADES, "attach": _UPGRADES, "portforward": _UPGRADES}
"""Subresource that a node serves -> methods."""
_CONNECT_TIMEOUT_S = 10.0
_HEAD_TIMEOUT_S = 40.0
_ERROR_LIMIT_BYTES = 16 * 1024
_PASSED_HEADERS = ("Upgrade", "Connection", "X-Stream-Protocol-Version", "Origin")
# What a kubelet calls the streams that the API names.
_STREAM_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_LOG_QUERY = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream")
_TRUE = ("1", "true", "t")


@dataclass(frozen=True, slots=True)
class _Kubelet:
    host: str
    port: int
    token: str
    tls: ssl.SSLContext


class KubeletProxy:
    """`credentials` is the folder that the node agent shares (`DIR/nodes/kubelet` below a platform's data folder)."""

    def __init__(self, lookup_pod: LookupPod, lookup_node: LookupNode, credentials: Path) -> None:
        self._lookup_pod = lookup_pod
        self._lookup_node = lookup_node
        self._credentials = credentials
        self._tls: tuple[float, ssl.SSLContext] | None = None

    async def handle(self, request: web.Request, namespace: str, name: str, subresource: str) -> web.StreamResponse:
        """Serve one request for a subresource in NODE_METHODS. Raises ApiError."""
        pod = self._lookup_pod(namespace, name)
        if pod is None:
            raise NotFound(f'pods "{name}" not found', name=name, kind="pods")
        if subresource == "log":
            return await self._log(request, pod)
        if not request.headers.get("Upgrade"):
            raise BadRequest("Upgrade request required")
        if subresource == "portforward":
            path, query = f"/portForward/{_pod_path(pod)}", _port_query(request)
        else:
            container = choose_container(pod, request.query.get("container", ""))
            path, query = f"/{subresource}/{_pod_path(pod)}/{quote(container)}", _stream_query(request)
        node = pod.get("spec", {}).get("nodeName", "")
        if not node:
            raise BadRequest(f"pod {name} does not have a host assigned")
        kubelet = await asyncio.to_thread(self._kubelet, node)
        return await _tunnel(request, kubelet, path, query, name)

    async def _log(self, request: web.Request, pod: Object) -> web.StreamResponse:
        query = _log_query(pod, request.query)
        container = choose_container(pod, request.query.get("container", ""))
        node = pod.get("spec", {}).get("nodeName", "")
        if not node:
            # A pod that no node has yet has an empty log.
            return web.Response(content_type="text/plain")
        kubelet = await asyncio.to_thread(self._kubelet, node)
        path = f"/containerLogs/{_pod_path(pod)}/{quote(container)}"
        url = f"https://{kubelet.host}:{kubelet.port}{path}?{urlencode(query)}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {kubelet.token}", "Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            try:
                answer = await session.get(url, ssl=kubelet.tls)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise InternalError(f'Internal error occurred: Get "{url}": {error or type(error).__name__}') from error
            async with answer:
                if answer.status != 200:
                    text = (await answer.content.read(_ERROR_LIMIT_BYTES)).decode(errors="replace")
                    raise kubelet_error(answer.status, text, pod["metadata"]["name"])
                return await _pass_on(request, answer)

    def _kubelet(self, node_name: str) -> _Kubelet:
        node = self._lookup_node(node_name)
        if node is None:
            raise NotFound(f'nodes "{node_name}" not found', name=node_name, kind="nodes")
        status = node.get("status", {})
        port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port", 10250)
        addresses = {a["type"]: a["address"] for a in reversed(status.get("addresses", ()))}
        for kind in ("InternalIP", "Hostname", "ExternalIP"):
            if kind in addresses:
                return _Kubelet(addresses[kind], int(port), *self._secrets())
        raise InternalError(f"Internal error occurred: no preferred addresses found for node {node_name}")

    def _secrets(self) -> tuple[str, ssl.SSLContext]:
        try:
            token = (self._credentials / "token").read_text().strip()
            changed_s = (self._credentials / "tls.crt").stat().st_mtime
            if self._tls is None or self._tls[0] != changed_s:
                self._tls = (changed_s, client_context(self._credentials))
        except OSError as error:
            message = f"the node agent's credentials cannot be read at {self._credentials}: {error.strerror}"
            raise ServiceUnavailable(message) from error
        return token, self._tls[1]


def choose_container(pod: Object, wanted: str) -> str:
    """The container that a request means. Raises BadRequest."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    regular, init, ephemeral = (
        [c["name"] for c in spec.get(field) or ()] for field in ("containers", "initContainers", "ephemeralContainers")
    )
    if wanted:
        if wanted not in (*regular, *init, *ephemeral):
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(regular) == 1:
        return str(regular[0])
    message = f"a container name must be specified for pod {name}"
    if regular:
        message += f", choose one of: [{' '.join(regular)}]"
        if init:
            message += f" or one of the init containers: [{' '.join(init)}]"
        if ephemeral:
            message += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise BadRequest(message)


def kubelet_error(code: int, text: str, name: str) -> ApiError:
    """A kubelet's plain answer as the API server gives it."""
    if code == 400:
        return BadRequest(text)
    if code == 500:
        return InternalError(f"Internal error occurred: {text}")
    if code == 404:
        return NotFound(
            f"the server could not find the requested resource ( pods/log {name})", name=name, kind="pods/log"
        )
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": text, "code": code}
    return from_status(status)


async def _pass_on(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain", "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
    return response


async def _tunnel(
    request: web.Request, kubelet: _Kubelet, path: str, query: list[tuple[str, str]], name: str
) -> web.StreamResponse:
    where = f"https://{kubelet.host}:{kubelet.port}{path}"
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(kubelet.host, kubelet.port, ssl=kubelet.tls)
    except (OSError, TimeoutError) as error:
        raise InternalError(f"Internal error occurred: error dialing {where}: {error or 'timeout'}") from error
    try:
        writer.write(_request_head(request, kubelet, path, query))
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise InternalError(f"Internal error occurred: {where} gave no answer: {error}") from error
        code = int(head.split(b" ", 2)[1])
        if code != 101:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    body = await reader.read(_ERROR_LIMIT_BYTES)
            raise _refused(code, head, body, name)
        async with hijack(request) as (from_client, to_client):
            to_client.write(head)
            await asyncio.gather(copy(from_client, writer), copy(reader, to_client))
    finally:
        writer.close()
    return Hijacked()


def _request_head(request: web.Request, kubelet: _Kubelet, path: str, query: list[tuple[str, str]]) -> bytes:
    lines = [f"{request.method} {path}?{urlencode(query)} HTTP/1.1", f"Host: {kubelet.host}:{kubelet.port}"]
    lines.append(f"Authorization: Bearer {kubelet.token}")
    for header, value in request.headers.items():
        if header.title() in _PASSED_HEADERS or header.lower().startswith("sec-websocket-"):
            # The bearer token of a browser's WebSocket travels as a subprotocol, and is for us alone.
            if header.lower() == "sec-websocket-protocol":
                value = ", ".join(p for p in value.split(",") if "bearer.authorization" not in p).strip()
            lines.append(f"{header}: {value}")
    if request.method == "POST":
        lines.append("Content-Length: 0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _refused(code: int, head: bytes, body: bytes, name: str) -> ApiError:
    text = body.decode(errors="replace").strip()
    with contextlib.suppress(ValueError):
        status = json.loads(text)
        if isinstance(status, dict) and status.get("kind") == "Status":
            return from_status(status)
    if code == 404:
        return NotFound(text or f'pods "{name}" not found', name=name, kind="pods")
    return kubelet_error(code, text or head.split(b"\r\n", 1)[0].decode(errors="replace"), name)


def _pod_path(pod: Object) -> str:
    return f"{quote(pod['metadata']['namespace'])}/{quote(pod['metadata']['name'])}"


def _stream_query(request: web.Request) -> list[tuple[str, str]]:
    query = [("command", part) for part in request.query.getall("command", [])]
    for name, short in _STREAM_NAMES.items():
        if request.query.get(name, "").lower() in _TRUE:
            query.append((short, "1"))
    return query


def _port_query(request: web.Request) -> list[tuple[str, str]]:
    return [("port", port) for value in request.query.getall("ports", []) for port in value.split(",")]


def _log_query(pod: Object, query: Mapping[str, str]) -> list[tuple[str, str]]:
    _validate_log_options(query)
    return [(name, query[name]) for name in _LOG_QUERY if query.get(name)]


def _validate_log_options(query: Mapping[str, str]) -> None:
    for name in ("tailLines", "limitBytes", "sinceSeconds"):
        text = query.get(name)
        if text is None:
            continue
        try:
            number = int(text)
        except ValueError:
            reason = f'strconv.ParseInt: parsing "{text}": invalid syntax'
            raise BadRequest(f"unable to decode query: {name}: {reason}") from None
        if name == "tailLines" and number < 0:
            raise _invalid_log(name, number, "must be greater than or equal to 0")
        if name != "tailLines" and number < 1:
            raise _invalid_log(name, number, "must be greater than 0")
    if query.get("sinceSeconds") and query.get("sinceTime"):
        raise _invalid_log("sinceTime", None, "at most one of `sinceTime` or `sinceSeconds` may be specified")


def _invalid_log(field: str, value: int | None, detail: str) -> ApiError:
    shown = f"Forbidden: {detail}" if value is None else f"Invalid value: {value}: {detail}"
    reason = "FieldValueForbidden" if value is None else "FieldValueInvalid"
    message = f'PodLogOptions.core "" is invalid: {field}: {shown}'
    details = {"kind": "PodLogOptions", "causes": [{"reason": reason, "message": shown, "field": field}]}
    return from_status(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "Invalid",
            "details": details,
            "code": 422,
        }
    )
