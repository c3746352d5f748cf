"""The paged KV cache: reference counts, prefix caching by chained block hashes, eviction of the least recently used.

Behaves as vLLM V1's block pool does: a block without a hash is reused first; blocks with one stay findable after their
last user has gone, in a queue in which a request's blocks lie tail first, and are evicted from its front; a hit takes
them out of the queue again. (Reference: vLLM 0.32, `v1/core/block_pool.py`.)

Blocks that belong together are kept as one `Run`, a stretch of one chain with one reference count, so that the work
grows with requests and shared prefixes and not with blocks. One difference follows from it: where vLLM computes the
same block twice at the same time it keeps both copies, here the second is given back.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from fairlead.simulator.engine.request import HASH_BYTES, Request, Sequence


class BlockObserver(Protocol):
    """Is told what enters and leaves the prefix cache, when it happens; for KV cache events."""

    def stored(self, request: Request, start_block: int, stop_block: int) -> None:
        """These blocks of `request.chain` can be found from now on."""
        ...

    def removed(self, hashes: bytes) -> None:
        """These blocks (8 bytes each) are gone."""
        ...

    def cleared(self) -> None:
        """All blocks are gone."""
        ...


class Run:
    """Blocks `start` to `stop` of a chain, all with the same users. An empty chain: content that nobody else has."""

    __slots__ = ("chain", "refs", "start", "stop")

    def __init__(self, chain: bytes, start: int, stop: int, refs: int) -> None:
        self.chain = chain
        self.start = start
        self.stop = stop
        self.refs = refs

    @property
    def key(self) -> bytes:
        """Hash of the first block, under which the run is found."""
        return self.chain[self.start * HASH_BYTES : (self.start + 1) * HASH_BYTES]


class Hit:
    """Leading blocks of a chain that are in the cache; `free_blocks` of them have no user and could be evicted."""

    __slots__ = ("blocks", "free_blocks", "path")

    def __init__(self) -> None:
        self.blocks = 0
        self.free_blocks = 0
        self.path: list[tuple[Run, int]] = []


class KvCache:
    """`blocks` blocks of `block_tokens` tokens. `free_blocks` are those that no sequence uses."""

    def __init__(
        self, blocks: int, block_tokens: int, *, caching: bool = True, observer: BlockObserver | None = None
    ) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self._caching = caching
        self._observer = observer
        self._blank = blocks
        self._cached = 0
        self._index: dict[bytes, Run] = {}  # hash of its first block -> run
        self._unused: OrderedDict[Run, None] = OrderedDict()  # runs without users, next to be evicted first

    @property
    def free_blocks(self) -> int:
        return self._blank + self._cached

    @property
    def cached_blocks(self) -> int:
        """Free blocks whose content can still be found."""
        return self._cached

    def lookup(self, chain: bytes, limit_blocks: int, start_block: int = 0) -> Hit:
        """What of the chain's blocks from `start_block` to `limit_blocks` is there. Changes nothing."""
        hit = Hit()
        if not self._caching:
            return hit
        index, at = self._index, start_block
        limit_blocks = min(limit_blocks, len(chain) // HASH_BYTES)
        while at < limit_blocks:
            run = index.get(chain[at * HASH_BYTES : (at + 1) * HASH_BYTES])
            if run is None:
                break
            same = _common_blocks(run, chain, at, min(run.stop - run.start, limit_blocks - at))
            hit.path.append((run, same))
            if not run.refs:
                hit.free_blocks += same
            # The chain may leave the run and go on in another: a run grows past blocks after which others branched off.
            at += same
        hit.blocks = at - start_block
        return hit

    def hold(self, hit: Hit) -> None:
        """Use the blocks of a hit. It must be fresh: nothing may have changed since the lookup."""
        for run, count in hit.path:
            if count < run.stop - run.start:
                run = self._split(run, count)
            elif not run.refs:
                del self._unused[run]
                self._cached -= count
            run.refs += 1

    def take(self, count: int) -> None:
        """Use `count` more blocks, which must be free: blank ones first, then the longest unused."""
        blank = self._blank
        if count <= blank:
            self._blank = blank - count
            return
        self._blank = 0
        count -= blank
        self._cached -= count
        unused = self._unused
        while count:
            run = next(iter(unused))
            size = run.stop - run.start
            if size <= count:
                del unused[run]
                if run.chain:
                    del self._index[run.key]
                gone = size
            else:
                gone = count
            run.stop -= gone
            count -= gone
            if self._observer is not None and run.chain:
                self._observer.removed(run.chain[run.stop * HASH_BYTES : (run.stop + gone) * HASH_BYTES])

    def store(self, sequence: Sequence, full_blocks: int) -> None:
        """Let others find the first `full_blocks` blocks of a sequence that has them."""
        chain = sequence.request.chain
        full_blocks = min(full_blocks, len(chain) // HASH_BYTES)
        start = sequence.held_blocks
        if start >= full_blocks or not self._caching:
            return
        if chain[start * HASH_BYTES : (start + 1) * HASH_BYTES] in self._index:
            # Somebody else computed the same meanwhile: theirs is used, ours is given back.
            theirs = self.lookup(chain, full_blocks, start)
            self.hold(theirs)
            self._blank += theirs.blocks
            start += theirs.blocks
        if start < full_blocks:
            tail = sequence.tail
            if tail is not None and tail.refs == 1 and tail.stop == start:
                tail.stop = full_blocks
            else:
                sequence.tail = tail = Run(chain, start, full_blocks, 1)
                self._index[tail.key] = tail
            if self._observer is not None:
                self._observer.stored(sequence.request, start, full_blocks)
        sequence.held_blocks = full_blocks

    def free(self, sequence: Sequence) -> None:
        """Give back all blocks of a sequence; its full ones stay findable until they are evicted."""
        full = sequence.computed_tokens // self.block_tokens if self._caching else 0
        self.store(sequence, full)
        held = sequence.held_blocks
        unfindable = max(0, full - held)
        self._blank += sequence.blocks - held - unfindable
        if unfindable:
            self._unused[Run(b"", 0, unfindable, 0)] = None
            self._cached += unfindable
        if held:
            self._release(sequence.request.chain, held)
        sequence.blocks = sequence.held_blocks = 0
        sequence.tail = None

    def clear(self) -> bool:
        """Forget all cached content; False, and nothing happens, while sequences use blocks (as vLLM answers)."""
        if self.free_blocks < self.blocks:
            return False
        self._index.clear()
        self._unused.clear()
        self._blank, self._cached = self.blocks, 0
        if self._observer is not None:
            self._observer.cleared()
        return True

    def _release(self, chain: bytes, held: int) -> None:
        runs = []
        at = 0
        while at < held:
            run = self._index[chain[at * HASH_BYTES : (at + 1) * HASH_BYTES]]
            runs.append(run)
            at += run.stop - run.start
        for run in reversed(runs):
            run.refs -= 1
            if not run.refs:
                self._unused[run] = None
                self._cached += run.stop - run.start

    def _split(self, run: Run, count: int) -> Run:
        """The first `count` blocks of a run as a run of their own, in use if it is; the rest keeps its place."""
        upper = Run(run.chain, run.start, run.start + count, run.refs)
        self._index[run.key] = upper
        run.start += count
        self._index[run.key] = run
        if not upper.refs:
            self._cached -= count
        return upper


def _common_blocks(run: Run, chain: bytes, at: int, count: int) -> int:
    """How many of `count` blocks of the run equal those of `chain` from block `at` on; the first one does."""
    mine, theirs = run.start * HASH_BYTES, at * HASH_BYTES
    if run.chain[mine : mine + count * HASH_BYTES] == chain[theirs : theirs + count * HASH_BYTES]:
        return count
    same, different = 1, count  # hashes are chained: once different, always different
    while same < different:
        middle = (same + different) // 2
        at_mine, at_theirs = mine + middle * HASH_BYTES, theirs + middle * HASH_BYTES
        if run.chain[at_mine : at_mine + HASH_BYTES] == chain[at_theirs : at_theirs + HASH_BYTES]:
            same = middle + 1
        else:
            different = middle
    return same
