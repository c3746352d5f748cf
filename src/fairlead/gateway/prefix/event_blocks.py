"""What is in the blocks of stored events: content hashes to compare with those of a prompt's, and their space."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_64_intdigest

from fairlead.engines.kv_events import BlockStored
from fairlead.gateway.prefix.blocks import row_hashes, space_of


@dataclass(slots=True)
class EventCounts:
    """What came and what could not be used; counters since the start."""

    stored_blocks: int = 0
    removed_blocks: int = 0
    clears: int = 0
    ignored_blocks: int = 0
    """Without tokens, with tokens that do not fit their blocks, or of a group that does not decide."""
    malformed_events: int = 0
    waited_blocks: int = 0
    """Came before their parent."""
    dropped_blocks: int = 0
    """Beyond a bound of memory."""


def contents_of_events(stored: Sequence[BlockStored], counts: EventCounts) -> list[list[int] | None]:
    """Content hashes of the blocks of each event, None where its tokens are missing or do not fit.

    Events of one batch have few blocks each and mostly one block size: they are hashed together.
    """
    sizes = {event.block_size for event in stored}
    if len(sizes) == 1 and all(_fits(event) for event in stored):
        (size,) = sizes
        tokens = array("I")
        try:
            for event in stored:
                tokens.extend(event.token_ids)
        except (OverflowError, TypeError):
            return [_contents_of(event, counts) for event in stored]
        hashes: list[int] = row_hashes(memoryview(tokens).cast("B"), len(tokens) // size, 4 * size).tolist()
        parts: list[list[int] | None] = []
        at = 0
        for event in stored:
            count = len(event.block_hashes)
            parts.append(_with_extra(event, hashes[at : at + count]))
            at += count
        return parts
    return [_contents_of(event, counts) for event in stored]


def _contents_of(event: BlockStored, counts: EventCounts) -> list[int] | None:
    if not _fits(event):
        return None
    try:
        tokens = array("I", event.token_ids)
    except (OverflowError, TypeError):
        counts.malformed_events += 1
        return None
    size = 4 * event.block_size
    return _with_extra(event, row_hashes(memoryview(tokens).cast("B"), len(event.block_hashes), size).tolist())


def _fits(event: BlockStored) -> bool:
    return 0 < event.block_size * len(event.block_hashes) == len(event.token_ids)


def _with_extra(event: BlockStored, contents: list[int]) -> list[int]:
    """Content hashes into which content that is not tokens has gone."""
    extra = event.extra_keys
    if extra is None or not any(extra):
        return contents
    for index, keys in enumerate(extra[: len(contents)]):
        foreign = [key for key in keys or () if _is_foreign(key, event, index)]
        if foreign:
            contents[index] ^= xxh3_64_intdigest(repr(foreign).encode()) or 1
    return contents


def _is_foreign(key: Any, event: BlockStored, index: int) -> bool:
    """Whether a key stands for content: neither the adapter nor the salt, which the space has already."""
    if isinstance(key, tuple) and key:
        return key[0] not in ("lora", "cache_salt")
    if key in (event.lora_name, event.lora_id):
        return False
    return bool(event.parent_block_hash is not None or index) or not isinstance(key, str)


def space_of_event(event: BlockStored) -> int:
    """Space of a first block: its adapter, by name or else by number, and its salt."""
    adapter = event.lora_name or ("" if event.lora_id is None else f"\0lora {event.lora_id}")
    salt = ""
    for key in (event.extra_keys[0] if event.extra_keys else None) or ():
        if isinstance(key, tuple) and len(key) == 2 and key[0] == "cache_salt":
            salt = str(key[1])
        elif isinstance(key, str) and key != event.lora_name:
            salt = key  # older vLLM: salt, or an image in the first block, which then shares with nothing either
    return space_of(adapter, salt)
