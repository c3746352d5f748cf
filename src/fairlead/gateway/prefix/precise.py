"""The precise prefix index: what engines say their caches hold, by their KV events.

Blocks are named by their tokens and everything before them (`chain`), for each size of block on its own, so that
engines of different versions, hashes and block sizes stand in one index. Adapters and cache salts enter the name;
content that is not tokens (images, embeddings) keeps a block from matching any text. Of models whose layers cache
differently the first group with full attention decides, and where there is none the first one.

Until the events of a prompt come, what was sent counts as held, so that a burst with one prefix stays together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fairlead.clock import SYSTEM, Clock
from fairlead.engines.kv_events import AllBlocksCleared, BlockHash, BlockRemoved, BlockStored, KvEventBatch
from fairlead.gateway.prefix.blocks import TokenizedPrompt, row_hashes, token_blocks
from fairlead.gateway.prefix.chain import names_after, next_name, root_name
from fairlead.gateway.prefix.event_blocks import EventCounts, contents_of_events, space_of_event
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.prefix.rank_blocks import Orphan, RankBlocks
from fairlead.gateway.prefix.tree import PrefixTree

SPECULATION_S = 2.0
"""How long at least what was sent counts as held without an event; at most twice as long."""
SPECULATION_BLOCK_TOKENS = 16
SPECULATION_BYTES = 32 * 1024 * 1024
MAX_RANK_BLOCKS = 1_000_000
"""16 million tokens in blocks of 16: more than an engine's memory holds."""
MAX_BLOCKS = 6_000_000
"""Of all ranks together: about 1 GB at the 154 bytes that were measured."""

_ACCELERATOR = frozenset((None, "", "GPU", "gpu", "NPU", "HPU", "XPU", "TPU"))
_WINDOWED = ("sliding", "chunked", "mamba", "linear", "short_conv")
_FIRST_CHUNK_BLOCKS = 64
"""Most prompts part from what is held early: later blocks are named when it comes to them."""


class _Rank:
    """An endpoint's rank: a bit in the masks of holders, and its blocks by group of layers."""

    __slots__ = ("address", "bit", "block_tokens", "complete", "groups", "has_full", "number", "windowed")

    def __init__(self, address: str, number: int, bit: int) -> None:
        self.address = address
        self.number = number
        self.bit = bit
        self.block_tokens = 0
        """0 = no event has told."""
        self.complete = False
        self.groups: dict[int, RankBlocks] = {}
        self.windowed: set[int] = set()
        self.has_full = False


class PreciseIndex:
    """See the module. `PrefixIndex` for prompts whose tokens are known (`TokenizedPrompt`); others match nothing."""

    def __init__(
        self, clock: Clock = SYSTEM, *, speculation_s: float = SPECULATION_S, max_blocks: int = MAX_BLOCKS
    ) -> None:
        self._clock = clock
        self._ranks: dict[tuple[str, int], _Rank] = {}
        self._by_address: dict[str, list[_Rank]] = {}
        self._by_bit: list[_Rank | None] = []
        self._holders: dict[int, int] = {}  # name of a prefix -> mask of ranks
        self._sizes: dict[int, int] = {}  # tokens of a block -> ranks that have such
        self._max_blocks = max_blocks
        self._held = 0  # blocks of all ranks
        self._speculation_s = speculation_s
        self._speculation = (_fresh(), _fresh())
        self._last: tuple[PromptBlocks, PromptBlocks] | None = None
        self._turn_at_s = clock.monotonic_s() + speculation_s
        self.counts = EventCounts()

    @property
    def blocks(self) -> int:
        """Different blocks held anywhere."""
        return len(self._holders)

    def follows(self, address: str) -> bool:
        """Whether events of this endpoint have come."""
        return address in self._by_address

    def is_complete(self, address: str) -> bool:
        """Whether all events since the engine's start, or since its cache was empty, have come."""
        return all(rank.complete for rank in self._by_address.get(address, ())) and address in self._by_address

    def held_blocks(self, address: str) -> int:
        """Blocks that the endpoint's ranks hold."""
        return sum(len(g.names) for rank in self._by_address.get(address, ()) for g in rank.groups.values())

    def joined(self, address: str, rank: int = 0, *, complete: bool) -> None:
        """A rank's stream begins: at its first message (complete), or somewhere in the middle."""
        self._rank(address, rank).complete = complete

    def match(self, blocks: PromptBlocks) -> dict[str, int]:
        """See `PrefixIndex`."""
        tokens = _tokens_of(blocks)
        if tokens is None:
            return {}
        held: dict[str, int] = {}
        speculative = self._speculative(blocks, tokens)
        for block_tokens in self._sizes:
            if block_tokens == SPECULATION_BLOCK_TOKENS:
                contents = speculative.hashes
            else:
                contents = row_hashes(tokens, len(tokens) // block_tokens, 4 * block_tokens)
            root = root_name(_token_space(blocks), block_tokens)
            for rank, depth in self._depths(root, contents):
                found = depth * block_tokens
                if found > held.get(rank.address, 0):
                    held[rank.address] = found
        for tree in self._generations():
            for address, found in tree.match(speculative).items():
                if found > held.get(address, 0):
                    held[address] = found
        return held

    def sent(self, address: str, blocks: PromptBlocks) -> None:
        """See `PrefixIndex`."""
        tokens = _tokens_of(blocks)
        if tokens is not None:
            self._generations()[0].sent(address, self._speculative(blocks, tokens))

    def forget(self, address: str) -> None:
        """See `PrefixIndex`."""
        for rank in self._by_address.pop(address, ()):
            self._empty(rank)
            del self._ranks[address, rank.number]
            self._by_bit[rank.bit.bit_length() - 1] = None
        for tree in self._speculation:
            tree.forget(address)

    def clear(self, address: str, rank: int = 0) -> None:
        """The rank's cache is empty, or nothing is known of it any more."""
        found = self._ranks.get((address, rank))
        if found is not None:
            self._empty(found)
            found.complete = False
        for tree in self._speculation:
            tree.forget(address)

    def restarted(self, address: str, rank: int = 0) -> None:
        """The rank's engine is a new one."""
        self.clear(address, rank)

    def ingest(self, address: str, batch: KvEventBatch, rank: int | None = None) -> None:
        """What one message says. `rank` is used where the batch does not name one."""
        number = batch.data_parallel_rank if batch.data_parallel_rank is not None else rank or 0
        one = self._rank(address, number)
        stored = [event for event in batch.events if isinstance(event, BlockStored)]
        contents = iter(contents_of_events(stored, self.counts))
        for event in batch.events:
            if isinstance(event, BlockStored):
                self._store(one, event, next(contents))
            elif isinstance(event, BlockRemoved):
                self._remove(one, event)
            elif isinstance(event, AllBlocksCleared):
                self.counts.clears += 1
                self._empty(one)
                one.complete = True

    def _rank(self, address: str, number: int) -> _Rank:
        rank = self._ranks.get((address, number))
        if rank is None:
            try:
                free = self._by_bit.index(None)
            except ValueError:
                free = len(self._by_bit)
                self._by_bit.append(None)
            rank = self._ranks[address, number] = self._by_bit[free] = _Rank(address, number, 1 << free)
            self._by_address.setdefault(address, []).append(rank)
        return rank

    def _resize(self, rank: _Rank, block_tokens: int) -> None:
        for size, change in ((rank.block_tokens, -1), (block_tokens, 1)):
            if size:
                self._sizes[size] = self._sizes.get(size, 0) + change
                if not self._sizes[size]:
                    del self._sizes[size]
        rank.block_tokens = block_tokens

    def _empty(self, rank: _Rank) -> None:
        for group in rank.groups.values():
            self._release(rank, group.names.values())
        rank.groups.clear()
        rank.windowed.clear()
        rank.has_full = False
        self._resize(rank, 0)

    def _release(self, rank: _Rank, names: Collection[int]) -> None:
        holders, bit = self._holders, rank.bit
        self._held -= len(names)
        for name in names:
            mask = holders.get(name, 0) & ~bit
            if mask:
                holders[name] = mask
            else:
                holders.pop(name, None)

    def _store(self, rank: _Rank, event: BlockStored, contents: list[int] | None) -> None:
        group = self._group(rank, event)
        tier = "" if event.medium in _ACCELERATOR else str(event.medium)
        if group is None:
            self.counts.ignored_blocks += len(event.block_hashes)
            return
        if contents is None:
            self._store_by_hash(rank, group, event, tier)
            return
        if event.block_size != rank.block_tokens:
            if event.block_size < rank.block_tokens or (tier and rank.block_tokens):
                # A block that is not full: the end of a sequence, which only the same sequence can go on from. Or
                # another tier's larger unit.
                self.counts.ignored_blocks += len(contents)
                return
            if rank.block_tokens:
                # Those before were such ends.
                self._empty(rank)
                group = self._group(rank, event)
                assert group is not None
            self._resize(rank, event.block_size)
        if event.parent_block_hash is None:
            parent: int | None = root_name(space_of_event(event), event.block_size)
        else:
            parent = group.names.get(event.parent_block_hash)
        if parent is None:
            assert event.parent_block_hash is not None
            self.counts.waited_blocks += len(contents)
            orphan = Orphan(event.parent_block_hash, event.block_hashes, contents, tier)
            self.counts.dropped_blocks += group.wait(orphan)
            return
        self._hold(rank, group, event.block_hashes, contents, parent, tier, frozenset())
        orphans = group.claim(event.block_hashes)
        while orphans:
            orphan = orphans.pop()
            parent = group.names.get(orphan.parent)
            if parent is not None:
                self._hold(rank, group, orphan.hashes, orphan.contents, parent, orphan.tier, orphan.removed)
                orphans += group.claim(orphan.hashes)

    def _hold(
        self, rank: _Rank, group: RankBlocks, hashes: Sequence[BlockHash], contents: list[int], parent: int,
        tier: str, removed: Iterable[BlockHash],
    ) -> None:  # fmt: skip
        """Blocks one after the other, but for those that went before it was known where they belong."""
        holders, bit = self._holders, rank.bit
        hold, name = group.hold, parent
        self.counts.stored_blocks += len(hashes)
        if len(group.names) + len(hashes) > MAX_RANK_BLOCKS or self._held + len(hashes) > self._max_blocks:
            self.counts.dropped_blocks += len(hashes)
            return
        for block, content in zip(hashes, contents, strict=True):
            name = next_name(name, content)
            if block not in removed and hold(block, name, tier):
                self._held += 1
                mask = holders.get(name)
                holders[name] = bit if mask is None else mask | bit

    def _store_by_hash(self, rank: _Rank, group: RankBlocks, event: BlockStored, tier: str) -> None:
        """Another tier has blocks that it names by their hashes alone: useful for those that are known."""
        for block in event.block_hashes:
            name = group.names.get(block)
            if name is None or not tier:
                self.counts.ignored_blocks += 1
            else:
                group.hold(block, name, tier)

    def _remove(self, rank: _Rank, event: BlockRemoved) -> None:
        group = rank.groups.get(event.group_idx or 0)
        self.counts.removed_blocks += len(event.block_hashes)
        if group is None:
            return
        tier = "" if event.medium in _ACCELERATOR else str(event.medium)
        gone = [name for block in event.block_hashes if (name := group.drop(block, tier)) is not None]
        self._release(rank, gone)

    def _group(self, rank: _Rank, event: BlockStored) -> RankBlocks | None:
        """The blocks of the event's group of layers; None when it does not decide."""
        number = event.group_idx or 0
        group = rank.groups.get(number)
        if group is not None:
            return group
        windowed = event.kv_cache_spec_sliding_window is not None or (event.kv_cache_spec_kind or "").startswith(
            _WINDOWED
        )
        if windowed and (rank.has_full or (rank.windowed and number not in rank.windowed)):
            return None
        if not windowed and rank.has_full:
            return None  # a second group with full attention holds what the first does
        if not windowed:
            rank.has_full = True
            for other in rank.windowed:
                self._release(rank, rank.groups.pop(other).names.values())
            rank.windowed.clear()
        else:
            rank.windowed.add(number)
        group = rank.groups[number] = RankBlocks()
        return group

    def _depths(self, root: int, contents: NDArray[np.uint64]) -> Iterator[tuple[_Rank, int]]:
        """Ranks that hold the first block, and how many blocks in a row from there."""
        get = self._holders.get
        depth, alive, parent, chunk = 0, -1, root, _FIRST_CHUNK_BLOCKS
        while depth < len(contents):
            names: list[int] = names_after(parent, contents[depth : depth + chunk]).tolist()
            for mask in map(get, names):
                if mask != alive:
                    lost = alive & ~(mask or 0) if alive >= 0 else 0
                    alive = alive & (mask or 0)
                    if lost:
                        yield from self._ranks_of(lost, depth)
                    if not alive:
                        return
                depth += 1
            parent = names[-1]
            chunk = min(4 * chunk, 4096)
        if alive > 0:
            yield from self._ranks_of(alive, depth)

    def _ranks_of(self, mask: int, depth: int) -> Iterator[tuple[_Rank, int]]:
        while mask:
            low = mask & -mask
            rank = self._by_bit[low.bit_length() - 1]
            if rank is not None:
                yield rank, depth
            mask ^= low

    def _speculative(self, blocks: PromptBlocks, tokens: NDArray[np.uint32]) -> PromptBlocks:
        """The prompt as the trees of what was sent have it; `sent` usually follows `match`."""
        if self._last is None or self._last[0] is not blocks:
            self._last = (blocks, token_blocks(tokens, SPECULATION_BLOCK_TOKENS, _token_space(blocks)))
        return self._last[1]

    def _generations(self) -> tuple[PrefixTree, PrefixTree]:
        """The trees of what was sent lately: the one that is filled, and the one before it."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._turn_at_s:
            late = now_s >= self._turn_at_s + self._speculation_s
            self._speculation = (_fresh(), _fresh() if late else self._speculation[0])
            self._turn_at_s = now_s + self._speculation_s
        return self._speculation


def _fresh() -> PrefixTree:
    return PrefixTree(max_bytes=SPECULATION_BYTES)


def _tokens_of(blocks: PromptBlocks) -> NDArray[np.uint32] | None:
    return blocks.token_ids if isinstance(blocks, TokenizedPrompt) else None


def _token_space(blocks: PromptBlocks) -> int:
    return blocks.token_space if isinstance(blocks, TokenizedPrompt) else blocks.space
