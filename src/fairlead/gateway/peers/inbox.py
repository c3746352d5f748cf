"""What peers say, taken over into the load table and the prefix index. No I/O."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fairlead.gateway.load import LoadTable, PeerLoad
from fairlead.gateway.peers.messages import Loads, Prompts, ProtocolError
from fairlead.gateway.prefix.index import PrefixIndex, PromptBlocks

MAX_REQUESTS = 10_000_000
MAX_TOKENS = 2**53


class Inbox:
    """Applies messages of one peer at a time; believes nothing that cannot be true."""

    def __init__(self, loads: LoadTable, prefixes: PrefixIndex, busy: Callable[[str], None] | None = None) -> None:
        """`busy` is told of endpoints that a peer has requests at."""
        self._busy = busy
        self._loads = loads
        self._prefixes = prefixes

    def take_loads(self, replica: str, message: Loads, now_s: float) -> None:
        """Raises ProtocolError before anything is changed."""
        loads: dict[str, PeerLoad] = {}
        for address, requests, tokens, sent_tokens in message.loads:
            if not (0 <= requests <= MAX_REQUESTS and 0 <= tokens <= MAX_TOKENS and 0 <= sent_tokens <= MAX_TOKENS):
                raise ProtocolError(f"a load that cannot be: {address[:60]!r}, {requests}, {tokens}, {sent_tokens}")
            loads[address] = PeerLoad(requests, tokens, sent_tokens)
        self._loads.peer_loads(replica, loads, now_s, whole=message.whole)
        if self._busy is not None:
            for address, load in loads.items():
                if load.requests:
                    self._busy(address)

    def take_prompts(self, message: Prompts) -> None:
        """Raises ProtocolError at the first prompt that cannot be."""
        for address, block_tokens, space, hashes in message.prompts:
            if len(hashes) % 8 or not 0 < block_tokens < 1e6 or not 0 <= space < 2**64:
                raise ProtocolError(f"a prompt that cannot be: {len(hashes)} bytes of hashes, blocks of {block_tokens}")
            self._prefixes.sent(address, PromptBlocks(np.frombuffer(hashes, "<u8"), block_tokens, space))

    def gone(self, replica: str) -> None:
        """Nothing is heard of the peer."""
        self._loads.peer_gone(replica)
