"""The paged KV cache: reference counts, prefix caching by chained block hashes, eviction of the least recently used.

Behaves as vLLM V1's block pool does: a block without a hash is reused first; blocks with one stay findable after their
last user has gone, in a queue in which a request's blocks lie tail first, and are evicted from its front; a hit takes
them out of the queue again. (Reference: vLLM 0.32, `v1/core/block_pool.py`.)

Blocks that belong together are kept as one `Run`, a stretch of one chain with one reference count, so that the work
grows with requests and shared prefixes and not with blocks. Only where the same block is computed twice (the last one
of a repeated prompt, prompts computed side by side) the second copy is a run of its own: it takes the place of the
first when that is evicted.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from fairlead.simulator.engine.block_run import HASH_BYTES, Run
from fairlead.simulator.engine.request import Request, Sequence


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
        self._copies: dict[bytes, list[Run]] = {}  # runs of one block that another run in the index has as well
        self.growing: dict[bytes, list[Sequence]] = {}
        """Hash of the next block -> decoding sequences that have stored all before it, and may have that one."""
        self.overlaps = False
        """Some sequence has generated what another one had in its prompt or generated as well."""
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
            gone = min(run.stop - run.start, count)
            run.stop -= gone
            count -= gone
            if run.stop == run.start:
                del unused[run]
            if not run.chain:
                continue
            if self._copies:
                self._forget(run, gone)
                continue
            if run.stop == run.start:
                del self._index[run.key]
            if self._observer is not None:
                self._observer.removed(run.chain[run.stop * HASH_BYTES : (run.stop + gone) * HASH_BYTES])

    def _forget(self, run: Run, count: int) -> None:
        """The last `count` blocks of a run, already taken off, cannot be found any more, but perhaps copies of them."""
        key = run.key
        if run.stop == run.start:
            if self._index.get(key) is not run:
                self._remove_copy(key, run)
                return
            del self._index[key]
        taken = range(run.stop * HASH_BYTES, (run.stop + count) * HASH_BYTES, HASH_BYTES)
        hashes = [run.chain[i : i + HASH_BYTES] for i in taken]
        gone = [one for one in hashes if not self._promote(one)]
        if self._observer is not None and gone:
            self._observer.removed(b"".join(gone))

    def _promote(self, key: bytes) -> bool:
        """The block is gone: its oldest copy, if there is one, is found instead."""
        copies = self._copies.get(key)
        if copies is None:
            return False
        self._index[key] = copies[0]
        self._remove_copy(key, copies[0])
        return True

    def _remove_copy(self, key: bytes, run: Run) -> None:
        copies = self._copies[key]
        copies.remove(run)
        if not copies:
            del self._copies[key]

    def store(self, sequence: Sequence, full_blocks: int) -> None:
        """Let others find the first `full_blocks` blocks of a sequence that has them."""
        chain = sequence.request.chain
        full_blocks = min(full_blocks, len(chain) // HASH_BYTES)
        start = sequence.held_blocks
        if start >= full_blocks or not self._caching:
            return
        origin = start
        if sequence.copies is not None:
            while origin - 1 in sequence.copies:  # the run of which it has copies began there
                origin -= 1
        if chain[origin * HASH_BYTES : (origin + 1) * HASH_BYTES] in self._index:
            # Somebody else computed the same meanwhile.
            stop = origin + self.lookup(chain, full_blocks, origin).blocks
            self._store_copies(sequence, start, stop)
            start = max(start, stop)
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

    def _store_copies(self, sequence: Sequence, start: int, stop: int) -> None:
        chain = sequence.request.chain
        if sequence.copies is None:
            sequence.copies = {}
        for at in range(start, stop):
            sequence.copies[at] = copy = Run(chain, at, at + 1, 1)
            self._copies.setdefault(copy.key, []).append(copy)

    def grows(self, sequence: Sequence) -> None:
        """A sequence starts to decode: what it generates can be stored when somebody looks for it."""
        held = sequence.held_blocks
        key = sequence.request.chain[held * HASH_BYTES : (held + 1) * HASH_BYTES]
        if not self._caching or not key:
            return
        if (sequences := self.growing.get(key)) is None:
            self.growing[key] = [sequence]
        else:
            sequences.append(sequence)
            self.overlaps = True
        if key in self._index:
            self.overlaps = True

    def publish(self, sequence: Sequence, full_blocks: int) -> None:
        """`store` for a sequence that decodes."""
        self._stop_growing(sequence)
        self.store(sequence, full_blocks)
        self.grows(sequence)

    def _stop_growing(self, sequence: Sequence) -> None:
        held = sequence.held_blocks
        key = sequence.request.chain[held * HASH_BYTES : (held + 1) * HASH_BYTES]
        sequences = self.growing.get(key)
        if sequences is not None and sequence in sequences:
            sequences.remove(sequence)
            if not sequences:
                del self.growing[key]

    def free(self, sequence: Sequence) -> None:
        """Give back all blocks of a sequence; its full ones stay findable until they are evicted."""
        full = sequence.computed_tokens // self.block_tokens if self._caching else 0
        if self.growing:
            self._stop_growing(sequence)
        self.store(sequence, full)
        held = sequence.held_blocks
        unfindable = max(0, full - held)
        self._blank += sequence.blocks - held - unfindable
        if unfindable:
            self._unused[Run(b"", 0, unfindable, 0)] = None
            self._cached += unfindable
        if held:
            self._release(sequence.request.chain, held, sequence.copies)
        sequence.blocks = sequence.held_blocks = 0
        sequence.tail = sequence.copies = None

    def clear(self) -> bool:
        """Forget all cached content; False, and nothing happens, while sequences use blocks (as vLLM answers)."""
        if self.free_blocks < self.blocks:
            return False
        self._index.clear()
        self._copies.clear()
        self._unused.clear()
        self._blank, self._cached = self.blocks, 0
        if self._observer is not None:
            self._observer.cleared()
        return True

    def _release(self, chain: bytes, held: int, copies: dict[int, Run] | None) -> None:
        runs = []
        at = 0
        while at < held:
            copy = copies.get(at) if copies is not None else None
            run = copy or self._index[chain[at * HASH_BYTES : (at + 1) * HASH_BYTES]]
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
