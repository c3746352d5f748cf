"""Blocks of the KV cache that belong together."""

from __future__ import annotations

HASH_BYTES = 8
"""Width of one block hash in a chain."""


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
