"""The decoding sequences of an engine, advanced together.

Every decoding sequence gains the same number of tokens in an iteration, so the batch keeps one number, its depth, and
for each sequence only the difference to it. Joining and leaving cost O(log n); an advance by any number of tokens costs
O(block size), whatever the size of the batch.
"""

from __future__ import annotations

import heapq

from fairlead.simulator.engine.request import Sequence, State


class DecodeBatch:
    """`lookahead_tokens` slots beyond the next token are reserved per sequence (drafts of speculative decoding)."""

    __slots__ = (
        "_base_sum", "_block_tokens", "_finishes", "_lookahead", "_phases", "_slot_depth", "count", "depth",
    )  # fmt: skip

    def __init__(self, block_tokens: int, lookahead_tokens: int = 0) -> None:
        self.depth = 0
        """Tokens that a sequence which was always here would have generated."""
        self.count = 0
        self._slot_depth = 0  # depth up to which the sequences have their blocks; joining needs it to equal `depth`
        self._block_tokens = block_tokens
        self._lookahead = lookahead_tokens
        self._base_sum = 0
        self._phases = [0] * block_tokens
        """[p]: sequences whose slots end with a block whenever (slot depth + p) is a multiple of the block size."""
        self._finishes: list[tuple[int, int, Sequence]] = []

    @property
    def context_tokens(self) -> int:
        """Sum over the sequences of the tokens whose KV is there."""
        return self._base_sum + self.count * self.depth

    def join(self, sequence: Sequence) -> None:
        """A sequence has generated its first token, or is back after a preemption."""
        sequence.state = State.DECODE
        sequence.base = base = sequence.computed_tokens - self.depth
        sequence.finish_depth = finish = self.depth + sequence.request.output_tokens - sequence.generated_tokens
        self.count += 1
        self._base_sum += base
        self._phases[(base + self._lookahead) % self._block_tokens] += 1
        heapq.heappush(self._finishes, (finish, sequence.order, sequence))

    def leave(self, sequence: Sequence, state: State) -> None:
        """Take a sequence out, with its counts exact again."""
        depth, base = self.depth, sequence.base
        self.count -= 1
        self._base_sum -= base
        self._phases[(base + self._lookahead) % self._block_tokens] -= 1
        reached = min(depth, sequence.finish_depth)
        sequence.computed_tokens = base + reached
        sequence.generated_tokens = sequence.request.output_tokens - (sequence.finish_depth - reached)
        sequence.blocks = -(-(base + self._slot_depth + self._lookahead) // self._block_tokens)
        sequence.state = state
        if not self.count:
            self._slot_depth = depth

    def blocks_for(self, tokens: int) -> int:
        """Blocks that all sequences together still lack to gain `tokens` tokens each."""
        depth = self._slot_depth
        missing = self.depth + tokens - depth
        if missing <= 0:
            return 0
        size = self._block_tokens
        turns, rest = divmod(missing, size)
        needed = turns * self.count
        if rest:
            phases = self._phases
            for ahead in range(depth, depth + rest):
                needed += phases[-ahead % size]
        return needed

    def blocks_of(self, sequence: Sequence, tokens: int) -> int:
        """Of `blocks_for`, what one sequence lacks."""
        slots = sequence.base + self._lookahead
        size = self._block_tokens
        return -(-(slots + self.depth + tokens) // size) - -(-(slots + self._slot_depth) // size)

    def got_blocks_for(self, tokens: int) -> None:
        """The sequences have the blocks to gain `tokens` tokens each."""
        if self.count:
            self._slot_depth = max(self._slot_depth, self.depth + tokens)

    def tokens_to_finish(self) -> int:
        """Tokens until the first sequence ends; the batch must not be empty."""
        finishes = self._finishes
        while True:
            finish, _, sequence = finishes[0]
            if sequence.state is State.DECODE and sequence.finish_depth == finish:
                return finish - self.depth
            heapq.heappop(finishes)

    def advance(self, tokens: int) -> list[Sequence]:
        """Every sequence gains `tokens` tokens, and has the blocks; returns those that have ended, in the order in
        which they were admitted, not yet taken out."""
        self.depth = depth = self.depth + tokens
        if depth > self._slot_depth:
            self._slot_depth = depth
        finishes = self._finishes
        ended: list[tuple[int, Sequence]] = []
        while finishes and finishes[0][0] <= depth:
            finish, order, sequence = heapq.heappop(finishes)
            if sequence.state is State.DECODE and sequence.finish_depth == finish:
                ended.append((order, sequence))
                sequence.state = State.FINISHED
        if len(ended) > 1:
            ended.sort(key=_order)
        return [sequence for _, sequence in ended]

    def generated(self, sequence: Sequence, further_tokens: int) -> int:
        """Tokens that a sequence of the batch has generated when the batch is `further_tokens` on."""
        ahead = sequence.finish_depth - self.depth - further_tokens
        return sequence.request.output_tokens - max(0, ahead)


def _order(ended: tuple[int, Sequence]) -> int:
    return ended[0]
