"""The prefix tree as bytes and back, so that a restarted picker knows what its endpoints hold.

A snapshot lists each run of blocks once and, for each endpoint, its tails with the ticks of their last use. Restoring
sends them again in that order, which rebuilds the same holdings and obeys the bounds of the tree it goes to. It is
drawn in slices between which the tree may change: what is held all the time is in it, what comes or goes may be.

Form: 8 bytes magic, XXH3 (64 bits, big-endian) of the rest, a msgpack map of little-endian arrays.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest

from fairlead.gateway.prefix.blocks import HASH_BYTES
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.prefix.node import Node
from fairlead.gateway.prefix.tree import Holdings, PrefixTree

MAX_SNAPSHOT_BYTES = 128 * 1024 * 1024
SLICE_NODES = 500
"""About a millisecond of work between two turns of the event loop."""

_MAGIC = b"FLPREFX1"
_ENTRY_BYTES = 16
"""Of a node or a tail, beside its hashes."""


class SnapshotError(ValueError):
    """Bytes that are no snapshot of a prefix tree, or not a whole one; the message says what is wrong with them."""


class _Space(msgspec.Struct, array_like=True, frozen=True):
    space: int
    block_tokens: float


class _Endpoint(msgspec.Struct, array_like=True, frozen=True):
    address: str
    capacity_tokens: float
    ticks: bytes
    """uint64 each."""
    nodes: bytes
    """uint32 each: the node in which the tail ends."""
    missing: bytes
    """uint32 each: blocks of that node's end which the endpoint lacks."""


class _Content(msgspec.Struct, frozen=True):
    spaces: list[_Space]
    parents: bytes
    """int32 each: an earlier node, or -1 - (number of a space)."""
    blocks: bytes
    """uint32 each."""
    runs: bytes
    """Hashes of all nodes, one node after the other."""
    endpoints: list[_Endpoint]


class _Tails:
    """What was seen of one endpoint."""

    __slots__ = ("holdings", "leave_bytes", "missing", "nodes", "ticks")

    def __init__(self, holdings: Holdings, leave_bytes: int) -> None:
        self.holdings = holdings
        self.leave_bytes = leave_bytes
        """Room that is to be left for other endpoints."""
        self.ticks: list[int] = []
        self.nodes: list[int] = []
        self.missing: list[int] = []


class Draft:
    """What was seen of a tree, not yet as bytes; `encode` touches the tree no more, so that a thread can do it."""

    def __init__(self, max_bytes: int) -> None:
        self._room_bytes = max_bytes
        self._spaces: dict[int, int] = {}  # space -> its number
        self._space_entries: list[_Space] = []
        self._known: dict[Node, tuple[int, bytes]] = {}  # node -> its number, and its run then
        self._parents: list[int] = []
        self._runs: list[bytes] = []
        self._endpoints: list[_Tails] = []

    def draw(self, tree: PrefixTree, slice_nodes: int) -> Generator[None]:
        """Note what the tree holds, the latest first, as far as the room goes; yields when a slice is done."""
        budget = slice_nodes
        endpoints = tree.endpoints()
        for index, holdings in enumerate(endpoints):
            share_bytes = self._room_bytes // (len(endpoints) - index)
            tails = _Tails(holdings, self._room_bytes - share_bytes)
            self._endpoints.append(tails)
            since = next(reversed(holdings.tails), 0)
            for tick in reversed(list(holdings.tails)):
                budget -= self._note(tails, tick)
                if self._room_bytes < tails.leave_bytes:
                    break
                if budget < 0:
                    yield
                    budget = slice_nodes
            # What was used meanwhile has moved to later ticks.
            for tick in reversed(holdings.tails):
                if tick <= since:
                    break
                budget -= self._note(tails, tick)

    def _note(self, tails: _Tails, tick: int) -> int:
        """One tail, if it is still there; answers how many entries it took."""
        node = tails.holdings.tails.get(tick)
        if node is None:
            return 1
        known = len(self._runs)
        tails.nodes.append(self._number(node))
        tails.ticks.append(tick)
        tails.missing.append(node.blocks - node.held(tails.holdings.address))
        self._room_bytes -= _ENTRY_BYTES
        return 1 + len(self._runs) - known

    def encode(self) -> bytes:
        """The snapshot."""
        content = msgspec.msgpack.encode(
            _Content(
                spaces=self._space_entries,
                parents=np.array(self._parents, "<i4").tobytes(),
                blocks=np.array([len(run) // HASH_BYTES for run in self._runs], "<u4").tobytes(),
                runs=b"".join(self._runs),
                endpoints=[
                    _Endpoint(
                        tails.holdings.address,
                        tails.holdings.capacity_tokens,
                        np.array(tails.ticks, "<u8").tobytes(),
                        np.array(tails.nodes, "<u4").tobytes(),
                        np.array(tails.missing, "<u4").tobytes(),
                    )
                    for tails in self._endpoints
                ],
            )
        )
        return b"".join((_MAGIC, xxh3_64_digest(content), content))

    def _number(self, node: Node) -> int:
        """Number of a node, which is noted first if need be, after those above it."""
        fresh: list[Node] = []
        above: Node | None = node
        parent = -1
        while above is not None:
            if not above.run:
                parent = -1 - self._space(above)
                break
            known = self._known.get(above)
            # A node that was split, merged or cut since it was noted is noted anew; the old entry stays true of others.
            if known is not None and known[1] is above.run:
                parent = known[0]
                break
            fresh.append(above)
            above = above.parent
        for one in reversed(fresh):
            self._parents.append(parent)
            parent = len(self._runs)
            self._runs.append(one.run)
            self._known[one] = (parent, one.run)
            self._room_bytes -= len(one.run) + _ENTRY_BYTES
        return parent

    def _space(self, root: Node) -> int:
        number = self._spaces.get(root.space)
        if number is None:
            number = self._spaces[root.space] = len(self._space_entries)
            self._space_entries.append(_Space(root.space, root.block_tokens))
        return number


def snapshot(tree: PrefixTree, max_bytes: int = MAX_SNAPSHOT_BYTES) -> bytes:
    """The tree as it is, in at most about `max_bytes`: what was used longest ago is left out first."""
    draft = Draft(max_bytes)
    for _ in draft.draw(tree, SLICE_NODES):
        pass
    return draft.encode()


def restore(tree: PrefixTree, data: bytes) -> int:
    """Send again what a snapshot lists, and count it. Raises SnapshotError, before the tree is changed."""
    content = _decode(data)
    nodes = _Nodes(content)
    tails: list[tuple[int, int, int, str]] = []
    for endpoint in content.endpoints:
        ticks, numbers, missing = _tail_arrays(endpoint, len(nodes.blocks))
        tails += zip(ticks, numbers, missing, (endpoint.address,) * len(ticks), strict=True)
    tails.sort()
    for endpoint in content.endpoints:
        tree.set_capacity(endpoint.address, endpoint.capacity_tokens)
    for tick, number, missing_blocks, address in tails:
        tree.replay(tick, address, nodes.prompt(number, missing_blocks))
    return len(tails)


class _Nodes:
    """The table of nodes, checked: every parent stands before its children, and the runs are as long as they say."""

    def __init__(self, content: _Content) -> None:
        self._spaces = content.spaces
        self.blocks = _array(content.blocks, "<u4", "blocks")
        parents = _array(content.parents, "<i4", "parents")
        if len(parents) != len(self.blocks) or self.blocks.sum(dtype=np.uint64) * HASH_BYTES != len(content.runs):
            raise SnapshotError("nodes, their parents and their hashes differ in number")
        if (parents >= np.arange(len(parents))).any() or (parents < -len(self._spaces)).any():
            raise SnapshotError("a node's parent does not stand before it")
        if any(not space.block_tokens > 0 for space in self._spaces):
            raise SnapshotError("blocks of no tokens")
        self._parents: list[int] = parents.tolist()
        self._ends: list[int] = (np.cumsum(self.blocks, dtype=np.int64) * HASH_BYTES).tolist()
        self._runs = content.runs

    def prompt(self, number: int, missing_blocks: int) -> PromptBlocks:
        """All blocks from the beginning to the end of a node, but for the last ones."""
        runs = []
        while number >= 0:
            runs.append(self._runs[self._ends[number - 1] if number else 0 : self._ends[number]])
            number = self._parents[number]
        data = b"".join(reversed(runs))
        space = self._spaces[-1 - number]
        hashes = np.frombuffer(data, np.uint64, len(data) // HASH_BYTES - missing_blocks)
        return PromptBlocks(hashes, space.block_tokens, space.space)


def _decode(data: bytes) -> _Content:
    head = len(_MAGIC) + HASH_BYTES
    if data[: len(_MAGIC)] != _MAGIC:
        raise SnapshotError(f"a snapshot of this version begins with {_MAGIC.decode()}, this with {data[:8]!r}")
    if xxh3_64_digest(memoryview(data)[head:]) != data[len(_MAGIC) : head]:
        raise SnapshotError(f"the checksum of its {len(data)} bytes is wrong: cut short or overwritten")
    try:
        content: _Content = _CONTENT.decode(memoryview(data)[head:])
        return content
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SnapshotError(str(error)) from error


_CONTENT = msgspec.msgpack.Decoder(_Content)


def _tail_arrays(endpoint: _Endpoint, nodes: int) -> tuple[list[int], list[int], list[int]]:
    ticks, numbers, missing = (
        _array(endpoint.ticks, "<u8", "ticks"),
        _array(endpoint.nodes, "<u4", "nodes"),
        _array(endpoint.missing, "<u4", "missing"),
    )
    if not len(ticks) == len(numbers) == len(missing) or (numbers >= nodes).any():
        raise SnapshotError(f"the tails of {endpoint.address} name nodes that are not there")
    if not endpoint.capacity_tokens > 0:
        raise SnapshotError(f"capacity of {endpoint.address}: {endpoint.capacity_tokens} tokens")
    return ticks.tolist(), numbers.tolist(), missing.tolist()


def _array(data: bytes, kind: str, name: str) -> NDArray[Any]:
    try:
        return np.frombuffer(data, kind)
    except ValueError as error:
        raise SnapshotError(f"{name}: {error}") from error
