"""Which endpoint holds which prefix: an approximate index of what was sent, a precise one of what engines report.

Prompts are cut into blocks with content hashes; an index compares them from the first on and answers in tokens.
"""

from fairlead.gateway.prefix.blocks import TokenizedPrompt, space_of, text_blocks, token_blocks
from fairlead.gateway.prefix.combined import CombinedIndex
from fairlead.gateway.prefix.index import PrefixIndex, PromptBlocks
from fairlead.gateway.prefix.precise import PreciseIndex
from fairlead.gateway.prefix.tree import PrefixTree

__all__ = [
    "CombinedIndex",
    "PreciseIndex",
    "PrefixIndex",
    "PrefixTree",
    "PromptBlocks",
    "TokenizedPrompt",
    "space_of",
    "text_blocks",
    "token_blocks",
]
