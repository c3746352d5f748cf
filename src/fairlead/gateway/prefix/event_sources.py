"""Where an engine publishes its cache events, by its own word: `GET /kv_event_sources`.

The answer has an entry for each data-parallel rank with the engine's settings of publishing (vLLM 0.32, the simulated
engine). Engines without that page publish where they were told to; without such a word, on port 5557.
"""

from __future__ import annotations

from typing import NamedTuple

import aiohttp
import msgspec

MAX_ANSWER_BYTES = 1024 * 1024
MAX_RANKS = 512
"""Data-parallel ranks of one engine. Each costs a socket, and an engine must not take all there are."""
_WILDCARDS = ("*", "0.0.0.0", "[::]", "::")


class EventSource(NamedTuple):
    """Sockets of the first rank, to connect to, and how many ranks there are; see `KvEventSubscriber.follow`."""

    endpoint: str
    replay_endpoint: str | None
    ranks: int


class EventSourceError(ValueError):
    """An answer that is no list of sources; the message says what is wrong with it."""


class _Config(msgspec.Struct):
    endpoint: str = "tcp://*:5557"
    replay_endpoint: str | None = None
    enable_kv_cache_events: bool = True
    publisher: str | None = "zmq"


def source_of(address: str, answer: bytes) -> EventSource | None:
    """The source in an engine's answer, None where it publishes nothing or to somebody it connects to.

    `address` (`host:port`) stands for the wildcards at which the engine listens. Raises EventSourceError.
    """
    try:
        configs = msgspec.json.decode(answer, type=dict[int, _Config])
    except msgspec.MsgspecError as error:
        raise EventSourceError(f"/kv_event_sources of {address}: {error}") from error
    ranks = {rank: c for rank, c in configs.items() if c.enable_kv_cache_events and c.publisher == "zmq"}
    if not ranks:
        return None
    if len(ranks) > MAX_RANKS:
        raise EventSourceError(f"/kv_event_sources of {address}: {len(ranks)} ranks, at most {MAX_RANKS} are followed")
    if sorted(ranks) != list(range(len(ranks))):
        raise EventSourceError(f"/kv_event_sources of {address}: ranks are {sorted(ranks)}, not from 0 on")
    endpoint = _reachable(ranks[0].endpoint, address)
    if endpoint is None:
        return None
    replay = ranks[0].replay_endpoint
    return EventSource(endpoint, _reachable(replay, address) if replay else None, len(ranks))


async def ask_source(session: aiohttp.ClientSession, address: str, timeout_s: float = 2.0) -> EventSource | None:
    """Ask an engine; None where it has no such page or publishes nothing. Raises OSError, EventSourceError."""
    try:
        async with session.get(
            f"http://{address}/kv_event_sources",
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                return None
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise EventSourceError(f"/kv_event_sources of {address}: over {MAX_ANSWER_BYTES} bytes")
    except TimeoutError as error:
        raise OSError(f"{address} does not answer /kv_event_sources within {timeout_s:g} s") from error
    except aiohttp.ClientError as error:
        raise OSError(f"{address} does not answer /kv_event_sources: {error}") from error
    return source_of(address, bytes(answer))


def _reachable(endpoint: str, address: str) -> str | None:
    """An endpoint to connect to for one that the engine binds; None for one that it connects to itself."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        return endpoint
    host, _, port = rest.rpartition(":")
    if scheme != "tcp" or host not in _WILDCARDS:
        return None
    return f"tcp://{address.rpartition(':')[0]}:{port}"
