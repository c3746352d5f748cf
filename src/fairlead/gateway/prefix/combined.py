"""One index of both: what engines report where they do and the prompt's tokens are known, else what was sent."""

from __future__ import annotations

from fairlead.engines.kv_events import KvEventBatch
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.tree import PrefixTree


class CombinedIndex:
    """`PrefixIndex` over an approximate and a precise one.

    An endpoint whose events were read from the start is answered for by them alone. Where reading began in the middle
    the larger answer counts: blocks stored before are unknown to the precise index.
    """

    def __init__(self, approximate: PrefixTree, precise: PreciseIndex) -> None:
        self.approximate = approximate
        self.precise = precise

    def match(self, blocks: PromptBlocks) -> dict[str, int]:
        """See `PrefixIndex`."""
        held = self.approximate.match(blocks)
        if getattr(blocks, "token_ids", None) is None:
            return held
        precise = self.precise
        exact = precise.match(blocks)
        for address in [a for a in held if a not in exact and precise.is_complete(a)]:
            del held[address]
        for address, tokens in exact.items():
            if precise.is_complete(address) or tokens > held.get(address, 0):
                held[address] = tokens
        return held

    def sent(self, address: str, blocks: PromptBlocks) -> None:
        """See `PrefixIndex`."""
        self.approximate.sent(address, blocks)
        self.precise.sent(address, blocks)

    def forget(self, address: str) -> None:
        """See `PrefixIndex`."""
        self.approximate.forget(address)
        self.precise.forget(address)

    def ingest(self, address: str, batch: KvEventBatch, rank: int | None = None) -> None:
        """See `PreciseIndex`."""
        self.precise.ingest(address, batch, rank)

    def joined(self, address: str, rank: int = 0, *, complete: bool) -> None:
        """See `PreciseIndex`."""
        self.precise.joined(address, rank, complete=complete)

    def clear(self, address: str, rank: int = 0) -> None:
        """Events were lost; what was sent is believed on."""
        self.precise.clear(address, rank)

    def restarted(self, address: str, rank: int = 0) -> None:
        """The engine lost its cache; what was sent to it before is gone, too."""
        self.precise.restarted(address, rank)
        self.approximate.clear(address)

    def set_capacity(self, address: str, tokens: float) -> None:
        """See `PrefixTree`."""
        self.approximate.set_capacity(address, tokens)
