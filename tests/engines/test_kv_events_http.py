"""TensorRT-LLM's cache events, which are asked for."""

import json

import pytest

from fairlead.engines.kv_events import AllBlocksCleared, BlockRemoved, BlockStored, KvEventError
from fairlead.engines.kv_events_http import decode_answer


def block(block_hash: int, *token_ids: int) -> dict[str, object]:
    tokens = [{"type": "unique_token", "token_id": t, "token_extra_id": 0} for t in token_ids]
    return {"type": "stored_block", "block_hash": block_hash, "tokens": tokens, "cache_level": 0, "priority": 35}


def test_events_of_an_answer():
    stored = {"type": "stored", "parent_hash": 9, "blocks": [block(2**64 - 1, 1, 2), block(11, 3, 4)]}
    answer = [
        {"event_id": 0, "data": {"type": "created", "num_blocks_per_cache_level": [100, 0]}, "window_size": 2048},
        {"event_id": 1, "data": stored, "attention_dp_rank": 1},
        {"event_id": 2, "data": {"type": "removed", "block_hashes": [11]}},
        {"event_id": 3, "data": {"type": "updated", "block_hash": 5, "priority": {"old_value": 1, "new_value": 2}}},
    ]
    created, two, removed, updated = decode_answer(json.dumps(answer).encode())
    assert created.events == (AllBlocksCleared(),)
    assert two.data_parallel_rank == 1
    assert two.events == (BlockStored((2**64 - 1,), 9, (1, 2), 2), BlockStored((11,), 2**64 - 1, (3, 4), 2))
    assert removed.events == (BlockRemoved((11,)),)
    assert (updated.event_id, updated.events) == (3, ())


@pytest.mark.parametrize("body", [b"", b"{}", b'[{"event_id": "x"}]', b'[{"event_id": 1, "data": {"type": 3}}]'])
def test_other_answers_are_refused(body):
    with pytest.raises(KvEventError, match="kv_cache_events"):
        decode_answer(body)
