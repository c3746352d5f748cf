"""Cache events of TensorRT-LLM, which are asked for: `POST /kv_cache_events` answers with those since last time.

The answer is a JSON list of events with a growing `event_id`. They become the events that other engines publish:
`stored` blocks follow one another from `parent_hash` on, `removed` blocks leave, `created` (the engine's start) empties
the cache. Events about another tier or priority of a block it already has (`updated`) change nothing here.

Protocol: TensorRT-LLM 1.x (`kv_cache_config.event_buffer_max_size` above 0 turns it on; `attention_dp_rank` with
attention data parallelism).
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.engines.calls import HttpCall
from fairlead.engines.kv_events import AllBlocksCleared, BlockRemoved, BlockStored, KvEvent, KvEventError

POLL = HttpCall("POST", "/kv_cache_events")


class _Token(msgspec.Struct):
    token_id: int


class _Block(msgspec.Struct):
    block_hash: int
    tokens: list[_Token]
    cache_level: int | None = None


class _Data(msgspec.Struct):
    type: str
    parent_hash: int | None = None
    blocks: list[_Block] = []
    block_hashes: list[int] = []


class _Event(msgspec.Struct):
    event_id: int
    data: _Data
    attention_dp_rank: int | None = None


class HttpKvEvent(msgspec.Struct, frozen=True):
    """An event with its number, which tells of lost ones, and the rank whose cache it is about."""

    event_id: int
    events: tuple[KvEvent, ...]
    """Several where blocks of different lengths were stored at once, none where nothing changed."""
    data_parallel_rank: int | None = None


def decode_answer(body: bytes) -> list[HttpKvEvent]:
    """The events of an answer, in order. Raises KvEventError."""
    try:
        decoded: list[_Event] = _DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise KvEventError(f"no answer of /kv_cache_events: {error}") from error
    return [HttpKvEvent(e.event_id, _events(e.data), e.attention_dp_rank) for e in decoded]


_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[_Event])


def _events(data: _Data) -> tuple[KvEvent, ...]:
    if data.type == "created":
        return (AllBlocksCleared(),)
    if data.type == "removed":
        return (BlockRemoved(tuple(data.block_hashes)),)
    if data.type == "stored":
        return tuple(_stored(data))
    return ()


def _stored(data: _Data) -> list[KvEvent]:
    stored: list[KvEvent] = []
    parent = data.parent_hash
    for block in data.blocks:
        tokens = tuple(token.token_id for token in block.tokens)
        stored.append(BlockStored((block.block_hash,), parent, tokens, len(tokens)))
        parent = block.block_hash
    return stored
