"""The seam of prefix indexes: which endpoint is believed to hold how much of a prompt in its prefix cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class PromptBlocks:
    """A prompt cut into blocks, from its beginning. Blocks are equal when their content is, wherever they stand; the
    index itself compares them in order from the first."""

    hashes: NDArray[np.uint64]
    """One for each whole block."""
    block_tokens: float
    """Tokens of a block, exact or estimated."""
    space: int = 0
    """Prefixes are shared only within one space: model or adapter, and cache salt."""


class PrefixIndex(Protocol):
    """What every index answers. Not thread-safe: one event loop owns it."""

    def match(self, blocks: PromptBlocks) -> dict[str, int]:
        """Address -> tokens of the prompt's beginning that it holds; endpoints that hold nothing are left out."""
        ...

    def sent(self, address: str, blocks: PromptBlocks) -> None:
        """The prompt goes to this endpoint, whose cache will hold it."""
        ...

    def forget(self, address: str) -> None:
        """The endpoint, or what was in its cache, is no more."""
        ...
