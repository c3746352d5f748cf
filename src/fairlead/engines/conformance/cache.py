"""The KV cache: that a repeated prompt hits it, and that its events say what it holds."""

from __future__ import annotations

import asyncio
import itertools

import zmq
import zmq.asyncio

from fairlead.engines.conformance.outcome import NotSupported, expect
from fairlead.engines.conformance.target import Target
from fairlead.engines.kv_event_stream import read_message
from fairlead.engines.kv_events import BlockStored, KvEventError, decode_batch

_WORDS = 80
_ATTEMPTS = 4
_SETTLE_S = 1.0


async def prefix_hits(target: Target) -> str:
    """The second of two equal prompts finds whole blocks of the first."""
    before = await target.signals()
    if before.prefix_cache_hit_tokens_total is None or before.prefix_cache_queried_tokens_total is None:
        raise NotSupported("its metrics have no prefix-cache counters")
    prompt_tokens = await _complete(target, "prefix")
    first = await target.until(
        lambda now: (now.prefix_cache_queried_tokens_total or 0) > (before.prefix_cache_queried_tokens_total or 0),
        "queried tokens did not grow",
    )
    await _complete(target, "prefix")
    expected = _whole_blocks(prompt_tokens - 1, before.kv_block_tokens)
    after = await target.until(
        lambda now: _hits(now) - _hits(first) >= max(1, expected),
        f"hit tokens did not grow by {expected} of the prompt's {prompt_tokens}",
    )
    grew = _hits(after) - _hits(first)
    expect(grew <= prompt_tokens, f"{grew:g} hit tokens for a prompt of {prompt_tokens}")
    return f"{grew:g} of {prompt_tokens} prompt tokens were hits"


async def events(target: Target) -> str:
    """Blocks of a new prompt are published as stored, numbered without gaps, in blocks as long as the metrics say."""
    if target.engine.kv_events != "zmq":
        raise NotSupported("it publishes no cache events over ZeroMQ")
    if not target.kv_endpoint:
        raise NotSupported("no endpoint of its cache events was given")
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(target.kv_endpoint)
        return await _stored_blocks(target, socket)
    finally:
        socket.close(0)
        context.term()


async def _stored_blocks(target: Target, socket: zmq.asyncio.Socket) -> str:
    block_tokens = (await target.signals()).kv_block_tokens
    for attempt in range(_ATTEMPTS):
        # A subscription takes effect some time after it is made: what came before is not heard.
        prompt_tokens = await _complete(target, f"events-{attempt}")
        sequences, stored = await _received(target, socket)
        if stored:
            break
    else:
        expect(False, f"nothing was published for {_ATTEMPTS} new prompts")
    gaps = [s for before, s in itertools.pairwise(sequences) if s != before + 1]
    expect(not gaps, f"sequence numbers are not consecutive: {sequences}")
    for event in stored:
        tokens, blocks = len(event.token_ids), len(event.block_hashes)
        expect(tokens == blocks * event.block_size, f"{tokens} tokens in {blocks} blocks of {event.block_size}")
        if block_tokens is not None:
            expect(event.block_size == block_tokens, f"blocks of {event.block_size}, metrics say {block_tokens}")
    total = sum(len(event.token_ids) for event in stored)
    expected = _whole_blocks(prompt_tokens, stored[0].block_size)
    expect(total >= expected, f"{total} tokens were stored for a prompt with {expected} in whole blocks")
    first = await target.signals()
    await _complete(target, f"events-{attempt}")
    if first.prefix_cache_hit_tokens_total is not None:
        after = await target.until(lambda now: _hits(now) > _hits(first), "hit tokens did not grow")
        grew = _hits(after) - _hits(first)
        expect(grew <= total, f"{grew:g} tokens were hit, {total} published as stored")
    return f"{total} tokens in {sum(len(e.block_hashes) for e in stored)} blocks, messages {sequences}"


async def _received(target: Target, socket: zmq.asyncio.Socket) -> tuple[list[int], list[BlockStored]]:
    """Sequence numbers and stored events of what arrives until nothing more does."""
    sequences: list[int] = []
    stored: list[BlockStored] = []
    while True:
        try:
            async with asyncio.timeout(_SETTLE_S):
                frames = await socket.recv_multipart()
        except TimeoutError:
            return sequences, stored
        try:
            message = read_message(frames)
            batch = decode_batch(message.payload)
        except KvEventError as error:
            expect(False, str(error))
            raise
        expect(not batch.unknown_types, f"events of unknown types: {batch.unknown_types}")
        sequences.append(message.sequence)
        stored.extend(event for event in batch.events if isinstance(event, BlockStored))


async def _complete(target: Target, purpose: str) -> int:
    """Send a long prompt; returns its tokens."""
    reply = await target.post("/v1/completions", target.completion(target.prompt(purpose, _WORDS), 1))
    expect(reply.status == 200, f"POST /v1/completions: HTTP {reply.status}: {reply.body[:200]!r}")
    return int((reply.json().get("usage") or {}).get("prompt_tokens", 0))


def _whole_blocks(tokens: int, block_tokens: int | None) -> int:
    return tokens // block_tokens * block_tokens if block_tokens else 0


def _hits(signals: object) -> float:
    return getattr(signals, "prefix_cache_hit_tokens_total", None) or 0.0
