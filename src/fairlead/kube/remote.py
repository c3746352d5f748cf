"""Commands and ports inside pods, over the WebSocket channel protocol (`v5.channel.k8s.io`, `v4.channel.k8s.io`).

Each message begins with a channel number: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 terminal size, and in
version 5 also 255, which closes the channel that follows it. Port forwarding has two channels per port, data and error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from fairlead.kube.client import Client
from fairlead.kube.errors import from_status
from fairlead.kube.kinds import PODS

_STDIN, STDOUT, STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_PORT_FORWARD_PROTOCOLS: Final = ("v2.portforward.k8s.io", "portforward.k8s.io", "v4.channel.k8s.io")


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended, with everything that it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class RemoteProcess:
    """A process in a container, while it runs. Iterate over `output()`; then `exit_code` is known."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.exit_code: int | None = None

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Pairs of channel (STDOUT or STDERR) and bytes, until the process ends.

        Raises an ApiError when the command could not be run, as when it does not exist.
        """
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == _ERROR:
                self.exit_code = _exit_code(msgspec.json.decode(data))
            elif channel in (STDOUT, STDERR) and data:
                yield channel, data

    async def send(self, data: bytes) -> None:
        """Write to the process's standard input."""
        await self._socket.send_bytes(bytes([_STDIN]) + data)

    async def close_stdin(self) -> None:
        """End the standard input. Version 4 of the protocol cannot say this: there the process reads on."""
        if self._socket.protocol == _PROTOCOLS[0]:
            await self._socket.send_bytes(bytes([_CLOSE, _STDIN]))

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size in characters."""
        await self._socket.send_bytes(bytes([_RESIZE]) + msgspec.json.encode({"Width": width, "Height": height}))


@asynccontextmanager
async def execute(
    client: Client,
    namespace: str,
    name: str,
    command: Sequence[str],
    *,
    container: str | None = None,
    stdin: bool = False,
    tty: bool = False,
) -> AsyncIterator[RemoteProcess]:
    """Start a command in a running container."""
    params = [("command", part) for part in command]
    params += [("container", container)] if container else []
    params += [("stdout", "true"), ("stderr", "false" if tty else "true")]
    params += [("stdin", "true")] if stdin else []
    params += [("tty", "true")] if tty else []
    socket = await client.transport.websocket(PODS.path(namespace, name, "exec"), params, _PROTOCOLS)
    async with socket:
        yield RemoteProcess(socket)


async def run(
    client: Client,
    namespace: str,
    name: str,
    command: Sequence[str],
    *,
    container: str | None = None,
    stdin: bytes | None = None,
    timeout_s: float = 60.0,
) -> Completed:
    """Run a command in a container to its end. Raises TimeoutError when that takes longer than `timeout_s`."""
    written: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
    async with (
        asyncio.timeout(timeout_s),
        execute(client, namespace, name, command, container=container, stdin=stdin is not None) as process,
    ):
        if stdin is not None:
            await process.send(stdin)
            await process.close_stdin()
        async for channel, data in process.output():
            written[channel].append(data)
    code = -1 if process.exit_code is None else process.exit_code
    return Completed(code, b"".join(written[STDOUT]), b"".join(written[STDERR]))


class PortStream:
    """A connection to a port inside a pod."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        # Channels whose first message, the port number, has been read.
        self._opened: set[int] = set()

    async def send(self, data: bytes) -> None:
        await self._socket.send_bytes(b"\x00" + data)

    async def receive(self) -> AsyncIterator[bytes]:
        """The bytes from the port until it closes. Raises ConnectionError with the node's words when it refuses."""
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in self._opened:
                self._opened.add(channel)
                data = data[2:]
            if not data:
                continue
            if channel == 1:
                raise ConnectionError(data.decode(errors="replace"))
            yield data


@asynccontextmanager
async def connect(client: Client, namespace: str, name: str, port: int) -> AsyncIterator[PortStream]:
    """Open a connection to a port of a pod through the API server."""
    path = PODS.path(namespace, name, "portforward")
    socket = await client.transport.websocket(path, [("ports", str(port))], _PORT_FORWARD_PROTOCOLS)
    async with socket:
        yield PortStream(socket)


def _exit_code(status: Mapping[str, Any]) -> int:
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause.get("message", "1"))
    raise from_status({"code": 500, **status})
