"""What the KV events say is what the cache has, whatever comes, leaves early or is evicted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.clock import VirtualClock
from fairlead.engines.kv_events import AllBlocksCleared, BlockRemoved, BlockStored, decode_batch
from fairlead.simulator.engine import HASH_BYTES, Engine, EngineSettings, RequestTooLong
from fairlead.simulator.server.answers.outcome import LENGTH, Outcome
from fairlead.simulator.server.block_chain import block_chain
from fairlead.simulator.server.kv_config import KvEventsConfig
from fairlead.simulator.server.kv_publisher import KvPublisher
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.pace import PacedCost

BLOCK = 4
PAUSE = st.floats(0, 0.1)


class Wire:
    """Stands where the PUB socket is, and keeps the blocks of an index that listens."""

    def __init__(self):
        self.blocks: dict[int, int | None] = {}

    def send_multipart(self, frames):
        for event in decode_batch(frames[2]).events:
            if isinstance(event, BlockStored):
                parent = event.parent_block_hash
                assert parent is None or parent in self.blocks
                assert len(event.token_ids) == BLOCK * len(event.block_hashes)
                for each in event.block_hashes:
                    self.blocks[each], parent = parent, each
            elif isinstance(event, BlockRemoved):
                for each in event.block_hashes:
                    del self.blocks[each]
            else:
                assert isinstance(event, AllBlocksCleared)
                self.blocks.clear()

    def close(self, linger):
        pass


def _request(number, start, length, tokens):
    ids = [start] * min(length, 9) + list(range(start * 100, start * 100 + max(0, length - 9)))
    answer = [number] * tokens
    return LiveRequest(
        number, length, tokens, block_chain([*ids, *answer], BLOCK), outcome=Outcome(answer, [], LENGTH), prompt_ids=ids
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(1, 40), st.integers(1, 12), st.floats(0, 0.05), st.none() | st.floats(0, 0.1)
        ),
        max_size=25,
    ),
    st.integers(12, 40),
)
def test_an_index_that_listens_knows_every_prefix(load, blocks):
    publisher = KvPublisher(KvEventsConfig(), 0, VirtualClock(), block_tokens=BLOCK)
    publisher._publish = wire = Wire()
    engine = Engine(
        EngineSettings(num_blocks=blocks, block_tokens=BLOCK, max_num_seqs=3, max_num_batched_tokens=16),
        PacedCost(0.01, 0.005),
        blocks=publisher,
    )
    now_s, requests, leaving = 0.0, [], []
    for number, (start, length, tokens, pause_s, leaves_s) in enumerate(load):
        now_s += pause_s
        for at_s, sequence in leaving:
            if at_s <= now_s:
                engine.abort(now_s, sequence)
        request = _request(number, start, length, tokens)
        try:
            sequence = engine.submit(now_s, request)
        except RequestTooLong:
            continue
        requests.append(request)
        if leaves_s is not None:
            leaving.append((now_s + leaves_s, sequence))
        publisher.flush()
        _check(engine, requests, wire)
    engine.advance(now_s + 1000)
    publisher.flush()
    _check(engine, requests, wire)
    assert engine.scheduler.cache.free_blocks == blocks
    assert engine.reset_prefix_cache(now_s + 1000)
    publisher.flush()
    assert wire.blocks == {}


def _check(engine, requests, wire):
    for request in requests:
        chain = request.chain
        hashes = [int.from_bytes(chain[at : at + HASH_BYTES], "big") for at in range(0, len(chain), HASH_BYTES)]
        known = next((count for count, each in enumerate(hashes) if each not in wire.blocks), len(hashes))
        assert engine.scheduler.cache.lookup(chain, len(hashes)).blocks == known
