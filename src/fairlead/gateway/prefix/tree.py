"""The approximate prefix index: what each endpoint was sent is what it is believed to hold.

A compressed radix tree over content hashes of blocks. The work of a request grows with the number of runs on its path,
not with its blocks: runs are bytes, compared by memcmp.

Each endpoint has a capacity. Beyond it the blocks that were used longest ago go first, of those of one prompt the last
first: what engines do, and what keeps everything held a prefix of something sent. All blocks that one prompt was the
last to use at an endpoint are the tail of that prompt, so that the order of use is a list of tails and not of blocks.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict

from fairlead.gateway.prefix.blocks import HASH_BYTES
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.prefix.node import Node, common_blocks

DEFAULT_CAPACITY_TOKENS = 500_000
"""Of an endpoint that does not say: 31,250 blocks of 16 tokens, as in llm-d."""
MAX_BYTES = 512 * 1024 * 1024
NODE_BYTES = 360
"""Of a node beside its hashes and holders, measured."""
HOLDING_BYTES = 150
"""For each holder of a node, measured."""


class Holdings:
    """What one endpoint is believed to hold."""

    __slots__ = ("address", "capacity_tokens", "tails", "tokens")

    def __init__(self, address: str, capacity_tokens: float) -> None:
        self.address = address
        self.capacity_tokens = capacity_tokens
        self.tokens = 0.0
        self.tails: OrderedDict[int, Node] = OrderedDict()
        """Tick -> the deepest node that was last used then; oldest first."""


class PrefixTree:
    """See the module. `PrefixIndex` of what was sent, bounded in memory."""

    def __init__(self, capacity_tokens: float = DEFAULT_CAPACITY_TOKENS, max_bytes: int = MAX_BYTES) -> None:
        if capacity_tokens <= 0 or max_bytes <= 0:
            raise ValueError(f"capacity_tokens ({capacity_tokens}) and max_bytes ({max_bytes}) must be above 0")
        self._default_capacity_tokens = capacity_tokens
        self._max_bytes = max_bytes
        self._roots: dict[int, Node] = {}
        self._endpoints: dict[str, Holdings] = {}
        self._tick = 0
        self._nodes = 0
        self._blocks = 0
        self._shares = 0  # pairs of a node and a holder
        self._walked: tuple[PromptBlocks, bytes, list[Node], int] | None = None

    @property
    def blocks(self) -> int:
        """Different blocks in the tree; one that many endpoints hold counts once."""
        return self._blocks

    @property
    def memory_bytes(self) -> int:
        """An estimate from counts."""
        return self._blocks * HASH_BYTES + self._nodes * NODE_BYTES + self._shares * HOLDING_BYTES

    @property
    def addresses(self) -> list[str]:
        """Endpoints of which something is believed."""
        return list(self._endpoints)

    def held_tokens(self, address: str) -> float:
        """Tokens that an endpoint is believed to hold."""
        holdings = self._endpoints.get(address)
        return holdings.tokens if holdings else 0.0

    def match(self, blocks: PromptBlocks) -> dict[str, int]:
        """See `PrefixIndex`."""
        data = blocks.hashes.tobytes()
        path, common = self._walk(data, blocks.space)
        # `sent` with the same prompt usually follows at once.
        self._walked = (blocks, data, path, common)
        if not path:
            return {}
        held: dict[str, int] = {}
        block_tokens = blocks.block_tokens
        depth = 0
        last = path[-1]
        for node in path:
            count = common if node is last else len(node.run) // HASH_BYTES
            held.update(dict.fromkeys(node.holders, int((depth + count) * block_tokens)))
            if node.partial:
                for address, kept in node.partial.items():
                    held[address] = int((depth + min(kept, count)) * block_tokens)
            depth += count
        return held

    def sent(self, address: str, blocks: PromptBlocks) -> None:
        """See `PrefixIndex`."""
        self._tick += 1
        walked = self._walked
        self._walked = None
        holdings = self._endpoints.get(address)
        if holdings is None:
            holdings = self._endpoints[address] = Holdings(address, self._default_capacity_tokens)
        capacity_blocks = int(holdings.capacity_tokens // blocks.block_tokens)
        if walked is not None and walked[0] is blocks and len(walked[1]) <= capacity_blocks * HASH_BYTES:
            _, data, path, common = walked
        else:
            data = blocks.hashes[:capacity_blocks].tobytes()
            path, common = self._walk(data, blocks.space)
        if data:
            self._insert(holdings, blocks, data, path, common)

    def set_capacity(self, address: str, tokens: float) -> None:
        """How much fits the endpoint's KV cache, as the engine says. Raises ValueError when that is nothing."""
        if tokens <= 0:
            raise ValueError(f"capacity of {address}: {tokens} tokens, must be above 0")
        holdings = self._endpoints.get(address)
        if holdings is None:
            self._endpoints[address] = Holdings(address, tokens)
        elif holdings.capacity_tokens != tokens:
            self._walked = None
            holdings.capacity_tokens = tokens
            self._evict(holdings)

    def forget(self, address: str) -> None:
        """See `PrefixIndex`."""
        self.clear(address)
        self._endpoints.pop(address, None)

    def clear(self, address: str) -> None:
        """The endpoint lost its cache and goes on with the same capacity."""
        self._walked = None
        self._tick += 1
        holdings = self._endpoints.get(address)
        while holdings is not None and holdings.tails:
            self._drop_oldest(holdings)

    @property
    def tick(self) -> int:
        """Grows with everything that is sent or forgotten."""
        return self._tick

    def endpoints(self) -> list[Holdings]:
        """What a snapshot is made of."""
        return list(self._endpoints.values())

    def replay(self, tick: int, address: str, blocks: PromptBlocks) -> None:
        """`sent` as it was at a tick that must not lie before the last one."""
        self._tick = max(self._tick, tick - 1)
        self.sent(address, blocks)

    def _walk(self, data: bytes, space: int) -> tuple[list[Node], int]:
        """The nodes that `data` leads through, and how many blocks of the last of them it has."""
        path: list[Node] = []
        node = self._roots.get(space)
        at, end, common = 0, len(data), 0
        while node is not None and at < end:
            node = node.children.get(data[at : at + HASH_BYTES])
            if node is None:
                break
            path.append(node)
            run = node.run
            if data.startswith(run, at):
                at += len(run)
                common = len(run) // HASH_BYTES
                continue
            common = common_blocks(run, data, at)
            break
        return path, common

    def _insert(self, holdings: Holdings, blocks: PromptBlocks, data: bytes, path: list[Node], common: int) -> None:
        if path and common * HASH_BYTES < len(path[-1].run):
            path[-1] = self._split(path[-1], common)
        self._touch(holdings, path)
        depth_bytes = sum(len(node.run) for node in path)
        last = path[-1] if path else self._root(blocks)
        if depth_bytes < len(data):
            last = self._append(holdings, last, data[depth_bytes:])
        holdings.tails[self._tick] = last
        if holdings.tokens > holdings.capacity_tokens:
            self._evict(holdings)
        if self.memory_bytes > self._max_bytes:
            self._relieve()

    def _root(self, blocks: PromptBlocks) -> Node:
        root = self._roots.get(blocks.space)
        if root is None:
            root = self._roots[blocks.space] = Node(b"", None, blocks.block_tokens, blocks.space)
            self._nodes += 1
        return root

    def _touch(self, holdings: Holdings, path: list[Node]) -> None:
        """All nodes of a path are used now, and held wholly."""
        address, tick, tails = holdings.address, self._tick, holdings.tails
        for node in path:
            before = node.holders.get(address)
            node.holders[address] = tick
            if before is None:
                self._shares += 1
                holdings.tokens += node.blocks * node.block_tokens
                continue
            if tails.get(before) is node:
                del tails[before]
            partial = node.partial
            if partial and address in partial:
                holdings.tokens += (node.blocks - partial.pop(address)) * node.block_tokens

    def _append(self, holdings: Holdings, last: Node, run: bytes) -> Node:
        """Further blocks after a node: a child, or a longer run where nobody else can tell the difference."""
        blocks = len(run) // HASH_BYTES
        self._blocks += blocks
        holdings.tokens += blocks * last.block_tokens
        if last.run and not last.children and len(last.holders) == 1:
            last.run += run
            return last
        child = Node(run, last, last.block_tokens)
        last.children[run[:HASH_BYTES]] = child
        child.holders[holdings.address] = self._tick
        self._nodes += 1
        self._shares += 1
        return child

    def _split(self, node: Node, blocks: int) -> Node:
        """The first blocks of a node become a node of their own, which is returned; the rest is its only child."""
        parent, run = node.parent, node.run
        assert parent is not None
        cut = blocks * HASH_BYTES
        upper = Node(run[:cut], parent, node.block_tokens)
        parent.children[run[:HASH_BYTES]] = upper
        upper.children[run[cut : cut + HASH_BYTES]] = node
        node.parent, node.run = upper, run[cut:]
        upper.holders = node.holders.copy()
        self._nodes += 1
        self._shares += len(upper.holders)
        if node.partial:
            self._split_partial(node, upper, blocks)
        if not node.holders:
            # Only beginnings that end before the cut were held.
            self._prune(node)
        return upper

    def _split_partial(self, node: Node, upper: Node, blocks: int) -> None:
        partial, node.partial = node.partial, None
        assert partial is not None
        for address, kept in partial.items():
            if kept > blocks:
                node.hold_only(address, kept - blocks)
                continue
            if kept < blocks:
                upper.hold_only(address, kept)
            tick = node.holders.pop(address)
            self._shares -= 1
            self._endpoints[address].tails[tick] = upper

    def _evict(self, holdings: Holdings) -> None:
        """Take from the oldest tails until the rest fits."""
        while holdings.tails:
            tick, node = next(iter(holdings.tails.items()))
            excess = (holdings.tokens - holdings.capacity_tokens) / node.block_tokens
            # Sums of fractions may be off by a hair; that is no block.
            count = math.ceil(excess - 1e-6)
            if count <= 0:
                return
            held = node.held(holdings.address)
            if count >= held:
                self._drop(holdings, tick, node, held)
            else:
                holdings.tokens -= count * node.block_tokens
                node.hold_only(holdings.address, held - count)
                self._shorten(node)

    def _drop_oldest(self, holdings: Holdings) -> None:
        tick, node = next(iter(holdings.tails.items()))
        self._drop(holdings, tick, node, node.held(holdings.address))

    def _drop(self, holdings: Holdings, tick: int, node: Node, held: int) -> None:
        """The endpoint holds nothing more of a node that is the end of a tail."""
        address = holdings.address
        holdings.tokens -= held * node.block_tokens
        del node.holders[address]
        self._shares -= 1
        if node.partial:
            node.partial.pop(address, None)
        parent = node.parent
        assert parent is not None
        if parent.holders.get(address) == tick:
            holdings.tails[tick] = parent
        else:
            del holdings.tails[tick]
            if not holdings.tails:
                holdings.tokens = 0.0
        if not node.holders:
            self._prune(node)
        elif node.partial:
            self._shorten(node)

    def _shorten(self, node: Node) -> None:
        """Blocks that no holder has any more leave the end of a node."""
        partial = node.partial
        if not partial or len(partial) < len(node.holders):
            return
        kept = max(partial.values())
        self._blocks -= node.blocks - kept
        node.run = node.run[: kept * HASH_BYTES]
        rest = {address: blocks for address, blocks in partial.items() if blocks < kept}
        node.partial = rest or None

    def _prune(self, node: Node) -> None:
        """A node without holders goes; so it has no children either."""
        parent = node.parent
        assert parent is not None
        del parent.children[node.run[:HASH_BYTES]]
        self._blocks -= node.blocks
        self._nodes -= 1
        if parent.run:
            if len(parent.children) == 1 and parent.holders:
                self._merge(parent)
        elif not parent.children:
            del self._roots[parent.space]
            self._nodes -= 1

    def _merge(self, node: Node) -> None:
        """A node and its only child become one where every holder has used both for the last time at once."""
        (child,) = node.children.values()
        if child.holders != node.holders:
            return
        partial, blocks = child.partial, node.blocks
        node.partial = {a: kept + blocks for a, kept in partial.items()} if partial else None
        node.run += child.run
        node.children = child.children
        for grandchild in node.children.values():
            grandchild.parent = node
        for address, tick in child.holders.items():
            tails = self._endpoints[address].tails
            if tails.get(tick) is child:
                tails[tick] = node
        self._nodes -= 1
        self._shares -= len(child.holders)

    def _relieve(self) -> None:
        """Forget what was used longest ago anywhere, down to 95 % of the bound, so that it is seldom needed."""
        oldest = [(next(iter(h.tails)), address) for address, h in self._endpoints.items() if h.tails]
        heapq.heapify(oldest)
        while oldest and self.memory_bytes > 0.95 * self._max_bytes:
            _, address = oldest[0]
            holdings = self._endpoints[address]
            self._drop_oldest(holdings)
            if holdings.tails:
                heapq.heapreplace(oldest, (next(iter(holdings.tails)), address))
            else:
                heapq.heappop(oldest)
