"""Where a picker can be reached by its peers: a unix socket, or host and port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(place: str) -> Streams:
    """Open a connection to `unix:/path` or `host:port`. Raises OSError."""
    if place.startswith("unix:"):
        return await asyncio.open_unix_connection(place.removeprefix("unix:"))
    host, port = host_and_port(place)
    return await asyncio.open_connection(host, port)


async def listen(
    place: str, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> asyncio.Server:
    """Listen there. A socket file left by a process that died is replaced. Raises OSError."""
    if place.startswith("unix:"):
        remove(place)
        server = await asyncio.start_unix_server(serve, place.removeprefix("unix:"))
        _keep_private(place)
        return server
    host, port = host_and_port(place)
    return await asyncio.start_server(serve, host, port)


def host_and_port(place: str) -> tuple[str, int]:
    """Raises ValueError for what is not host:port."""
    host, _, port = place.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"peer address {place!r}: expected host:port or unix:/path")
    return host.removeprefix("[").removesuffix("]"), int(port)


def remove(place: str) -> None:
    """Remove the socket file of a picker that is no more."""
    if place.startswith("unix:"):
        Path(place.removeprefix("unix:")).unlink(missing_ok=True)


def _keep_private(place: str) -> None:
    Path(place.removeprefix("unix:")).chmod(0o600)
