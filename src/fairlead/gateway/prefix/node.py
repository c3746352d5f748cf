"""A run of consecutive blocks in the prefix tree, and who holds it."""

from __future__ import annotations

from fairlead.gateway.prefix.blocks import HASH_BYTES


class Node:
    """Blocks that follow one another in every prompt that has the first of them.

    A holder holds the node's parent wholly. It holds this node wholly too, unless `partial` says how many of its first
    blocks remain.
    """

    __slots__ = ("block_tokens", "children", "holders", "parent", "partial", "run", "space")

    def __init__(self, run: bytes, parent: Node | None, block_tokens: float, space: int = 0) -> None:
        self.run = run
        """Hashes of its blocks; empty at the root of a space."""
        self.parent = parent
        self.children: dict[bytes, Node] = {}
        """Hash of its first block -> child."""
        self.holders: dict[str, int] = {}
        """Address -> tick of the last use of this node there."""
        self.partial: dict[str, int] | None = None
        """Address -> blocks held there, fewer than all and at least one."""
        self.block_tokens = block_tokens
        self.space = space
        """Of a root; elsewhere not kept."""

    @property
    def blocks(self) -> int:
        return len(self.run) // HASH_BYTES

    def held(self, address: str) -> int:
        """Blocks that one of the holders holds."""
        partial = self.partial
        return partial.get(address, self.blocks) if partial else self.blocks

    def hold_only(self, address: str, blocks: int) -> None:
        """A holder keeps the first `blocks` blocks alone."""
        if self.partial is None:
            self.partial = {}
        self.partial[address] = blocks


def common_blocks(run: bytes, data: bytes, at: int) -> int:
    """How many blocks of a run equal those of `data` from byte `at` on."""
    if data.startswith(run, at):
        return len(run) // HASH_BYTES
    # Beginnings of a run agree up to some length and not beyond it, so that halving finds the length.
    same, different = 0, min(len(run), len(data) - at) // HASH_BYTES + 1
    while different - same > 1:
        middle = (same + different) // 2
        if data.startswith(run[same * HASH_BYTES : middle * HASH_BYTES], at + same * HASH_BYTES):
            same = middle
        else:
            different = middle
    return same
