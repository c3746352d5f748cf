"""Events of an engine's KV cache: which blocks of which prompts it holds, as engines publish them over ZeroMQ.

A message is three frames: topic, sequence number (8 bytes, big-endian), msgpack payload. The payload is one batch:
time, events and data-parallel rank. Engines disagree about the shape: batch and event may each be a map (the event
tagged `type`) or an array (the tag first, then the fields in order). Both are read at both levels, fields that are not
known are passed over, and fields that an older engine lacks are None.

Protocol: vLLM 0.32 `distributed/kv_events.py` (batch array, event map), vLLM before mid 2026 and SGLang 0.4 to 0.5
`disaggregation/kv_events.py` (arrays throughout; with speculation by EAGLE each token is a pair of itself and the next,
of which the first is kept; metadata may follow where vLLM has the LoRA name). A lost message is asked for on the replay
socket, see `kv_event_stream`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

BlockHash = int | bytes
"""Identity of a block's content with everything before it: an integer, or the SHA-256 digest of newer engines."""

Form = Literal["map", "array"]


class KvEventError(ValueError):
    """Bytes that are no cache events; the message says where they stop making sense."""


class BlockStored(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Consecutive full blocks of one sequence came into the cache."""

    block_hashes: tuple[BlockHash, ...]
    parent_block_hash: BlockHash | None
    """The block before the first; None when the first starts the sequence."""
    token_ids: tuple[int, ...]
    """Tokens of all the blocks, `block_size` for each."""
    block_size: int
    """Tokens of a block."""
    lora_id: int | None = None
    medium: str | None = None
    """Where the blocks lie: GPU, CPU, STORAGE (vLLM), CPU_PINNED, DISK, EXTERNAL (SGLang); None is the accelerator."""
    lora_name: str | None = None
    extra_keys: tuple[tuple[Any, ...] | None, ...] | None = None
    """For each block what beside its tokens went into its hash: LoRA name, (multimodal identifier, offset), salt, …"""
    group_idx: int | None = None
    """Which group of layers, in models whose layers cache differently."""
    kv_cache_spec_kind: str | None = None
    kv_cache_spec_sliding_window: int | None = None
    """Window in tokens."""
    locality: str | None = None
    """LOCAL or REMOTE, seen from the publisher."""
    ownership: str | None = None
    """The offloading tier that holds the blocks."""
    session_id: str | None = None

    def __post_init__(self) -> None:
        if self.extra_keys is not None:
            msgspec.structs.force_setattr(self, "extra_keys", _hashable(self.extra_keys))


class BlockRemoved(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Blocks left the cache, or one tier of it."""

    block_hashes: tuple[BlockHash, ...]
    medium: str | None = None
    group_idx: int | None = None
    locality: str | None = None
    ownership: str | None = None


class AllBlocksCleared(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The cache is empty."""


KvEvent = BlockStored | BlockRemoved | AllBlocksCleared


class KvEventBatch(msgspec.Struct, frozen=True, gc=False):
    """What one step of one rank changed, in order."""

    ts: float
    """Wall time of the publisher, seconds since the epoch."""
    events: tuple[KvEvent, ...]
    data_parallel_rank: int | None = None
    unknown_types: tuple[str, ...] = ()
    """Tags of events in the payload that this version does not know, in order; an index may have to start anew."""


def decode_batch(payload: bytes) -> KvEventBatch:
    """The batch of a message's payload, in any of the forms. Raises KvEventError."""
    try:
        if _is_array(payload):
            array = _BATCH_ARRAY.decode(payload)
            ts, raw_events, rank = array.ts, array.events, array.data_parallel_rank
        else:
            mapping = _BATCH_MAP.decode(payload)
            ts, raw_events = mapping.ts, mapping.events
            rank = mapping.attn_dp_rank if mapping.data_parallel_rank is None else mapping.data_parallel_rank
    except _UNREADABLE as error:
        raise KvEventError(f"no batch of cache events: {error}") from error
    events: list[KvEvent] = []
    unknown: list[str] = []
    for index, raw in enumerate(raw_events):
        event = _decode_event(bytes(raw), index)
        if isinstance(event, str):
            unknown.append(event)
        else:
            events.append(event)
    return KvEventBatch(ts, tuple(events), rank, tuple(unknown))


def encode_batch(batch: KvEventBatch, form: Form = "map") -> bytes:
    """The payload that publishes a batch: events as maps (vLLM from mid 2026 on) or as arrays (before, and SGLang).

    The batch itself is an array in both, as in the engines. `unknown_types` is not published.
    """
    if form == "map":
        events = [_as_map(event) for event in batch.events]
        return _ENCODER.encode([batch.ts, events, batch.data_parallel_rank])
    arrays = [_as_array(event) for event in batch.events]
    return _ENCODER.encode([batch.ts, arrays, batch.data_parallel_rank])


class _BatchArray(msgspec.Struct, array_like=True, gc=False):
    ts: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None


class _BatchMap(msgspec.Struct, gc=False):
    ts: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None
    attn_dp_rank: int | None = None
    """SGLang's name of the rank."""


class _Tag(msgspec.Struct, gc=False):
    type: str


class _StoredArray(BlockStored, frozen=True, tag="BlockStored", array_like=True, gc=False):
    pass


class _RemovedArray(BlockRemoved, frozen=True, tag="BlockRemoved", array_like=True, gc=False):
    pass


class _ClearedArray(AllBlocksCleared, frozen=True, tag="AllBlocksCleared", array_like=True, gc=False):
    pass


_ENCODER = msgspec.msgpack.Encoder()
_BATCH_ARRAY = msgspec.msgpack.Decoder(_BatchArray)
_BATCH_MAP = msgspec.msgpack.Decoder(_BatchMap)
_EVENT_MAP = msgspec.msgpack.Decoder(KvEvent)
_ArrayEvent = _StoredArray | _RemovedArray | _ClearedArray
_EVENT_ARRAY = msgspec.msgpack.Decoder(_ArrayEvent)
_ANY_MAP = msgspec.msgpack.Decoder(dict[str, Any])
_TAG_MAP = msgspec.msgpack.Decoder(_Tag)
_TAG_ARRAY = msgspec.msgpack.Decoder(list[Any])
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises."""
_KNOWN_TYPES = ("BlockStored", "BlockRemoved", "AllBlocksCleared")


def _hashable(value: Any) -> Any:
    """Lists within as tuples: msgpack does not tell one from the other."""
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _is_array(msgpack: bytes) -> bool:
    """Whether a msgpack value is an array: fixarray, array 16 or array 32."""
    first = msgpack[0] if msgpack else 0
    return 0x90 <= first <= 0x9F or first in (0xDC, 0xDD)


def _decode_event(raw: bytes, index: int) -> KvEvent | str:
    """An event, or the tag of one that is not known."""
    is_array = _is_array(raw)
    try:
        if is_array:
            return _plain(_EVENT_ARRAY.decode(raw))
        event: KvEvent = _EVENT_MAP.decode(raw)
        return event
    except _UNREADABLE as error:
        tag = _unknown_tag(raw)
        if tag is not None:
            return tag
        try:
            return _mended_array(raw) if is_array else _mended_map(raw)
        except (*_UNREADABLE, LookupError, TypeError, ValueError):
            raise KvEventError(f"event {index} of the batch is malformed: {error}") from error


# Fields of arrays that all engines agree on; after them each has its own.
_AGREED = {"BlockStored": 6, "BlockRemoved": 2, "AllBlocksCleared": 0}


def _mended_array(raw: bytes) -> KvEvent:
    """An event from the fields that engines agree on. Raises what decoding does, LookupError, TypeError, ValueError."""
    tag, *fields = _TAG_ARRAY.decode(raw)
    fields = fields[: _AGREED[tag]]
    if tag == "BlockStored":
        fields[2] = _single_tokens(fields[2])
    return _plain(msgspec.convert([tag, *fields], _ArrayEvent))


def _mended_map(raw: bytes) -> KvEvent:
    """An event whose tokens are pairs. Raises what decoding does, LookupError, TypeError, ValueError."""
    fields = _ANY_MAP.decode(raw)
    fields["token_ids"] = _single_tokens(fields["token_ids"])
    event: KvEvent = msgspec.convert(fields, KvEvent)
    return event


def _single_tokens(token_ids: list[Any]) -> list[Any]:
    return [token[0] if isinstance(token, list) else token for token in token_ids]


def _plain(event: _ArrayEvent) -> KvEvent:
    fields = msgspec.structs.astuple(event)
    if isinstance(event, _StoredArray):
        return BlockStored(*fields)
    if isinstance(event, _RemovedArray):
        return BlockRemoved(*fields)
    return AllBlocksCleared()


def _unknown_tag(raw: bytes) -> str | None:
    """The tag of an event that is well-formed and not of the known types, else None."""
    try:
        tag: Any = next(iter(_TAG_ARRAY.decode(raw)), None) if _is_array(raw) else _TAG_MAP.decode(raw).type
    except _UNREADABLE:
        return None
    return tag if isinstance(tag, str) and tag not in _KNOWN_TYPES else None


# Fields that the engines' own structs declare without a default, so that their readers insist on them.
_ALWAYS = frozenset(("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name"))


def _as_map(event: KvEvent) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": type(event).__name__}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if value is not None or name in _ALWAYS:
            fields[name] = value
    return fields


def _as_array(event: KvEvent) -> Sequence[Any]:
    return (type(event).__name__, *msgspec.structs.astuple(event))
