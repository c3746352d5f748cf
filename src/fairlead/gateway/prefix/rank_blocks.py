"""What one rank of an engine holds by its events: its own hashes of blocks, and what we call those blocks.

Rules of the events (vLLM 0.32, SGLang 0.5, TensorRT-LLM 1.x):
- A block may be stored several times, when requests compute the same side by side, and is then removed as often; it is
  held until the last copy on the accelerator and in every other tier is gone.
- A tier below the accelerator has a block once, however often it says so. It may name a block by its hash alone.
- Blocks may come before their parent, after a gap or from another tier; they wait for it, as many as fit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from fairlead.engines.kv_events import BlockHash

MAX_WAITING_BLOCKS = 16_384


class Orphan:
    """Blocks whose parent is not known yet. `contents` are their content hashes, in order."""

    __slots__ = ("contents", "hashes", "parent", "removed", "tier")

    def __init__(self, parent: BlockHash, hashes: tuple[BlockHash, ...], contents: list[int], tier: str) -> None:
        self.parent = parent
        self.hashes = hashes
        self.contents = contents
        self.tier = tier
        self.removed: set[BlockHash] = set()
        """Of its hashes, those that went before the parent came."""


class RankBlocks:
    """One rank, and of models whose layers cache differently one group of layers."""

    __slots__ = ("_below", "_by_parent", "_copies", "_orphan_of", "_orphans", "names", "waiting_blocks")

    def __init__(self) -> None:
        self.names: dict[BlockHash, int] = {}
        """Engine's hash -> our name of the prefix that ends with the block."""
        self._copies: dict[BlockHash, int] = {}  # hash -> how often it is held beyond once
        self._below: set[tuple[BlockHash, str]] = set()  # blocks in tiers below the accelerator
        self._orphans: OrderedDict[int, Orphan] = OrderedDict()  # by identity, the oldest first
        self._orphan_of: dict[BlockHash, Orphan] = {}
        self._by_parent: dict[BlockHash, list[Orphan]] = {}
        self.waiting_blocks = 0

    def hold(self, block: BlockHash, name: int, tier: str) -> bool:
        """A copy of a block more; True when it is the first."""
        if tier:
            if (block, tier) in self._below:
                return False
            self._below.add((block, tier))
        known = self.names.get(block)
        if known is None:
            self.names[block] = name
            return True
        self._copies[block] = self._copies.get(block, 0) + 1
        return False

    def drop(self, block: BlockHash, tier: str) -> int | None:
        """A copy of a block less; its name when that was the last one, else None."""
        name = self.names.get(block)
        if name is None:
            orphan = self._orphan_of.get(block)
            if orphan is not None and orphan.tier == tier:
                orphan.removed.add(block)
            return None
        if tier:
            if (block, tier) not in self._below:
                return None
            self._below.discard((block, tier))
        copies = self._copies.get(block)
        if copies is not None:
            if copies == 1:
                del self._copies[block]
            else:
                self._copies[block] = copies - 1
            return None
        del self.names[block]
        return name

    def wait(self, orphan: Orphan) -> int:
        """Keep blocks until their parent comes; answers how many had to go for want of room."""
        if len(orphan.hashes) > MAX_WAITING_BLOCKS:
            return len(orphan.hashes)
        self._orphans[id(orphan)] = orphan
        self._by_parent.setdefault(orphan.parent, []).append(orphan)
        self.waiting_blocks += len(orphan.hashes)
        for block in orphan.hashes:
            self._orphan_of[block] = orphan
        gone = 0
        while self.waiting_blocks > MAX_WAITING_BLOCKS:
            oldest = next(iter(self._orphans.values()))
            siblings = self._by_parent[oldest.parent]
            siblings.remove(oldest)
            if not siblings:
                del self._by_parent[oldest.parent]
            self._release(oldest)
            gone += len(oldest.hashes)
        return gone

    def claim(self, parents: Iterable[BlockHash]) -> list[Orphan]:
        """Take out the orphans of blocks that have come."""
        found: list[Orphan] = []
        if self._by_parent:
            for parent in parents:
                found += self._by_parent.pop(parent, ())
            for orphan in found:
                self._release(orphan)
        return found

    def _release(self, orphan: Orphan) -> None:
        del self._orphans[id(orphan)]
        self.waiting_blocks -= len(orphan.hashes)
        for block in orphan.hashes:
            if self._orphan_of.get(block) is orphan:
                del self._orphan_of[block]
