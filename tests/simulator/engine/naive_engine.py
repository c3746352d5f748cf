"""The engine model once more, as slow and plain as possible: one iteration, one sequence and one block at a time.

It follows the scheduler and block pool of vLLM with lists and loops; the fast engine is compared with it. `literal`
also where the fast engine deliberately does not (see `fairlead.simulator.engine.scheduler` and `kv_cache`); then it is
what vLLM's own scheduler is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead.perf.step import LinearCost
from fairlead.simulator.engine import EngineSettings, Request
from fairlead.simulator.engine.adapters import AdapterSlots
from fairlead.simulator.engine.jitter import Acceptance


@dataclass(eq=False)
class Block:
    hash: bytes | None = None
    findable: bool = False
    refs: int = 0


class Pool:
    def __init__(self, count: int, caching: bool) -> None:
        self.free = [Block() for _ in range(count)]
        self.by_hash: dict[bytes, list[Block]] = {}
        self.caching = caching

    def take(self) -> Block:
        block = self.free.pop(0)
        if block.findable:
            self.by_hash[block.hash].remove(block)
            if not self.by_hash[block.hash]:
                del self.by_hash[block.hash]
        block.hash, block.findable, block.refs = None, False, 1
        return block

    def hit(self, hashes: list[bytes]) -> list[Block]:
        found = []
        for one in hashes if self.caching else []:
            if one not in self.by_hash:
                break
            found.append(self.by_hash[one][0])
        return found

    def touch(self, block: Block) -> None:
        if not block.refs:
            self.free.remove(block)
        block.refs += 1

    def give_back(self, blocks: list[Block]) -> None:
        for block in reversed(blocks):
            block.refs -= 1
            if block.refs:
                continue
            if block.hash is None:
                self.free.insert(0, block)
            else:
                self.free.append(block)


@dataclass(eq=False)
class Seq:
    request: Request
    arrived_s: float
    eligible: int = 0
    computed: int = 0
    generated: int = 0
    target: int = 0
    preemptions: int = 0
    cached: int = 0
    blocks: list[Block] = field(default_factory=list)
    first_s: float = -1.0
    finished_s: float = -1.0
    tokens: list[float] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.request.prompt_tokens + self.generated

    @property
    def hashes(self) -> list[bytes]:
        chain = self.request.chain
        return [chain[i : i + 8] for i in range(0, len(chain), 8)]

    @property
    def decoding(self) -> bool:
        return self.computed >= self.target > 0


class NaiveEngine:
    def __init__(self, settings: EngineSettings, cost: LinearCost, seed: int = 0, *, literal: bool = False) -> None:
        self.settings, self.cost, self.literal = settings, cost, literal
        self.pool = Pool(settings.num_blocks, settings.prefix_caching)
        self.waiting: list[Seq] = []
        self.running: list[Seq] = []
        self.ending: list[Seq] = []
        """Finished, but scheduling ahead has not seen it: the next iteration is put together around them."""
        self.iteration = 0
        self.iterations: list[tuple[float, dict[str | int, int], list[str | int], int]] = []
        """Start, tokens per request, who was preempted for it, and free blocks."""
        self.preempted: list[str | int] = []
        self.lookahead = settings.speculation.tokens if settings.speculation else 0
        self.acceptance = (
            Acceptance(self.lookahead, settings.speculation.acceptance, seed) if settings.speculation else None
        )
        self.adapters = AdapterSlots(settings.adapters) if settings.adapters else None
        self.preemptions = 0

    def run(self, requests: list[tuple[float, Request]]) -> list[Seq]:
        """Serve everything; requests in order of arrival."""
        every = [Seq(request, at_s) for at_s, request in requests]
        coming = list(every)
        now_s = 0.0
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                first = coming.pop(0)
                now_s = max(now_s, first.arrived_s)
                self.waiting.append(first)
            scheduled, extra_s = self._schedule()
            free = len(self.pool.free)
            if not scheduled:
                assert self.ending
                self._release_ending()
                self.iteration += 1
                continue
            self._release_ending()
            tokens = {s.request.id: n for s, n in scheduled}
            self.iterations.append((now_s, tokens, self.preempted, free))
            self.preempted = []
            end_s = now_s + extra_s + self._duration(scheduled)
            while coming and coming[0].arrived_s < end_s:
                seq = coming.pop(0)
                seq.eligible = self.iteration + (2 if self.settings.async_scheduling else 1)
                self.waiting.append(seq)
            self._update(scheduled, end_s)
            now_s = end_s
            self.iteration += 1
        return every

    def _duration(self, scheduled: list[tuple[Seq, int]]) -> float:
        prefill = [(s, n) for s, n in scheduled if not s.decoding]
        decode = [s for s, _ in scheduled if s.decoding]
        pairs = sum(s.computed + i + 1 for s, n in prefill for i in range(n))
        draft_s = self.settings.speculation.draft_s if decode and self.settings.speculation else 0.0
        return draft_s + self.cost.step_s(
            sum(n for _, n in prefill), pairs, len(decode) * (1 + self.lookahead), sum(s.computed for s in decode)
        )

    def _schedule(self) -> tuple[list[tuple[Seq, int]], float]:
        settings = self.settings
        budget = settings.max_num_batched_tokens
        known = len(self.running) + sum(s.eligible <= self.iteration for s in self.waiting)
        threshold = settings.long_prefill_token_threshold if known > 1 else 0
        scheduled: list[tuple[Seq, int]] = []
        preempted = False
        gained = self.acceptance.tokens(self.iteration, 1) if self.acceptance else 1
        order = list(self.running)
        if not self.literal:  # decoding ones first: they must never be starved by prompts
            order.sort(key=lambda s: not s.decoding)
        for seq in order:
            if seq not in self.running or seq in self.ending or budget <= 0:
                continue
            if seq.decoding:
                tokens, slots = 1 + self.lookahead, seq.computed + gained + self.lookahead
            else:
                tokens = min(seq.length - seq.computed, threshold or budget, budget)
                slots = seq.computed + tokens + self.lookahead
            while not self._allocate(seq, slots):
                victim = self.running.pop()
                self.preempted.append(victim.request.id)
                if victim in self.ending:
                    self._leave(victim)
                    self.ending.remove(victim)
                    self.preemptions += 1
                else:
                    self._preempt(victim)
                scheduled = [(s, n) for s, n in scheduled if s is not victim]
                preempted = True
                if victim is seq:
                    break
            if seq in self.running:
                scheduled.append((seq, tokens))
                budget -= tokens
                if not seq.decoding:
                    self._store(seq, seq.computed + tokens)
                else:
                    # Scheduling ahead does not know the token that the iteration under way gives.
                    self._store(seq, seq.computed + (0 if settings.async_scheduling else 1))
        return scheduled, (0.0 if preempted else self._admit(scheduled, budget, threshold))

    def _admit(self, scheduled: list[tuple[Seq, int]], budget: int, threshold: int) -> float:
        settings, extra_s, skipped = self.settings, 0.0, []
        size = settings.block_tokens
        while budget > 0 and self.waiting and len(self.running) < settings.max_num_seqs:
            seq = self.waiting[0]
            if seq.eligible > self.iteration and self.running:
                break
            adapter = seq.request.adapter
            if adapter and self.adapters and not self.adapters.fits(adapter):
                skipped.append(self.waiting.pop(0))
                continue
            hit = self.pool.hit(seq.hashes[: (seq.length - 1) // size])
            cached = len(hit) * size
            tokens = seq.length - cached
            if threshold:
                tokens = min(tokens, threshold)
            if tokens > budget and not settings.chunked_prefill:
                break
            tokens = min(tokens, budget)
            free = len(self.pool.free) - sum(not b.refs for b in hit)
            if self.running:
                free -= int(settings.watermark * (settings.num_blocks + 1))
            if settings.reserve_full_prompt and -(-seq.length // size) - len(hit) > free:
                break
            if -(-(cached + tokens + self.lookahead) // size) - len(hit) > free:
                break
            self.waiting.pop(0)
            for block in hit:
                self.pool.touch(block)
            seq.blocks, seq.computed, seq.target = list(hit), cached, seq.length
            if not seq.preemptions:
                seq.cached = cached
            assert self._allocate(seq, cached + tokens + self.lookahead)
            self._store(seq, cached + tokens)
            self.running.append(seq)
            if adapter and self.adapters:
                extra_s += self.adapters.start(adapter)
            scheduled.append((seq, tokens))
            budget -= tokens
        self.waiting[:0] = skipped
        return extra_s

    def _allocate(self, seq: Seq, slots: int) -> bool:
        needed = -(-slots // self.settings.block_tokens) - len(seq.blocks)
        if needed > len(self.pool.free):
            return False
        seq.blocks += [self.pool.take() for _ in range(max(0, needed))]
        return True

    def _store(self, seq: Seq, computed: int) -> None:
        """Full blocks become findable, copies of others among them."""
        if not self.pool.caching:
            return
        hashes = seq.hashes
        for i in range(computed // self.settings.block_tokens):
            block = seq.blocks[i]
            if block.hash is not None:
                continue
            if i >= len(hashes):
                block.hash = b"unfindable"
            else:
                block.hash, block.findable = hashes[i], True
                self.pool.by_hash.setdefault(hashes[i], []).append(block)

    def _leave(self, seq: Seq) -> None:
        self._store(seq, min(seq.computed, seq.request.prompt_tokens + seq.request.output_tokens - 1))
        self.pool.give_back(seq.blocks)
        seq.blocks = []

    def _stop_adapter(self, seq: Seq) -> None:
        if seq.request.adapter and self.adapters:
            self.adapters.stop(seq.request.adapter)

    def _release_ending(self) -> None:
        for seq in self.ending:
            self.running.remove(seq)
            self._leave(seq)
        self.ending = []

    def _preempt(self, seq: Seq) -> None:
        if self.settings.async_scheduling and seq.decoding and not self.acceptance:
            # The token that the iteration under way gives is not known, so its block has no hash yet.
            seq.computed = max(seq.target, seq.computed - 1)
        self._leave(seq)
        self._stop_adapter(seq)
        seq.computed = seq.target = 0
        seq.preemptions += 1
        self.preemptions += 1
        seq.eligible = self.iteration + 1
        self.waiting.insert(0, seq)

    def _update(self, scheduled: list[tuple[Seq, int]], end_s: float) -> None:
        gained = self.acceptance.tokens(self.iteration, 1) if self.acceptance else 1
        ended = []
        order = scheduled if self.literal else sorted(scheduled, key=lambda p: not p[0].decoding)
        for seq, tokens in order:
            if seq.decoding:
                seq.computed += gained
                new = min(gained, seq.request.output_tokens - seq.generated)
            else:
                seq.computed += tokens
                new = 1 if seq.computed == seq.target else 0
            seq.generated += new
            seq.tokens += [end_s] * new
            if new and seq.first_s < 0:
                seq.first_s = end_s
            if seq.generated == seq.request.output_tokens:
                ended.append(seq)
        for seq in ended:
            seq.finished_s = end_s
            self._stop_adapter(seq)
        self.ending = ended
        if not self.settings.async_scheduling:
            self._release_ending()
