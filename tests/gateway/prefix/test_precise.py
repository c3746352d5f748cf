from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.clock import VirtualClock
from fairlead.engines.kv_events import AllBlocksCleared, BlockRemoved, BlockStored, KvEventBatch
from fairlead.gateway.prefix.blocks import TokenizedPrompt, space_of, text_blocks, token_array
from fairlead.gateway.prefix.combined import CombinedIndex
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.rank_blocks import MAX_WAITING_BLOCKS
from fairlead.gateway.prefix.tree import PrefixTree

BLOCK = 4


def tokenized(*tokens: int, adapter: str = "", salt: str = "") -> TokenizedPrompt:
    return TokenizedPrompt(np.empty(0, np.uint64), 64.0, 0, token_array(tokens), space_of(adapter, salt))


def stored(tokens, parent=None, *, hashes=None, size=BLOCK, **fields) -> BlockStored:
    """Consecutive blocks, named by the engine as it likes: here by position in the whole."""
    count = len(tokens) // size
    hashes = tuple(hashes) if hashes is not None else tuple(range(100, 100 + count))
    return BlockStored(hashes, parent, tuple(tokens), size, **fields)


def batch(*events, rank: int | None = None) -> KvEventBatch:
    return KvEventBatch(0.0, events, rank)


def index(*events, address: str = "a:1") -> PreciseIndex:
    one = PreciseIndex(VirtualClock())
    one.ingest(address, batch(*events))
    return one


TEN = tuple(range(1, 13))


def test_it_knows_what_was_stored_and_removed() -> None:
    one = index(stored(TEN))
    assert one.match(tokenized(*TEN, 50, 51)) == {"a:1": 12}
    assert one.match(tokenized(*TEN[:9], 50, 51, 52)) == {"a:1": 8}
    assert one.match(tokenized(9, *TEN[1:])) == {}
    one.ingest("a:1", batch(BlockRemoved((101,))))
    assert one.match(tokenized(*TEN)) == {"a:1": 4}
    one.ingest("a:1", batch(AllBlocksCleared()))
    assert one.match(tokenized(*TEN)) == {} and one.blocks == 0 and one.is_complete("a:1")


def test_blocks_follow_their_parent() -> None:
    one = index(stored(TEN[:4], hashes=[b"x" * 32]), stored(TEN[4:], b"x" * 32, hashes=[5, 6]))
    assert one.match(tokenized(*TEN)) == {"a:1": 12}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_parents_may_come_late(order) -> None:
    events = [
        stored(TEN[:4], hashes=[1]),
        stored(TEN[4:8], 1, hashes=[2]),
        stored(TEN[8:], 2, hashes=[3]),
    ]
    one = index(*(events[i] for i in order))
    assert one.match(tokenized(*TEN)) == {"a:1": 12}
    assert one._ranks["a:1", 0].groups[0].waiting_blocks == 0


def test_a_block_that_went_before_its_parent_came_is_gone() -> None:
    one = index(stored(TEN[4:], 1, hashes=[2, 3]), BlockRemoved((2,)), stored(TEN[:4], hashes=[1]))
    assert one.match(tokenized(*TEN)) == {"a:1": 4}
    assert one.held_blocks("a:1") == 2


def test_blocks_whose_parent_never_comes_are_bounded() -> None:
    one = PreciseIndex(VirtualClock())
    for number in range(MAX_WAITING_BLOCKS + 50):
        one.ingest("a:1", batch(stored(TEN[:4], ("no", number), hashes=[number])))
    group = one._ranks["a:1", 0].groups[0]
    assert group.waiting_blocks == MAX_WAITING_BLOCKS == len(group._orphan_of) == len(group._by_parent)
    assert one.counts.dropped_blocks == 50
    one.ingest("a:1", batch(stored(range(8 * BLOCK * MAX_WAITING_BLOCKS), "never")))
    assert group.waiting_blocks == MAX_WAITING_BLOCKS


def test_what_is_held_is_bounded() -> None:
    one = PreciseIndex(VirtualClock(), max_blocks=5)
    for rank in range(3):
        one.ingest("a:1", batch(stored([*TEN, rank, rank, rank, rank]), rank=rank))
    assert one.held_blocks("a:1") == one._held == 4 and one.counts.dropped_blocks == 8
    one.ingest("a:1", batch(BlockRemoved((103, 103, 999)), rank=0))
    one.ingest("a:1", batch(stored(TEN[:8], hashes=[7, 8]), rank=1))
    assert one.held_blocks("a:1") == one._held == 5
    one.forget("a:1")
    assert one._held == 0


def test_a_block_stored_twice_is_held_until_both_are_gone() -> None:
    one = index(stored(TEN), stored(TEN), BlockRemoved((100, 101, 102)))
    assert one.match(tokenized(*TEN)) == {"a:1": 12}
    one.ingest("a:1", batch(BlockRemoved((100, 101, 102))))
    assert one.match(tokenized(*TEN)) == {}


def test_adapters_and_salts_share_nothing() -> None:
    one = index(
        stored(TEN, hashes=[1, 2, 3]),
        stored(TEN, hashes=[4, 5, 6], lora_id=1, lora_name="ad"),
        stored(TEN[:8], hashes=[7, 8], extra_keys=((("cache_salt", "s"),), None)),
        stored(TEN[:4], hashes=[9], lora_name="ad", extra_keys=(("ad", "old form"),)),
    )
    assert one.match(tokenized(*TEN)) == {"a:1": 12}
    assert one.match(tokenized(*TEN, adapter="ad")) == {"a:1": 12}
    assert one.match(tokenized(*TEN, salt="s")) == {"a:1": 8}
    assert one.match(tokenized(*TEN, adapter="ad", salt="old form")) == {"a:1": 4}
    assert one.match(tokenized(*TEN, adapter="other")) == {}
    one.ingest("a:1", batch(BlockRemoved((4,))))
    assert one.match(tokenized(*TEN, adapter="ad")) == {}
    assert one.match(tokenized(*TEN)) == {"a:1": 12}


def test_images_match_no_text() -> None:
    one = index(stored(TEN, extra_keys=(None, (("mm", "image", 0),), None)))
    assert one.match(tokenized(*TEN)) == {"a:1": 4}


def test_engines_with_blocks_of_different_sizes() -> None:
    one = index(stored(TEN))
    one.ingest("b:1", batch(stored(TEN, size=2)))
    assert one.match(tokenized(*TEN[:7])) == {"a:1": 4, "b:1": 6}
    one.forget("b:1")
    assert one.match(tokenized(*TEN[:7])) == {"a:1": 4}
    assert list(one._sizes) == [BLOCK]


def test_blocks_that_are_not_full_are_passed_over() -> None:
    one = index(stored(TEN[:3], hashes=[7], size=3), stored(TEN), stored((13, 14), 102, hashes=[8], size=2))
    assert one.match(tokenized(*TEN, 13, 14)) == {"a:1": 12}
    assert one.blocks == 3
    one.ingest("a:1", batch(BlockRemoved((7, 8)), AllBlocksCleared(), stored(TEN, size=2)))
    assert one.match(tokenized(*TEN[:7])) == {"a:1": 6}
    assert list(one._sizes) == [2]


def test_the_best_rank_of_an_endpoint_counts() -> None:
    one = PreciseIndex(VirtualClock())
    one.ingest("a:1", batch(stored(TEN[:4], hashes=[1]), rank=0))
    one.ingest("a:1", batch(stored(TEN[:8], hashes=[1, 2]), rank=1))
    assert one.match(tokenized(*TEN)) == {"a:1": 8}
    one.clear("a:1", 1)
    assert one.match(tokenized(*TEN)) == {"a:1": 4}


def test_tiers_hold_a_block_together() -> None:
    one = index(stored(TEN, medium="GPU"), stored(TEN, medium="CPU"), stored(TEN, medium="CPU"))
    one.ingest("a:1", batch(BlockRemoved((100, 101, 102), "GPU")))
    assert one.match(tokenized(*TEN)) == {"a:1": 12}
    one.ingest("a:1", batch(BlockRemoved((100,), "STORAGE"), BlockRemoved((102,), "CPU")))
    assert one.match(tokenized(*TEN)) == {"a:1": 8}


def test_a_tier_that_names_blocks_by_hash_alone() -> None:
    placeholder = BlockStored((101, 999), None, (), 0, medium="CPU")
    one = index(stored(TEN), placeholder, BlockRemoved((101,), "GPU"))
    assert one.match(tokenized(*TEN)) == {"a:1": 12}
    assert one.counts.ignored_blocks == 1


def test_groups_that_keep_a_window_do_not_decide() -> None:
    window = {"group_idx": 1, "kv_cache_spec_kind": "sliding_window", "kv_cache_spec_sliding_window": 8}
    one = index(stored(TEN[:4], hashes=[100], **window), stored(TEN, group_idx=0, kv_cache_spec_kind="full_attention"))
    one.ingest("a:1", batch(stored(TEN[4:8], 100, hashes=[101], **window), BlockRemoved((100, 101), None, 1)))
    assert one.match(tokenized(*TEN)) == {"a:1": 12}
    assert one.held_blocks("a:1") == 3
    alone = index(stored(TEN, **window))
    assert alone.match(tokenized(*TEN)) == {"a:1": 12}


@pytest.mark.parametrize(
    "event",
    [
        BlockStored((1,), None, (1, 2, 3), 4),
        BlockStored((1, 2), None, (1, 2, 3, 4), 4),
        BlockStored((), None, (), 4),
        BlockStored((1,), None, (), 0),
        BlockStored((1,), None, (-1, 2, 3, 4), 4),
        BlockStored((1,), None, (2**40, 2, 3, 4), 4),
        BlockStored((1,), None, (1,), -1),
        BlockRemoved((77,)),
        BlockRemoved((), "moon", 99),
    ],
)
def test_events_that_make_no_sense_harm_nothing(event) -> None:
    one = index(stored(TEN), event, stored(TEN[:4], hashes=[500]))
    assert one.match(tokenized(*TEN)) == {"a:1": 12}


def test_what_was_sent_counts_for_a_while() -> None:
    clock = VirtualClock()
    one = PreciseIndex(clock, speculation_s=2)
    prompt = tokenized(*range(40))
    one.sent("a:1", prompt)
    assert one.match(prompt) == {"a:1": 32}
    clock._elapsed_s += 1.9
    assert one.match(prompt) == {"a:1": 32}
    clock._elapsed_s += 2.2
    assert one.match(prompt) == {}
    one.sent("a:1", prompt)
    clock._elapsed_s += 100
    assert one.match(prompt) == {}
    one.sent("a:1", prompt)
    one.forget("a:1")
    assert one.match(prompt) == {}


def test_a_prompt_without_tokens_matches_nothing() -> None:
    one = index(stored(TEN))
    assert one.match(text_blocks(b"x" * 1000, 0)) == {}
    one.sent("a:1", text_blocks(b"x" * 1000, 0))


def test_the_combined_index_believes_events_where_they_come() -> None:
    clock = VirtualClock()
    one = CombinedIndex(PrefixTree(), PreciseIndex(clock))
    text = text_blocks(b"x" * 640, 0)
    prompt = TokenizedPrompt(text.hashes, text.block_tokens, 0, token_array(TEN), space_of(""))
    for address in ("a:1", "b:1", "c:1"):
        one.sent(address, prompt)
    clock._elapsed_s += 100
    assert one.match(prompt) == {"a:1": 128, "b:1": 128, "c:1": 128}
    one.precise.joined("a:1", complete=True)
    one.precise.joined("b:1", complete=False)
    one.precise.ingest("b:1", batch(stored(TEN[:4])))
    assert one.match(prompt) == {"b:1": 128, "c:1": 128}
    one.precise.ingest("a:1", batch(stored(TEN)))
    assert one.match(prompt) == {"a:1": 12, "b:1": 128, "c:1": 128}
    assert one.match(text) == {"a:1": 128, "b:1": 128, "c:1": 128}
    one.forget("a:1")
    assert one.match(prompt) == {"b:1": 128, "c:1": 128}


class ToyEngine:
    """Blocks in copies, stored and dropped in any order that an engine may take, and what its events say."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.copies: dict[tuple[int, ...], int] = {}
        self.salt = rank * 1000

    def name(self, prefix: tuple[int, ...]) -> int:
        return hash((self.salt, prefix)) & (2**64 - 1)

    def store(self, tokens: tuple[int, ...], start: int) -> BlockStored | None:
        prefixes = [tokens[: at + BLOCK] for at in range(0, len(tokens) - BLOCK + 1, BLOCK)]
        start = min(start, len(prefixes))
        while start and prefixes[start - 1] not in self.copies:
            start -= 1
        if start == len(prefixes):
            return None
        for prefix in prefixes[start:]:
            self.copies[prefix] = self.copies.get(prefix, 0) + 1
        parent = self.name(prefixes[start - 1]) if start else None
        names = tuple(self.name(prefix) for prefix in prefixes[start:])
        return BlockStored(names, parent, tokens[start * BLOCK : len(prefixes) * BLOCK], BLOCK)

    def drop(self, draw: random.Random) -> BlockRemoved | None:
        if not self.copies:
            return None
        prefix = draw.choice(sorted(self.copies))
        self.copies[prefix] -= 1
        if not self.copies[prefix]:
            del self.copies[prefix]
        return BlockRemoved((self.name(prefix),))

    def match(self, tokens: tuple[int, ...]) -> int:
        depth = 0
        while depth + BLOCK <= len(tokens) and tokens[: depth + BLOCK] in self.copies:
            depth += BLOCK
        return depth


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_it_holds_what_the_engines_hold(seed: int, steps: int) -> None:
    draw = random.Random(seed)
    engines = {(address, rank): ToyEngine(rank) for address in ("a:1", "b:1") for rank in (0, 1)}
    one = PreciseIndex(VirtualClock())
    prompts = []
    for _ in range(steps):
        (address, rank), engine = draw.choice(list(engines.items()))
        tokens = tuple(draw.randrange(2) for _ in range(draw.randrange(20)))
        prompts.append(tokens)
        events = []
        for _ in range(draw.randrange(4)):
            event = engine.store(tokens, draw.randrange(4)) if draw.random() < 0.6 else engine.drop(draw)
            events += [event] if event else []
        if draw.random() < 0.05:
            engine.copies.clear()
            events.append(AllBlocksCleared())
        one.ingest(address, batch(*events, rank=rank))
        for prompt in prompts:
            held = {a: max(engines[a, 0].match(prompt), engines[a, 1].match(prompt)) for a in ("a:1", "b:1")}
            assert one.match(tokenized(*prompt)) == {a: n for a, n in held.items() if n}
    for address in ("a:1", "b:1"):
        one.forget(address)
    assert one.blocks == one._held == 0 and not one._sizes and not one._ranks
