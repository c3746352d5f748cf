"""Calling a coordinator from another pod: as a worker, again and again until it is there, or to ask for the end."""

from __future__ import annotations

import asyncio
import os

from fairlead.bench.cluster.greeting import GREET_WITHIN_S, STOP, WORKER, greet, keep_alive
from fairlead.clock import SYSTEM

TOKEN, WITHIN, NUMBER = "FAIRLEAD_BENCH_TOKEN", "FAIRLEAD_BENCH_START_S", "FAIRLEAD_BENCH_WORKER"
"""Variables of a worker that calls: the token of its run, how long to try, and its number."""
RETRY_S, RETRY_MOST_S = 0.1, 2.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NobodyThere(ConnectionError):
    """The coordinator was not reached in time; says what the last attempt said."""


async def call(host: str, port: int) -> Streams:
    """As the worker that the environment says. Raises NobodyThere, and KeyError without a token."""
    token, number = os.environ[TOKEN].encode(), int(os.environ.get(NUMBER, "0"))
    within_s = float(os.environ.get(WITHIN, "600"))
    until_s = SYSTEM.monotonic_s() + within_s
    wait_s, last = RETRY_S, ""
    while SYSTEM.monotonic_s() < until_s:
        try:
            return await _greeted(host, port, token, WORKER, number)
        except (OSError, TimeoutError) as error:
            last = str(error) or type(error).__name__
        await asyncio.sleep(wait_s)
        wait_s = min(RETRY_MOST_S, wait_s * 1.5)
    raise NobodyThere(f"{host}:{port} was not reached within {within_s:g} s: {last}")


async def ask_to_stop(host: str, port: int, token: bytes) -> None:
    """Ask a coordinator to end its run early, and to report. Raises OSError and TimeoutError."""
    reader, writer = await _greeted(host, port, token, STOP, 0)
    try:
        async with asyncio.timeout(GREET_WITHIN_S):
            await reader.read(1)
    finally:
        writer.close()


async def _greeted(host: str, port: int, token: bytes, role: bytes, number: int) -> Streams:
    async with asyncio.timeout(GREET_WITHIN_S):
        reader, writer = await asyncio.open_connection(host, port, limit=2**20)
    try:
        keep_alive(writer)
        await greet(reader, writer, token, role, number)
    except BaseException:
        writer.close()
        raise
    return reader, writer
