"""The cache by itself: hits, sharing, eviction order, and that no block is ever lost or made."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.simulator.engine import KvCache, Sequence
from simulator.engine.engines import chain, request

SIZE = 4


class Observer:
    def __init__(self) -> None:
        self.known: set[bytes] = set()

    def stored(self, request, start, stop):
        new = {request.chain[8 * i : 8 * i + 8] for i in range(start, stop)}
        assert not new & self.known, "stored twice"
        self.known |= new

    def removed(self, hashes):
        gone = {hashes[i : i + 8] for i in range(0, len(hashes), 8)}
        assert gone <= self.known, "removed what was not there"
        self.known -= gone

    def cleared(self):
        self.known.clear()


def admit(cache: KvCache, blocks: bytes, tokens: int) -> Sequence:
    sequence = Sequence(request("r", tokens, 1, blocks), 0.0)
    hit = cache.lookup(blocks, (tokens - 1) // SIZE)
    cache.hold(hit)
    total = -(-tokens // SIZE)
    cache.take(total - hit.blocks)
    sequence.blocks, sequence.held_blocks, sequence.cached_tokens = total, hit.blocks, hit.blocks * SIZE
    sequence.computed_tokens = tokens
    cache.store(sequence, tokens // SIZE)
    return sequence


def test_a_prefix_is_found_while_used_and_afterwards():
    cache = KvCache(100, SIZE)
    first = admit(cache, chain(1, 2, 3, 4), 16)
    assert cache.lookup(chain(1, 2, 9, 9), 4).blocks == 2
    second = admit(cache, chain(1, 2, 9, 9), 16)
    assert second.cached_tokens == 8
    assert cache.free_blocks == 100 - 4 - 2
    cache.free(first)
    cache.free(second)
    assert (cache.free_blocks, cache.cached_blocks) == (100, 6)
    assert cache.lookup(chain(1, 2, 3, 4), 4).blocks == 4


def test_a_branch_off_a_run_that_grew_later_is_found():
    cache = KvCache(100, SIZE)
    first = admit(cache, chain(1, 2), 7)
    other = admit(cache, chain(1, 3), 8)
    cache.free(other)
    first.computed_tokens = 8
    cache.free(first)
    assert cache.lookup(chain(1, 3), 2).blocks == 2
    assert cache.lookup(chain(1, 2), 2).blocks == 2


def test_a_copy_is_kept_and_found_once_the_first_is_evicted():
    """Both compute the last block of the same prompt, as its last token is always computed."""
    observer = Observer()
    cache = KvCache(4, SIZE, observer=observer)
    first = admit(cache, chain(1, 2), 8)
    second = admit(cache, chain(1, 2), 8)
    assert cache.free_blocks == 1
    cache.free(first)
    cache.free(second)
    assert cache.cached_blocks == 3
    cache.take(2)  # the blank one and the first's second block
    assert cache.lookup(chain(1, 2), 2).blocks == 2
    assert len(observer.known) == 2
    cache.take(1)
    assert cache.lookup(chain(1, 2), 2).blocks == 1


def test_the_longest_unused_tail_goes_first():
    cache = KvCache(6, SIZE)
    cache.free(admit(cache, chain(1, 2, 3), 12))
    cache.free(admit(cache, chain(4, 5, 6), 12))
    cache.take(2)
    assert cache.lookup(chain(1, 2, 3), 3).blocks == 1
    assert cache.lookup(chain(4, 5, 6), 3).blocks == 3


def test_an_incomplete_block_is_reused_before_any_cached_one():
    cache = KvCache(4, SIZE)
    cache.free(admit(cache, chain(1, 2), 10))
    cache.take(2)
    assert cache.lookup(chain(1, 2), 2).blocks == 2


def test_the_last_token_is_always_computed():
    cache = KvCache(10, SIZE)
    cache.free(admit(cache, chain(1, 2), 8))
    again = admit(cache, chain(1, 2), 8)
    assert again.cached_tokens == 4
    assert cache.free_blocks == 8


def test_without_caching_nothing_is_found():
    cache = KvCache(10, SIZE, caching=False)
    cache.free(admit(cache, chain(1, 2), 8))
    assert cache.lookup(chain(1, 2), 2).blocks == 0
    assert (cache.free_blocks, cache.cached_blocks) == (10, 0)


def test_clear_refuses_while_blocks_are_used():
    cache = KvCache(10, SIZE)
    used = admit(cache, chain(1), 4)
    assert not cache.clear()
    cache.free(used)
    assert cache.clear()
    assert cache.lookup(chain(1), 1).blocks == 0
    assert cache.free_blocks == 10


class CacheMachine(RuleBasedStateMachine):
    """Any sequence of admissions and ends, against sets of hashes."""

    def __init__(self) -> None:
        super().__init__()
        self.observer = Observer()
        self.cache = KvCache(24, SIZE, observer=self.observer)
        self.live: list[Sequence] = []

    @rule(path=st.lists(st.integers(0, 1), min_size=0, max_size=6), extra=st.integers(1, 3), known=st.integers(0, 6))
    def admit(self, path, extra, known):
        tokens = len(path) * SIZE + extra
        blocks = chain(*path[:known])
        hit = self.cache.lookup(blocks, (tokens - 1) // SIZE)
        assert hit.blocks == self._known_prefix(blocks, (tokens - 1) // SIZE)
        if -(-tokens // SIZE) - hit.blocks <= self.cache.free_blocks - hit.free_blocks:
            self.live.append(admit(self.cache, blocks, tokens))

    def _known_prefix(self, blocks, limit):
        count = 0
        while count < min(limit, len(blocks) // 8) and blocks[8 * count : 8 * count + 8] in self.observer.known:
            count += 1
        return count

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data):
        self.cache.free(self.live.pop(data.draw(st.integers(0, len(self.live) - 1))))

    @invariant()
    def every_block_is_somewhere(self):
        distinct = {s.request.chain[8 * i : 8 * i + 8] for s in self.live for i in range(s.held_blocks)}
        private = sum(s.blocks - s.held_blocks for s in self.live)
        assert self.cache.free_blocks == 24 - len(distinct) - private
        assert 0 <= self.cache.cached_blocks <= self.cache.free_blocks


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
