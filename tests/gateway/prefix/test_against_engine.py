"""Both indexes against the engine model's real prefix cache: what they believe is held, and what is found.

Conversations over a few system prompts go to three engines whose caches are too small for all of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from fairlead.clock import VirtualClock
from fairlead.engines.kv_events import decode_batch
from fairlead.gateway.prefix.blocks import TokenizedPrompt, space_of, text_blocks, token_array
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.tree import PrefixTree
from fairlead.simulator.engine import Engine, EngineSettings
from fairlead.simulator.server.answers.outcome import LENGTH, Outcome
from fairlead.simulator.server.block_chain import block_chain
from fairlead.simulator.server.kv_config import KvEventsConfig
from fairlead.simulator.server.kv_publisher import KvPublisher
from fairlead.simulator.server.live_request import LiveRequest
from fairlead.simulator.server.pace import PacedCost

BLOCK_TOKENS = 16
CACHE_BLOCKS = 400
ADDRESSES = ("a:1", "b:1", "c:1")


class Wire:
    """Stands where the PUB socket is: events reach the index at once."""

    def __init__(self, index: PreciseIndex, address: str) -> None:
        self.index, self.address = index, address

    def send_multipart(self, frames: tuple[bytes, ...]) -> None:
        self.index.ingest(self.address, decode_batch(frames[2]))

    def close(self, linger: int) -> None:
        pass


@dataclass
class Fleet:
    """Three engines, and the precise index that listens to them."""

    precise: PreciseIndex = field(default_factory=lambda: PreciseIndex(VirtualClock()))
    engines: dict[str, tuple[Engine, KvPublisher]] = field(default_factory=dict)
    number: int = 0

    def __post_init__(self) -> None:
        for address in ADDRESSES:
            publisher = KvPublisher(KvEventsConfig(), 0, VirtualClock(), block_tokens=BLOCK_TOKENS)
            publisher._publish = Wire(self.precise, address)
            settings = EngineSettings(
                num_blocks=CACHE_BLOCKS, block_tokens=BLOCK_TOKENS, max_num_seqs=16, max_num_batched_tokens=2048
            )
            self.engines[address] = (Engine(settings, PacedCost(0.02, 0.01), blocks=publisher), publisher)

    def submit(self, address: str, now_s: float, prompt: list[int], answer: list[int]):
        self.number += 1
        chain = block_chain([*prompt, *answer], BLOCK_TOKENS)
        request = LiveRequest(
            self.number, len(prompt), len(answer), chain, outcome=Outcome(answer, [], LENGTH), prompt_ids=prompt
        )
        return self.engines[address][0].submit(now_s, request)

    def advance(self, now_s: float) -> None:
        for engine, publisher in self.engines.values():
            engine.advance(now_s)
            publisher.flush()


def conversations(draw: random.Random, count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Prompts and answers: the next turn of one of some conversations, each of which ends after some turns."""
    systems = [[draw.randrange(100_000) for _ in range(draw.randrange(20, 400))] for _ in range(5)]
    going: list[list[int]] = []
    for _ in range(count):
        if len(going) < 12 or draw.random() < 0.2:
            going.append(list(draw.choice(systems)))
        history = draw.choice(going)
        prompt = [*history, *(draw.randrange(100_000) for _ in range(draw.randrange(5, 120)))]
        answer = [draw.randrange(100_000) for _ in range(draw.randrange(1, 80))]
        yield prompt, answer
        history[:] = [*prompt, *answer]
        if len(history) > 1500:
            going.remove(history)


def tokenized(prompt: list[int]) -> TokenizedPrompt:
    return TokenizedPrompt(np.empty(0, np.uint64), 64.0, 0, token_array(prompt), space_of(""))


def usable(tokens: int, prompt: list[int]) -> int:
    """Engines compute at least the last token of a prompt anew, and so its block."""
    return min(tokens, (len(prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS)


def test_the_precise_index_knows_what_each_request_will_find() -> None:
    fleet, draw, now_s = Fleet(), random.Random(1), 0.0
    hits = 0
    for prompt, answer in conversations(draw, 600):
        address = draw.choice(ADDRESSES)
        expected = usable(fleet.precise.match(tokenized(prompt)).get(address, 0), prompt)
        sequence = fleet.submit(address, now_s, prompt, answer)
        now_s += 10
        fleet.advance(now_s)
        assert sequence.cached_tokens == expected
        hits += expected > 0
    assert 300 < hits < 590
    # What is in the index is what is in the caches, no more.
    for address, (engine, publisher) in fleet.engines.items():
        assert engine.reset_prefix_cache(now_s)
        publisher.flush()
        assert fleet.precise.held_blocks(address) == 0
    assert fleet.precise.blocks == 0


def test_the_approximate_index_is_close_under_load() -> None:
    """Of bytes, in blocks of another size, with answers it knows nothing of and requests side by side."""
    fleet, draw, now_s = Fleet(), random.Random(2), 0.0
    tree = PrefixTree()
    for address in ADDRESSES:
        tree.set_capacity(address, CACHE_BLOCKS * BLOCK_TOKENS)
    believed, sequences = [], []
    for prompt, answer in conversations(draw, 1500):
        text = token_array(prompt).tobytes()  # four bytes a token
        blocks = text_blocks(text, 0, block_bytes=64)
        held = tree.match(blocks)
        best = max(held.values(), default=0)
        address = draw.choice([a for a in ADDRESSES if held.get(a, 0) == best] if draw.random() < 0.7 else ADDRESSES)
        believed.append(usable(held.get(address, 0), prompt))
        tree.sent(address, blocks)
        sequences.append(fleet.submit(address, now_s, prompt, answer))
        now_s += draw.expovariate(5)
        fleet.advance(now_s)
    fleet.advance(now_s + 1000)
    found = [sequence.cached_tokens for sequence in sequences]
    prompts = sum(sequence.request.prompt_tokens for sequence in sequences)
    error = sum(abs(a - b) for a, b in zip(believed, found, strict=True)) / prompts
    assert 0.3 < sum(found) / prompts < 0.95, "a load that shows nothing"
    assert abs(sum(believed) - sum(found)) / prompts < 0.03
    assert error < 0.06
