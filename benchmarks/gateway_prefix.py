"""What the prefix index costs for a request: hashing its prompt, matching it, and noting where it went.

`python benchmarks/gateway_prefix.py` prints a table; `--assert` ends with status 1 when a floor is missed. The floors
are of one core of the development machine. Beside the tree stands a plain dictionary with an entry for each block, for
comparison.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from xxhash import xxh3_64_intdigest

from fairlead.engines.kv_events import BlockStored, KvEventBatch, decode_batch, encode_batch
from fairlead.gateway.prefix.blocks import TokenizedPrompt, space_of, text_blocks, token_array
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.snapshot import MAX_SNAPSHOT_BYTES, SLICE_NODES, Draft, restore
from fairlead.gateway.prefix.tree import PrefixTree

SMALL_BYTES = 800
"""200 tokens."""
LARGE_BYTES = 220_000
SPACE = space_of("model")

FLOORS_US = {
    "hash 800 B": 4.0,
    "hash 220 kB": 100.0,
    "match + sent, 800 B, 10 endpoints": 12.0,
    "match + sent, 220 kB, 10 endpoints": 150.0,
    "events of prefill (500 blocks each), for each block": 5.0,
    "events of decode (1 blocks each), for each block": 20.0,
    "restore of 1M blocks": 1e6,
}


class BlockDictionary:
    """One entry for each chained block and its endpoints; no eviction, so it does less than the tree."""

    def __init__(self) -> None:
        self.holders: dict[int, set[str]] = {}

    def match(self, blocks: PromptBlocks) -> dict[str, int]:
        held: dict[str, int] = {}
        chain = 0
        for depth, content in enumerate(blocks.hashes.tolist(), 1):
            chain = hash((chain, content))
            holders = self.holders.get(chain)
            if not holders:
                break
            for address in holders:
                held[address] = int(depth * blocks.block_tokens)
        return held

    def sent(self, address: str, blocks: PromptBlocks) -> None:
        chain = 0
        for content in blocks.hashes.tolist():
            chain = hash((chain, content))
            self.holders.setdefault(chain, set()).add(address)


def chained(prompt: bytes) -> list[int]:
    """What a picker does that chains a hash over the blocks one by one."""
    chain, hashes = b"\0" * 8, []
    for start in range(0, len(prompt) - 255, 256):
        value = xxh3_64_intdigest(chain + prompt[start : start + 256])
        chain = value.to_bytes(8, "big")
        hashes.append(value)
    return hashes


def prompts(count: int, size_bytes: int, seed: int) -> list[bytes]:
    """Conversations that begin with one of a few system prompts."""
    draw = random.Random(seed)
    systems = [draw.randbytes(size_bytes // 2) for _ in range(8)]
    return [draw.choice(systems) + draw.randbytes(size_bytes - size_bytes // 2) for _ in range(count)]


def mean_us(action: Callable[[Any], object], arguments: list[Any], rounds: int = 5) -> float:
    """Of the best round: the rest of the machine only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        for argument in arguments:
            action(argument)
        best = min(best, time.perf_counter() - began)
    return best / len(arguments) * 1e6


def routed_us(index: PrefixTree | BlockDictionary, size_bytes: int, endpoints: int, count: int) -> float:
    """Match and sent for each of a stream of new prompts, after as many that fill the index."""
    addresses = [f"10.0.{i // 250}.{i % 250}:8000" for i in range(endpoints)]
    draw = random.Random(1)
    best = float("inf")
    for seed in range(4):
        load = [text_blocks(prompt, SPACE) for prompt in prompts(count, size_bytes, seed)]
        targets = [draw.choice(addresses) for _ in load]
        began = time.perf_counter()
        for blocks, address in zip(load, targets, strict=True):
            index.match(blocks)
            index.sent(address, blocks)
        if seed:
            best = min(best, time.perf_counter() - began)
    return best / count * 1e6


def figures() -> dict[str, float]:
    small, large = prompts(2000, SMALL_BYTES, 1), prompts(100, LARGE_BYTES, 1)
    found = {
        "hash 800 B": mean_us(lambda p: text_blocks(p, SPACE), small),
        "hash 220 kB": mean_us(lambda p: text_blocks(p, SPACE), large),
        "hash 220 kB, chained block by block": mean_us(chained, large),
    }
    for endpoints in (10, 1000):
        for size, name, count in ((SMALL_BYTES, "800 B", 4000), (LARGE_BYTES, "220 kB", 300)):
            found[f"match + sent, {name}, {endpoints} endpoints"] = routed_us(PrefixTree(), size, endpoints, count)
            found[f"dictionary: match + sent, {name}, {endpoints} endpoints"] = routed_us(
                BlockDictionary(), size, endpoints, count
            )
    return found | events() | restart()


def events() -> dict[str, float]:
    """A block's way from an engine's message to the precise index, and what a match there costs."""
    draw = random.Random(1)
    found = {}
    for name, messages, count, blocks in (("prefill", 20, 1, 500), ("decode", 100, 64, 1)):
        payloads = [
            encode_batch(KvEventBatch(0.0, tuple(_stored(draw, blocks) for _ in range(count)), 0))
            for _ in range(messages)
        ]
        best = float("inf")
        for _ in range(3):
            index = PreciseIndex()
            began = time.perf_counter()
            for payload in payloads:
                index.ingest("10.0.0.1:8000", decode_batch(payload))
            best = min(best, time.perf_counter() - began)
        found[f"events of {name} ({blocks} blocks each), for each block"] = best / (messages * count * blocks) * 1e6
    tokens = [draw.randrange(128_000) for _ in range(100_000)]
    index = PreciseIndex()
    for number in range(10):
        event = BlockStored(tuple(range(6250)), None, tuple(tokens), 16)
        index.ingest(f"10.0.0.{number}:8000", KvEventBatch(0.0, (event,)))
    for length in (200, 100_000):
        text = text_blocks(b"", 0)
        prompt = TokenizedPrompt(text.hashes, 64.0, 0, token_array(tokens[:length]), space_of(""))
        found[f"precise match, {length} tokens, 10 endpoints"] = mean_us(index.match, [prompt] * 20)
    return found


def _stored(draw: random.Random, blocks: int) -> BlockStored:
    tokens = tuple(draw.randrange(128_000) for _ in range(16 * blocks))
    hashes = tuple(draw.getrandbits(64) for _ in range(blocks))
    return BlockStored(hashes, None, tokens, 16, None, "GPU", None, (None,) * blocks, 0, "full_attention")


def restart() -> dict[str, float]:
    """A snapshot of a million blocks and back, in microseconds, and the longest the event loop waits for a slice."""
    tree = PrefixTree()
    draw = random.Random(1)
    addresses = [f"10.0.{i // 250}.{i % 250}:8000" for i in range(1000)]
    while tree.blocks < 1_000_000:
        # Conversations of some turns, each on the endpoint of the one before.
        address, text = draw.choice(addresses), b""
        for _ in range(draw.randint(1, 6)):
            text += draw.randbytes(draw.randint(256, 16_000))
            tree.sent(address, text_blocks(text, SPACE))
    draft, longest, began = Draft(MAX_SNAPSHOT_BYTES), 0.0, time.perf_counter()
    last = began
    for _ in draft.draw(tree, SLICE_NODES):
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    drawn = time.perf_counter() - began
    data = draft.encode()
    encoded = time.perf_counter() - began - drawn
    began = time.perf_counter()
    restore(PrefixTree(), data)
    restored = time.perf_counter() - began
    print(f"snapshot of {tree.blocks} blocks: {len(data) / 1e6:.1f} MB, tree about {tree.memory_bytes / 1e6:.0f} MB")
    seconds = {
        "snapshot of 1M blocks: on the loop, in all": drawn,
        "snapshot of 1M blocks: longest slice": longest,
        "snapshot of 1M blocks: in a thread": encoded,
        "restore of 1M blocks": restored,
    }
    return {name: value * 1e6 for name, value in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assert", action="store_true", dest="check", help="fail when a floor is missed")
    arguments = parser.parse_args()
    missed = []
    for name, value in figures().items():
        floor = FLOORS_US.get(name)
        print(f"{name:<55} {value:>9.1f} us{'' if floor is None else f'   floor {floor:g}'}")
        if floor is not None and value > floor:
            missed.append(name)
    print(f"cores: {os.cpu_count()}")
    if arguments.check and missed:
        print("missed: " + ", ".join(missed))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
