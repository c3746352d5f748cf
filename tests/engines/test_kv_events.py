"""Cache events: every form that engines publish, and nothing else."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines.kv_event_stream import (
    REPLAY_END,
    KvMessage,
    KvTopic,
    message_frames,
    parse_topic,
    rank_endpoint,
    read_message,
    read_replay,
    sequence_bytes,
)
from fairlead.engines.kv_events import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KvEventBatch,
    KvEventError,
    decode_batch,
    encode_batch,
)

# msgspec.msgpack.encode of vllm.distributed.kv_events.KVEventBatch, vLLM 0.32.0:
#   KVEventBatch(ts=1700000000.25, data_parallel_rank=1, events=[
#     BlockStored(block_hashes=[b"\1" * 32, 7], parent_block_hash=None, token_ids=[0, 1, 2, 3], block_size=2,
#                 lora_id=None, medium="GPU", lora_name="style", extra_keys=[("style", ("mm1", 3), "salt"), None],
#                 group_idx=0, kv_cache_spec_kind="full_attention"),
#     BlockRemoved(block_hashes=[b"\2" * 32], medium="GPU"), AllBlocksCleared()])
VLLM_0_32 = (
    b"\x93\xcbA\xd9T\xfc@\x10\x00\x00\x93\x8b\xa4type\xabBlockStored\xacblock_hashes\x92\xc4 "
    + b"\x01" * 32
    + b"\x07\xb1parent_block_hash\xc0\xa9token_ids\x94\x00\x01\x02\x03\xaablock_size\x02\xa7lora_id\xc0"
    b"\xa6medium\xa3GPU\xa9lora_name\xa5style\xaaextra_keys\x92\x93\xa5style\x92\xa3mm1\x03\xa4salt\xc0"
    b"\xa9group_idx\x00\xb2kv_cache_spec_kind\xaefull_attention\x83\xa4type\xacBlockRemoved\xacblock_hashes\x91\xc4 "
    + b"\x02" * 32
    + b"\xa6medium\xa3GPU\x81\xa4type\xb0AllBlocksCleared\x01"
)
VLLM_0_32_BATCH = KvEventBatch(
    ts=1700000000.25,
    events=(
        BlockStored(
            block_hashes=(b"\1" * 32, 7),
            parent_block_hash=None,
            token_ids=(0, 1, 2, 3),
            block_size=2,
            medium="GPU",
            lora_name="style",
            extra_keys=(("style", ("mm1", 3), "salt"), None),
            group_idx=0,
            kv_cache_spec_kind="full_attention",
        ),
        BlockRemoved(block_hashes=(b"\2" * 32,), medium="GPU"),
        AllBlocksCleared(),
    ),
    data_parallel_rank=1,
)

hashes = st.integers(-(2**63), 2**64 - 1) | st.binary(min_size=32, max_size=32)
small = st.integers(0, 2**31 - 1)
words = st.text(max_size=8)
key_parts = words | small | st.binary(max_size=8) | st.tuples(words, small)
stored = st.builds(
    BlockStored,
    block_hashes=st.lists(hashes, max_size=3).map(tuple),
    parent_block_hash=st.none() | hashes,
    token_ids=st.lists(small, max_size=8).map(tuple),
    block_size=st.integers(1, 128),
    lora_id=st.none() | small,
    medium=st.none() | words,
    lora_name=st.none() | words,
    extra_keys=st.none() | st.lists(st.none() | st.lists(key_parts, max_size=3).map(tuple), max_size=3).map(tuple),
    group_idx=st.none() | small,
    kv_cache_spec_kind=st.none() | words,
    kv_cache_spec_sliding_window=st.none() | small,
    locality=st.none() | words,
    ownership=st.none() | words,
    session_id=st.none() | words,
)
removed = st.builds(
    BlockRemoved,
    block_hashes=st.lists(hashes, max_size=3).map(tuple),
    medium=st.none() | words,
    group_idx=st.none() | small,
    locality=st.none() | words,
    ownership=st.none() | words,
)
batches = st.builds(
    KvEventBatch,
    ts=st.floats(allow_nan=False),
    events=st.lists(stored | removed | st.just(AllBlocksCleared()), max_size=4).map(tuple),
    data_parallel_rank=st.none() | small,
    unknown_types=st.just(()),
)


@given(batches, st.sampled_from(["map", "array"]))
def test_what_is_encoded_is_decoded(batch, form):
    assert decode_batch(encode_batch(batch, form)) == batch


def test_payload_of_the_real_vllm_in_both_directions():
    assert decode_batch(VLLM_0_32) == VLLM_0_32_BATCH
    assert encode_batch(VLLM_0_32_BATCH) == VLLM_0_32


def test_short_arrays_of_older_engines():
    payload = msgspec.msgpack.encode([1.5, [["BlockStored", [-5], 9, [1, 2], 2, None], ["BlockRemoved", [-5]]]])
    batch = decode_batch(payload)
    assert batch.data_parallel_rank is None
    assert batch.events == (BlockStored((-5,), 9, (1, 2), 2), BlockRemoved((-5,)))


@pytest.mark.parametrize("rank_name", ["data_parallel_rank", "attn_dp_rank"])
def test_a_batch_may_be_a_map(rank_name):
    events = [{"type": "AllBlocksCleared"}, ["AllBlocksCleared"]]
    batch = decode_batch(msgspec.msgpack.encode({"ts": 1.0, "events": events, rank_name: 3, "later": {"x": 1}}))
    assert batch == KvEventBatch(1.0, (AllBlocksCleared(), AllBlocksCleared()), 3)


def test_fields_and_events_that_are_not_known_are_passed_over():
    removed_fields = ["BlockRemoved", [1], "GPU", None, None, None, "later", 5]
    removed_map = {"type": "BlockRemoved", "block_hashes": [1], "medium": "GPU", "later": [1, {"a": 2}]}
    events = [removed_fields, {"type": "BlockMoved", "x": 1}, removed_map, ["BlockPinned", 4]]
    batch = decode_batch(msgspec.msgpack.encode([1.0, events, 0, "later"]))
    assert batch.events == (BlockRemoved((1,), "GPU"),) * 2
    assert batch.unknown_types == ("BlockMoved", "BlockPinned")


def test_sglangs_pairs_of_tokens_and_metadata():
    array = ["BlockStored", [1, 2], None, [[7, 8], [8, 9]], 1, None, "CPU_PINNED", {"cache_salt": "x"}]
    mapping = {
        "type": "BlockStored",
        "block_hashes": [3],
        "parent_block_hash": 2,
        "token_ids": [[9, 10]],
        "block_size": 1,
    }
    batch = decode_batch(msgspec.msgpack.encode([1.0, [array, mapping], 0]))
    assert batch.events == (
        BlockStored((1, 2), None, (7, 8), 1, medium="CPU_PINNED"),
        BlockStored((3,), 2, (9,), 1),
    )


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "no batch"),
        (b"\xc1", "no batch"),
        (VLLM_0_32[:-30], "no batch"),
        (msgspec.msgpack.encode([1.0]), "no batch"),
        (msgspec.msgpack.encode({"ts": "now", "events": []}), "no batch"),
        (msgspec.msgpack.encode([1.0, [["BlockRemoved", [1.5]]]]), "event 0 of the batch is malformed"),
        (msgspec.msgpack.encode([1.0, [{"type": "BlockRemoved"}]]), "block_hashes"),
        (msgspec.msgpack.encode([1.0, [["BlockStored", [1]]]]), "event 0 of the batch is malformed"),
        (msgspec.msgpack.encode([1.0, [["BlockStored", [1], None, [[]], 1]]]), "event 0 of the batch is malformed"),
        (msgspec.msgpack.encode([1.0, [[]]]), "event 0 of the batch is malformed"),
        (msgspec.msgpack.encode([1.0, [[["x"]]]]), "event 0 of the batch is malformed"),
        (msgspec.msgpack.encode([1.0, [["AllBlocksCleared"], 7]]), "event 1 of the batch is malformed"),
    ],
)
def test_malformed_payloads_say_where(payload, message):
    with pytest.raises(KvEventError, match=message):
        decode_batch(payload)


@given(st.recursive(st.none() | st.integers(0, 9) | st.text(max_size=3), lambda x: st.lists(x, max_size=4)))
def test_any_event_is_one_or_an_error(event):
    with contextlib.suppress(KvEventError):
        decode_batch(msgspec.msgpack.encode([1.0, [event, ["BlockStored", event], ["BlockRemoved", event]]]))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_batch_or_an_error(payload):
    with contextlib.suppress(KvEventError):
        assert isinstance(decode_batch(payload), KvEventBatch)


def test_frames_there_and_back():
    message = KvMessage("kv@10.0.0.1:8000@m", 2**40, b"payload")
    assert read_message(message_frames(message)) == message
    with pytest.raises(KvEventError, match="3 frames"):
        read_message([b"", b"x"])
    with pytest.raises(KvEventError, match="8 bytes, this one 1"):
        read_message([b"", b"x", b""])


@pytest.mark.parametrize(
    ("frames", "topic"),
    [
        ([b"", b"t", sequence_bytes(4), b"p"], "t"),
        ([b"t", sequence_bytes(4), b"p"], "t"),
        ([b"", sequence_bytes(4), b"p"], None),
        ([sequence_bytes(4), b"p"], None),
    ],
)
def test_replayed_messages_of_every_engine_and_socket(frames, topic):
    assert read_replay(frames) == KvMessage(topic, 4, b"p")


@pytest.mark.parametrize("before", [(), (b"",), (b"", b"")])
def test_the_end_of_a_replay(before):
    assert read_replay([*before, REPLAY_END, b""]) is None


def test_topics():
    assert parse_topic("kv@[::1]:8000@org/m@v2") == KvTopic("[::1]:8000", "org/m@v2")
    assert str(KvTopic("10.0.0.1:8000", "m")) == "kv@10.0.0.1:8000@m"
    for wrong in ("", "kv", "kv@a", "kv@@m", "other@a@m"):
        with pytest.raises(KvEventError, match="kv@ip:port@model"):
            parse_topic(wrong)


def test_each_rank_has_its_endpoint():
    assert rank_endpoint("tcp://*:5557", 0) == "tcp://*:5557"
    assert rank_endpoint("tcp://*:5557", 3) == "tcp://*:5560"
    assert rank_endpoint("tcp://*:0", 3) == "tcp://*:0"
    assert rank_endpoint("inproc://kv", 2) == "inproc://kv_dp2"
    with pytest.raises(ValueError, match="take tcp://host:port"):
        rank_endpoint("ipc:///tmp/x", 1)


def test_text_that_is_not_unicode_and_endless_nesting_are_no_events():
    stored = msgspec.msgpack.encode([1.0, [["BlockStored", [1], None, [1, 2], 2, None, "GPU"]], 0])
    for broken in (
        stored.replace(b"GPU", b"\xffPU"),
        stored.replace(b"BlockStored", b"\xfflockStored"),
        b"\x93\xcb" + b"\0" * 8 + b"\x91" * 100_000,
    ):
        with pytest.raises(KvEventError):
            decode_batch(broken)
