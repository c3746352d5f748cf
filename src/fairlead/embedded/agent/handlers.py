"""Actions on a container from outside: HTTP, TCP, gRPC and commands, for probes and lifecycle hooks."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from yarl import URL

from fairlead.embedded.agent.pod import ContainerSpec, Grpc, HttpGet, TcpSocket

BODY_LIMIT_BYTES = 10 * 1024
Execute = Callable[[tuple[str, ...], float], Awaitable[tuple[int, str]]]
"""Run a command in the container with a timeout in seconds -> exit code and output. Raises TimeoutError."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`output` says what was seen, in a kubelet's words."""

    ok: bool
    output: str


def resolve_port(port: int | str, container: ContainerSpec) -> int:
    """A port given by number or by the name of one of the container's ports. Raises ValueError."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for declared in container.ports:
        if declared.name == port:
            return declared.container_port
    raise ValueError(f"couldn't find port: {port}")


async def http_get(
    session: aiohttp.ClientSession, action: HttpGet, container: ContainerSpec, pod_ip: str, timeout_s: float, agent: str
) -> Outcome:
    """2xx and 3xx succeed. Redirects to other hosts count as success and are not followed."""
    port = resolve_port(action.port, container)
    host = action.host or pod_ip
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    url = f"{action.scheme.lower()}://{host}:{port}{path}"
    headers = {"User-Agent": agent, "Accept": "*/*", "Connection": "close"}
    headers |= {header.name: header.value for header in action.http_headers}
    try:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with session.get(
            URL(url, encoded=True),
            headers=headers,
            timeout=timeout,
            ssl=_UNVERIFIED,
            allow_redirects=False,
        ) as response:
            body = (await response.content.read(BODY_LIMIT_BYTES)).decode(errors="replace")
    except TimeoutError:
        return Outcome(
            False,
            f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        )
    except (aiohttp.ClientError, OSError) as error:
        return Outcome(False, f'Get "{url}": {_dial_error(host, port, error)}')
    if 200 <= response.status < 400:
        return Outcome(True, body)
    return Outcome(False, f"HTTP probe failed with statuscode: {response.status}")


async def tcp_connect(action: TcpSocket, container: ContainerSpec, pod_ip: str, timeout_s: float) -> Outcome:
    port, host = resolve_port(action.port, container), action.host or pod_ip
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Outcome(False, _dial_error(host, port, error))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Outcome(True, "")


async def grpc_health(action: Grpc, pod_ip: str, timeout_s: float) -> Outcome:
    """`grpc.health.v1.Health/Check`; SERVING succeeds."""
    # grpc takes longer to import than everything else here together, and few pods use it.
    import grpc.aio
    from grpc_health.v1 import health_pb2

    address = f"{pod_ip}:{action.port}"
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=action.service or ""), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return Outcome(
                    False,
                    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
                    f"{error.details()}",
                )
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return Outcome(
                    False,
                    f'timeout: failed to connect service "{address}" within {timeout_s:g}s: context deadline exceeded',
                )
            return Outcome(False, f"error: health rpc probe failed: {error.details()}")
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return Outcome(True, "service healthy")
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return Outcome(False, f'service unhealthy (responded with "{name}")')


async def run_command(execute: Execute, command: tuple[str, ...], timeout_s: float) -> Outcome:
    try:
        code, output = await execute(command, timeout_s)
    except TimeoutError:
        return Outcome(False, f'command timed out: "{" ".join(command)}" timed out after {timeout_s:g}s')
    return Outcome(code == 0, output)


def _dial_error(host: str, port: int, error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {host}:{port}: connect: connection refused"
    return str(cause) or type(cause).__name__


_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE
