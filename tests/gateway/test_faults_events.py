"""Engines whose cache events are garbage, or that say nonsense of where these are."""

from __future__ import annotations

import asyncio
import json
import os

import msgspec
import pytest
import zmq
import zmq.asyncio

from gateway.faults import ask, many, nothing_in_flight, open_files, pool, resident_mb, start
from gateway.hostile_engine import HostileEngine, plain

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefix-cache-scorer
- type: token-producer
  parameters: {modelName: tiny, vllm: {url: "http://engine"}}
- type: precise-prefix-cache-producer
schedulingProfiles:
- {name: default, plugins: [{pluginRef: prefix-cache-scorer}]}
"""

_STORED = {"type": "BlockStored", "block_hashes": [1, 2], "parent_block_hash": None, "token_ids": list(range(32)),
           "block_size": 16, "lora_id": None, "medium": "GPU", "lora_name": None}  # fmt: skip


def _batch(*events: object) -> bytes:
    return msgspec.msgpack.encode([1.0, list(events), 0])


_FRAMES = [
    [],
    [b""],
    [b"kv@"],
    [b"kv@", b"x", b"y"],
    [b"kv@", b"\xff" * 8, _batch(_STORED)],
    [b"\xff\xfe@@@", b"\0" * 8, b"\x81" * 100],
    [b"kv@a@tiny", b"\0" * 8, b"\x91" * 100_000],
    [b"kv@a@tiny", b"\0" * 8, msgspec.msgpack.encode({"ts": "x", "events": 3})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x01", _batch({**_STORED, "block_size": 0})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x02", _batch({**_STORED, "token_ids": [-1] * 32})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x03", _batch({**_STORED, "token_ids": [2**63] * 32})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x04", _batch({**_STORED, "block_size": 2**62})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x05", _batch({**_STORED, "block_hashes": list(range(200_000))})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x06", _batch({"type": "BlockRemoved", "block_hashes": ["x", None, 1.5]})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x07", _batch({"type": "Nonsense"}, 3, None, "x", [])],
    [b"kv@a@tiny", b"\0" * 7 + b"\x08", _batch({**_STORED, "parent_block_hash": 99, "lora_name": "x" * 100_000})],
    [b"kv@a@tiny", b"\0" * 7 + b"\x09", os.urandom(100_000)],
    [b"kv@a@tiny", b"\0" * 7 + b"\x0a", bytes(20_000_000)],
]


@pytest.fixture
async def garbage(stack):
    """A stack before an engine whose publisher is the test's."""
    (stack.folder / "picker.yaml").write_text(CONFIG)
    async with HostileEngine() as engine, HostileEngine() as other:
        context = zmq.asyncio.Context()
        publisher = context.socket(zmq.PUB)
        publisher.linger = 0
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        source = {"0": {"endpoint": f"tcp://*:{port}", "publisher": "zmq", "enable_kv_cache_events": True}}
        engine.others["/kv_event_sources"] = plain(json.dumps(source))
        other.others["/kv_event_sources"] = plain("{}", status="404 Not Found")
        await start(stack, pool(engine.address, other.address, config="picker.yaml"))
        yield stack, publisher
        publisher.close()
        context.term()


async def test_garbage_events_cost_little_and_no_request(garbage):
    stack, publisher = garbage
    await asyncio.sleep(0.5)
    before_mb = resident_mb(stack.picker)
    async with many() as session:
        for _ in range(3):
            for frames in _FRAMES:
                if frames:
                    await publisher.send_multipart(frames)
            # A storm of blocks that no removal follows.
            for n in range(300):
                hashes = [n * 100 + i for i in range(100)]
                event = {**_STORED, "block_hashes": hashes, "token_ids": [n] * 1600}
                await publisher.send_multipart([b"kv@a@tiny", n.to_bytes(8, "big"), _batch(event)])
            answers = await asyncio.gather(*(ask(session, stack) for _ in range(10)))
            assert {status for status, _ in answers} == {200}
    assert resident_mb(stack.picker) - before_mb < 200
    await nothing_in_flight(stack)


_SOURCES = {
    "ranks without end": json.dumps({str(n): {"endpoint": "tcp://*:5557"} for n in range(20_000)}),
    "elsewhere": json.dumps({"0": {"endpoint": "tcp://10.255.255.1:5557", "replay_endpoint": "tcp://10.255.255.1:1"}}),
    "no port": json.dumps({"0": {"endpoint": "tcp://*:"}}),
    "port of a million": json.dumps({"0": {"endpoint": "tcp://*:1000000"}}),
    "long path": json.dumps({"0": {"endpoint": "ipc://" + "x" * 5000}}),
    "other protocol": json.dumps({"0": {"endpoint": "inproc://x"}, "1": {"endpoint": "pgm://x"}}),
    "list": "[1, 2]",
    "nothing": "",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", _SOURCES)
async def test_nonsense_of_where_events_are_is_not_believed(stack, name):
    (stack.folder / "picker.yaml").write_text(CONFIG)
    async with HostileEngine() as engine:
        engine.others["/kv_event_sources"] = plain(_SOURCES[name])
        await start(stack, pool(engine.address, config="picker.yaml"))
        async with many() as session:
            for _ in range(5):
                assert (await ask(session, stack))[0] == 200
                await asyncio.sleep(0.1)
        assert open_files(stack.picker) < 200
    await nothing_in_flight(stack)
