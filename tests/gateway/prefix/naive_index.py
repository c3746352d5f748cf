"""The rule of the prefix tree in its plainest form: a dictionary of every prefix, used to check the tree."""

from __future__ import annotations

Prefix = tuple[int, ...]


class NaiveIndex:
    """Blocks of one token. Beyond the capacity the prefix used longest ago goes, the longest first of equals."""

    def __init__(self, capacity_blocks: int) -> None:
        self.default = capacity_blocks
        self.capacity: dict[str, int] = {}
        self.held: dict[str, dict[tuple[int, Prefix], int]] = {}
        self.tick = 0

    def match(self, space: int, blocks: Prefix) -> dict[str, int]:
        found = {}
        for address, held in self.held.items():
            depth = 0
            while depth < len(blocks) and (space, blocks[: depth + 1]) in held:
                depth += 1
            if depth:
                found[address] = depth
        return found

    def sent(self, address: str, space: int, blocks: Prefix) -> None:
        self.tick += 1
        held = self.held.setdefault(address, {})
        for depth in range(1, len(blocks) + 1):
            held[space, blocks[:depth]] = self.tick
        self._evict(address)

    def set_capacity(self, address: str, blocks: int) -> None:
        self.capacity[address] = blocks
        self._evict(address)

    def forget(self, address: str) -> None:
        self.held.pop(address, None)
        self.capacity.pop(address, None)

    def _evict(self, address: str) -> None:
        held = self.held.setdefault(address, {})
        while len(held) > self.capacity.get(address, self.default):
            del held[min(held, key=lambda prefix: (held[prefix], -len(prefix[1])))]
