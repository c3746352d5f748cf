"""Who computes what in the next iteration: admission, chunked prefill and preemption, as vLLM V1 decides them.

The scheduler knows no durations. It is asked at the boundary between two iterations and answers with a `Plan`; the
decoding sequences, which are in every iteration, are not listed in it.
(Reference: vLLM 0.32, `v1/core/sched/scheduler.py::Scheduler.schedule`.)

Beside vLLM's own scheduler, on random loads over caches that are too small, it plans the same iterations token by token
and block by block. It deviates where that would cost work per token:

- Decoding sequences come before prompts, so that each is in every iteration; vLLM goes by admission, and with
  `long_prefill_token_threshold` several prompts under way can use up the budget before a sequence admitted later.
- Content that one sequence generates while another has it in its prompt is stored when somebody looks for it, so which
  of two copies is the older one can differ.
- With speculation all sequences of an iteration have the same number of tokens accepted.

Without speculation, they change some iteration in fewer than 1 of 100 of those loads
(`tests/simulator/engine/test_against_vllm.py`).
"""

from __future__ import annotations

from collections import deque

from fairlead.simulator.engine.adapters import AdapterSlots
from fairlead.simulator.engine.block_run import HASH_BYTES
from fairlead.simulator.engine.decode_batch import DecodeBatch
from fairlead.simulator.engine.kv_cache import BlockObserver, Hit, KvCache
from fairlead.simulator.engine.request import Sequence, State
from fairlead.simulator.engine.settings import EngineSettings


class Plan:
    """Prompt tokens of one iteration: chunks, their sum, the (query, key) pairs of their attention, the seconds that
    adapters to be loaded add, and the sequences whose KV cache is now to be fetched."""

    __slots__ = ("chunks", "fetches", "load_s", "pairs", "prefill_tokens")

    def __init__(self) -> None:
        self.chunks: list[tuple[Sequence, int]] = []
        self.fetches: list[Sequence] = []
        self.prefill_tokens = 0
        self.pairs = 0
        self.load_s = 0.0

    def add(self, sequence: Sequence, tokens: int) -> None:
        self.chunks.append((sequence, tokens))
        self.prefill_tokens += tokens
        self.pairs += tokens * sequence.computed_tokens + tokens * (tokens + 1) // 2


class Scheduler:
    """Queues, batch and cache of one engine."""

    def __init__(self, settings: EngineSettings, observer: BlockObserver | None = None) -> None:
        self.settings = settings
        speculation = settings.speculation
        self.lookahead = speculation.tokens if speculation else 0
        self._ahead = settings.async_scheduling and not speculation
        self.cache = KvCache(
            settings.num_blocks, settings.block_tokens, caching=settings.prefix_caching, observer=observer
        )
        self.decode = DecodeBatch(settings.block_tokens, self.lookahead)
        self.adapters = AdapterSlots(settings.adapters) if settings.adapters else None
        self.waiting: deque[Sequence] = deque()
        self.fetching: dict[Sequence, None] = {}
        """Their KV cache is on the way; they hold blocks."""
        self.fetched: deque[Sequence] = deque()
        """Their KV cache has come; they are admitted before all others."""
        self.running: dict[Sequence, None] = {}  # in order of admission
        self.prefilling: list[Sequence] = []
        self.ending: dict[Sequence, None] = {}
        """Have finished, but an iteration that is scheduled ahead does not know it: they keep slot and blocks."""
        self.blocked = False
        """The first in the queue cannot be admitted until something ends: more arrivals change nothing."""
        self.awaits_growth = False
        """What a sequence generates the first in the queue has in its prompt: it can need fewer blocks soon."""
        self.preemptions = 0
        self.prefix_queried_tokens = 0
        self.prefix_hit_tokens = 0
        # Of all blocks of vLLM, one of which requests cannot use.
        self._watermark_blocks = int(settings.watermark * (settings.num_blocks + 1))
        self._longest_chunk = settings.max_num_batched_tokens
        self._skipped: list[tuple[deque[Sequence], Sequence]] = []
        self._iteration = 0
        self._admissions = 0

    @property
    def num_waiting(self) -> int:
        return len(self.waiting) + len(self.fetching) + len(self.fetched)

    def plan(self, now_s: float, iteration: int, decode_tokens: int) -> Plan:
        """The prompt tokens of iteration number `iteration`, in which every decoding sequence gains `decode_tokens`."""
        plan = Plan()
        before, self._iteration = self.preemptions, iteration
        if self.settings.long_prefill_token_threshold:
            self._longest_chunk = self._chunk_limit()
        self._take_blocks_to_decode(now_s, decode_tokens)
        budget = self.settings.max_num_batched_tokens - self.decode.count * (1 + self.lookahead)
        for sequence in list(self.prefilling):
            if budget <= 0:
                break
            tokens = min(sequence.target_tokens - sequence.computed_tokens, budget, self._longest_chunk)
            while sequence.state is State.PREFILL and not self._grow(sequence, tokens):
                self._preempt_last(now_s)
            if sequence.state is not State.PREFILL:
                break
            plan.add(sequence, tokens)
            budget -= tokens
        if self.preemptions == before and (self.waiting or self.fetched):
            self._admit(plan, now_s, iteration, budget)
        return plan

    def prefilled(self, sequence: Sequence) -> None:
        """A sequence has its first token, or the first one after a preemption, and decodes from now on."""
        self.prefilling.remove(sequence)
        self.decode.join(sequence)
        if len(sequence.request.chain) > sequence.held_blocks * HASH_BYTES:
            self.cache.grows(sequence)

    def finish(self, sequence: Sequence, *, keep_blocks: bool = False) -> None:
        """A decoding sequence has all its tokens. `keep_blocks` until `remove`."""
        state = State.HELD if keep_blocks else State.FINISHED
        if not self.settings.async_scheduling:
            self.remove(sequence, state, keep_blocks=keep_blocks)
            return
        self.decode.leave(sequence, state)
        if sequence.request.adapter and self.adapters is not None:
            self.adapters.stop(sequence.request.adapter)
        if self.waiting:
            known = max(sequence.target_tokens, sequence.computed_tokens - 1)
            self.cache.publish(sequence, known // self.settings.block_tokens)
        self.ending[sequence] = None

    def release_ending(self) -> None:
        """The next iteration has been put together: those that finished before it give their place to the one after."""
        if self.ending:
            running, cache = self.running, self.cache
            for sequence in self.ending:
                del running[sequence]
                if sequence.state is not State.HELD:
                    cache.free(sequence)
            self.ending.clear()
            self.blocked = False

    def remove(self, sequence: Sequence, state: State, *, keep_blocks: bool = False) -> None:
        """A sequence ends or is taken out, wherever it is. `keep_blocks` until `release`."""
        if sequence in self.running:
            self._leave_batch(sequence, state)
        elif sequence in self.fetching:
            del self.fetching[sequence]
        elif sequence.state is State.FETCHING:
            self.fetched.remove(sequence)
        elif sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        sequence.state = state
        if keep_blocks:
            self.cache.publish(sequence, sequence.computed_tokens // self.settings.block_tokens)
        else:
            self.cache.free(sequence)

    def arrived(self, sequence: Sequence) -> None:
        """The KV cache of a fetching sequence is here: all but its last token need no computing."""
        del self.fetching[sequence]
        sequence.computed_tokens = sequence.target_tokens - 1
        self.cache.store(sequence, sequence.computed_tokens // self.settings.block_tokens)
        self.fetched.append(sequence)

    def preempt_all(self, now_s: float) -> None:
        """Everything that holds blocks goes back to the queue, what runs in its order before the rest."""
        for sequence in (*self.fetching, *self.fetched):
            self.cache.free(sequence)
            sequence.state = State.WAITING
            sequence.computed_tokens = 0
            self.waiting.appendleft(sequence)
        self.fetching.clear()
        self.fetched.clear()
        while self.running:
            self._preempt_last(now_s)

    def _take_blocks_to_decode(self, now_s: float, decode_tokens: int) -> None:
        """Take the next blocks of every decoding sequence; while they do not suffice, the first in the batch take what
        there is and the last is preempted."""
        decode, cache = self.decode, self.cache
        taken = 0
        while (missing := decode.blocks_for(decode_tokens) - taken) > cache.free_blocks:
            last = next(reversed(self.running))
            if last.state is State.DECODE:
                missing -= decode.blocks_of(last, decode_tokens)
            now_taken = min(missing, cache.free_blocks)
            cache.take(now_taken)
            taken += now_taken
            self._preempt_last(now_s)
        cache.take(missing)
        decode.got_blocks_for(decode_tokens)

    def _preempt_last(self, now_s: float) -> None:
        sequence = next(reversed(self.running))
        self.preemptions += 1
        self.blocked = False
        if sequence in self.ending:  # nothing of it is left to compute: it only leaves earlier
            del self.ending[sequence], self.running[sequence]
            if sequence.state is not State.HELD:
                self.cache.free(sequence)
            return
        decoding = sequence.state is State.DECODE
        self._leave_batch(sequence, State.WAITING)
        if decoding and self._ahead:
            # The token that the iteration under way gives is not known yet, so the block it completes has no hash.
            sequence.computed_tokens = max(sequence.target_tokens, sequence.computed_tokens - 1)
        self.cache.free(sequence)
        sequence.state = State.WAITING
        sequence.computed_tokens = 0
        sequence.target_tokens = sequence.request.prompt_tokens + sequence.generated_tokens
        sequence.preemptions += 1
        if sequence.generated_tokens and sequence.last_token_s < 0:
            sequence.last_token_s = now_s
        sequence.eligible_step = self._iteration + 1
        self.waiting.appendleft(sequence)

    def _leave_batch(self, sequence: Sequence, state: State) -> None:
        del self.running[sequence]
        if sequence.state is State.PREFILL:
            self.prefilling.remove(sequence)
        else:
            self.decode.leave(sequence, state)
        if sequence.request.adapter and self.adapters is not None:
            self.adapters.stop(sequence.request.adapter)

    def _chunk_limit(self) -> int:
        known = len(self.running) + len(self.fetching) + len(self.fetched)
        for sequence in self.waiting:  # in the order in which they become known
            if known > 1 or sequence.eligible_step > self._iteration:
                break
            known += 1
        return self.settings.long_prefill_token_threshold if known > 1 else self.settings.max_num_batched_tokens

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """Take the blocks for the next chunk of an admitted prompt, if they are free."""
        size = self.settings.block_tokens
        computed = sequence.computed_tokens + tokens
        needed = -(-(computed + self.lookahead) // size) - sequence.blocks
        if needed > self.cache.free_blocks:
            return False
        if needed > 0:
            self.cache.take(needed)
            sequence.blocks += needed
        self._store(sequence, computed // size)
        return True

    def _admit(self, plan: Plan, now_s: float, iteration: int, budget: int) -> None:
        settings, running = self.settings, self.running
        self.blocked = self.awaits_growth = False
        while budget > 0:
            queue = self.fetched or self.waiting
            if not queue:
                break
            if len(running) >= settings.max_num_seqs:
                self.blocked = True
                break
            sequence = queue[0]
            if sequence.eligible_step > iteration and running:
                break
            adapter = sequence.request.adapter
            if adapter and self.adapters is not None and not self.adapters.fits(adapter):
                self._skipped.append((queue, queue.popleft()))
                continue
            tokens = self._try_admit(sequence, budget, bool(running))
            if tokens < 0:
                self.blocked = not self.awaits_growth
                break
            queue.popleft()
            if sequence.scheduled_s < 0:
                sequence.scheduled_s = now_s
            if sequence.state is State.FETCHING:
                self.fetching[sequence] = None
                plan.fetches.append(sequence)
                continue
            self._admissions = sequence.order = self._admissions + 1
            running[sequence] = None
            self.prefilling.append(sequence)
            if adapter and self.adapters is not None:
                plan.load_s += self.adapters.start(adapter)
            plan.add(sequence, tokens)
            budget -= tokens
        while self._skipped:
            queue, sequence = self._skipped.pop()
            queue.appendleft(sequence)

    def _try_admit(self, sequence: Sequence, budget: int, busy: bool) -> int:
        """Take the blocks of a waiting sequence's first chunk. Returns its tokens, or -1 where they do not fit."""
        if sequence.state is State.FETCHING:
            if not self._grow(sequence, 1):
                return -1
            sequence.state = State.PREFILL
            return 1
        settings, cache, request = self.settings, self.cache, sequence.request
        size, target = settings.block_tokens, sequence.target_tokens
        # One token is always left to compute: its logits give the next one.
        hit = self._lookup(request.chain, (target - 1) // size) if request.chain else _NO_HIT
        cached = hit.blocks * size
        fetch = request.remote_kv and not sequence.preemptions and target - cached > 1
        tokens = target - cached
        if not fetch:
            tokens = min(tokens, self._longest_chunk)
            if tokens > budget:
                if not settings.chunked_prefill:
                    return -1
                tokens = budget
        free = cache.free_blocks - hit.free_blocks - (self._watermark_blocks if busy else 0)
        all_blocks = -(-target // size) - hit.blocks
        if settings.reserve_full_prompt and all_blocks > free:
            return -1
        lookahead = 0 if fetch else self.lookahead
        needed = -(-(cached + tokens + lookahead) // size) - hit.blocks
        if needed > free:
            return -1
        if hit.blocks:
            cache.hold(hit)
        cache.take(needed)
        sequence.blocks = hit.blocks + needed
        sequence.held_blocks = hit.blocks
        sequence.computed_tokens = cached
        if not sequence.preemptions:
            sequence.cached_tokens = cached
            self.prefix_queried_tokens += target
            self.prefix_hit_tokens += cached
        if fetch:
            sequence.state = State.FETCHING
            return 0
        sequence.state = State.PREFILL
        self._store(sequence, (cached + tokens) // size)
        return tokens

    def _lookup(self, chain: bytes, limit_blocks: int) -> Hit:
        """What of a chain can be found, with what decoding sequences have generated of it up to now."""
        cache = self.cache
        self.awaits_growth = False
        hit = cache.lookup(chain, limit_blocks)
        while hit.blocks < limit_blocks and cache.growing:
            before = hit.blocks
            found = self._publish(chain, before)
            if cache.overlaps:
                # What a sequence has generated may have been found through somebody else's copy up to where that ends.
                for run, _ in hit.path:
                    found |= self._publish(chain, run.start)
            if not found:
                break
            hit = cache.lookup(chain, limit_blocks)
            if hit.blocks == before:
                self.awaits_growth = True
                break
        return hit

    def _publish(self, chain: bytes, at: int) -> bool:
        """Store what decoding sequences have of a chain from block `at` on; whether there are such."""
        growing = self.cache.growing.get(chain[at * HASH_BYTES : (at + 1) * HASH_BYTES])
        if growing is None:
            return False
        self.cache.overlaps = True
        for sequence in sorted(growing, key=_furthest_first):
            if sequence.state is State.DECODE:
                self.cache.publish(sequence, self._known_tokens(sequence) // self.settings.block_tokens)
        return True

    def _store(self, sequence: Sequence, full_blocks: int) -> None:
        """Store blocks of a prompt, after what others have generated of it already."""
        if (chain := sequence.request.chain) and full_blocks > sequence.held_blocks:
            if self.cache.growing:
                self._publish(chain, sequence.held_blocks)
            self.cache.store(sequence, full_blocks)

    def _known_tokens(self, sequence: Sequence) -> int:
        """Of a decoding sequence, the tokens whose blocks are stored when an iteration is put together: those that the
        iteration computes, too, but where it is scheduled ahead the last one is not known."""
        computed = sequence.base + self.decode.depth
        return computed if self.settings.async_scheduling else computed + 1


def _furthest_first(sequence: Sequence) -> tuple[int, int]:
    return -sequence.base, sequence.order


_NO_HIT = Hit()
