"""What this picker has to tell the others since it last did. No I/O; bounded."""

from __future__ import annotations

import asyncio

from fairlead.gateway.load import LoadTable
from fairlead.gateway.peers.messages import Loads, Prompts, frame
from fairlead.gateway.prefix.index import PrefixIndex, PromptBlocks

MAX_PROMPT_BYTES = 2 * 1024 * 1024
"""Of hashes between two flushes: a hundred prompts of two million tokens each flush. What is beyond is not told."""


class Outbox:
    """Collects, and makes frames for all peers alike."""

    def __init__(self, loads: LoadTable) -> None:
        self._loads = loads
        self._prompts: list[tuple[str, float, int, bytes]] = []
        self._prompt_bytes = 0
        self.open = False
        """Whether anybody listens; while nobody does, prompts are not collected."""
        self.untold_prompts = 0
        self.has_prompts = asyncio.Event()

    def sent(self, address: str, blocks: PromptBlocks) -> None:
        """A prompt goes to an endpoint."""
        if not self.open or not len(blocks.hashes):
            return
        hashes = blocks.hashes.tobytes()
        if self._prompt_bytes + len(hashes) > MAX_PROMPT_BYTES:
            self.untold_prompts += 1
            return
        self._prompt_bytes += len(hashes)
        if not self._prompts:
            self.has_prompts.set()
        self._prompts.append((address, blocks.block_tokens, blocks.space, hashes))

    def take_loads(self) -> bytes:
        """The frame of all loads that have changed; empty when none has."""
        changed = self._loads.changed
        if not changed:
            return b""
        self._loads.changed = set()
        return frame(Loads(False, [(a, *load) for a, load in self._loads.own_loads(changed).items()]))

    def take_prompts(self) -> bytes:
        """The frame of all prompts since the last one; empty when there was none."""
        if not self._prompts:
            return b""
        prompts, self._prompts, self._prompt_bytes = self._prompts, [], 0
        self.has_prompts.clear()
        return frame(Prompts(prompts))

    def whole(self) -> bytes:
        """The frame of everything in flight."""
        return frame(Loads(True, [(a, *load) for a, load in self._loads.own_loads().items()]))


class SharedPrefixes:
    """A prefix index whose insertions the peers hear of; everything else is the index itself."""

    def __init__(self, index: PrefixIndex, outbox: Outbox) -> None:
        self.index = index
        self._outbox = outbox

    def match(self, blocks: PromptBlocks) -> dict[str, int]:
        """See `PrefixIndex`."""
        return self.index.match(blocks)

    def forget(self, address: str) -> None:
        """See `PrefixIndex`."""
        self.index.forget(address)

    def sent(self, address: str, blocks: PromptBlocks) -> None:
        """See `PrefixIndex`."""
        self.index.sent(address, blocks)
        self._outbox.sent(address, blocks)
