"""The engine model computes in every iteration what the scheduler of the installed vLLM computes.

Random loads on small caches go through both; `vllm_scheduler.py` runs vLLM's scheduler and block pool without a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import pytest

from fairlead.perf.step import LinearCost
from fairlead.simulator.engine import AdapterSettings, Engine, EngineSettings, Request, State
from fairlead.simulator.engine.scheduler import Plan
from simulator.engine.naive_engine import NaiveEngine

INSTALLER = Path(
    os.environ.get("FAIRLEAD_REAL_VLLM") or Path(__file__).parents[3].parent / "shared" / "tools" / "real-vllm"
)
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not INSTALLER.exists(), reason=f"no installer of vLLM at {INSTALLER}"),
]
LOADS = 400
ONE_SECOND = LinearCost(base_s=1, prefill_token_s=0, prefill_pair_s=0, decode_token_s=0, context_s=0)


@dataclass
class Asked:
    at_s: float
    prompt: list[int]
    output: list[int]
    adapter: str = ""


@dataclass
class Load:
    settings: EngineSettings
    requests: list[Asked]

    def for_vllm(self) -> str:
        s = self.settings
        settings = {
            "num_blocks": s.num_blocks,
            "block_tokens": s.block_tokens,
            "prefix_caching": s.prefix_caching,
            "max_loras": s.adapters.max_loras if s.adapters else 0,
            "max_num_seqs": s.max_num_seqs,
            "max_num_batched_tokens": s.max_num_batched_tokens,
            "max_model_len": s.max_model_len,
            "long_prefill_token_threshold": s.long_prefill_token_threshold,
            "scheduler_reserve_full_isl": s.reserve_full_prompt,
            "watermark": s.watermark,
            "async_scheduling": s.async_scheduling,
            "enable_chunked_prefill": s.chunked_prefill,
        }
        return json.dumps({"settings": settings, "requests": [vars(asked) for asked in self.requests]})

    def engine_requests(self) -> list[Request]:
        size = self.settings.block_tokens
        return [
            Request(
                number,
                len(asked.prompt),
                len(asked.output),
                chain_of(asked.prompt + asked.output, asked.adapter, size),
                asked.adapter,
            )
            for number, asked in enumerate(self.requests)
        ]


@dataclass
class Served:
    """What happened: per iteration its start, the tokens of each request, who was preempted for it and free blocks."""

    iterations: list[tuple[float, dict[int, int], list[int], int]] = field(default_factory=list)
    hits: dict[int, int] = field(default_factory=dict)
    finished_s: dict[int, float] = field(default_factory=dict)
    free_blocks: int = 0


def chain_of(tokens: list[int], adapter: str, block_tokens: int) -> bytes:
    chain, last = b"", adapter.encode()
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        block = str(tokens[start : start + block_tokens]).encode()
        last = hashlib.blake2b(last + block, digest_size=8).digest()
        chain += last
    return chain


class Recorder:
    """Serves a load with the engine model, looking at it in every iteration."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.engine = Engine(load.settings, ONE_SECOND)
        self.served = Served()
        self.preempted: list[int] = []
        scheduler = self.engine.scheduler
        preempt_last = scheduler._preempt_last

        def recording(now_s: float) -> None:
            self.preempted.append(int(next(reversed(scheduler.running)).request.id))
            preempt_last(now_s)

        scheduler._preempt_last = recording  # type: ignore[method-assign]
        plan = scheduler.plan
        self.planned_free = 0

        def planning(now_s: float, iteration: int, decode_tokens: int) -> Plan:
            made = plan(now_s, iteration, decode_tokens)
            self.planned_free = scheduler.cache.free_blocks  # before those leave who ended in the iteration before
            return made

        scheduler.plan = planning  # type: ignore[method-assign]

    def serve(self) -> Served:
        engine = self.engine
        coming = list(zip([asked.at_s for asked in self.load.requests], self.load.engine_requests(), strict=True))
        sequences = []
        now_s = 0.0
        while coming or engine.next_s < inf:
            boundary_s = engine.next_boundary_s(now_s)
            if coming and coming[0][0] < boundary_s:
                now_s, request = coming.pop(0)
                idle = engine._flight is None
                sequences.append(engine.submit(now_s, request))
                if idle:
                    self._look(now_s)
            else:
                now_s = boundary_s
                engine.advance(now_s)
                self._look(now_s)
        for sequence in sequences:
            number = int(sequence.request.id)
            self.served.hits[number] = sequence.cached_tokens
            self.served.finished_s[number] = round(sequence.finished_s, 6)
        self.served.free_blocks = engine.scheduler.cache.free_blocks
        return self.served

    def _look(self, now_s: float) -> None:
        """Record the iteration that starts now."""
        engine = self.engine
        flight, scheduler = engine._flight, engine.scheduler
        if flight is None:
            return
        tokens = {int(s.request.id): 1 for s in scheduler.running if s.state is State.DECODE}
        tokens |= {int(s.request.id): count for s, count in flight.chunks}
        done = flight.done_by(now_s)
        free = scheduler.cache.free_blocks - scheduler.decode.blocks_for(done + 1) if done else self.planned_free
        self.served.iterations.append((round(now_s, 6), tokens, self.preempted, free))
        self.preempted = []


def load_of(seed: int) -> Load:
    """A random load on a cache of few blocks: bursts and gaps, shared prefixes, repeated prompts."""
    draw = random.Random(seed)
    block_tokens = draw.choice([1, 2, 4, 4, 8])
    caching = draw.random() < 0.75
    adapters = (
        AdapterSettings(max_loras=draw.choice([1, 2]), max_cpu_loras=4, device_load_s=0, host_load_s=0)
        if draw.random() < 0.2
        else None
    )
    prefixes = [[draw.randrange(1000) for _ in range(draw.randrange(1, 40))] for _ in range(draw.randrange(1, 4))]
    requests, at_s = [], 0.0
    pace_s = draw.choice([0.1, 1.0, 4.0])
    for _ in range(draw.randrange(2, 25)):
        at_s += draw.expovariate(1 / pace_s) + 1e-3
        prefix = draw.choice(prefixes)
        shared = prefix[: draw.randrange(len(prefix) + 1)]
        own = [draw.randrange(1000) for _ in range(draw.choice([0, 1, 3, 10, 30]))]
        output = [draw.randrange(1000) for _ in range(draw.choice([1, 2, 5, 20, 40]))]
        if requests and draw.random() < 0.15:  # the next turn of a conversation
            last = draw.choice(requests)
            shared = (last.prompt + last.output)[:90]
        adapter = draw.choice(["", "a", "b", "c"]) if adapters else ""
        requests.append(Asked(at_s, (shared + own) or [7], output, adapter))
    longest = max(len(asked.prompt) + len(asked.output) for asked in requests)
    least_blocks = -(-longest // block_tokens)
    max_num_seqs = draw.choice([1, 2, 4, 8])
    chunked = draw.random() < 0.85
    return Load(
        EngineSettings(
            num_blocks=int(least_blocks * draw.choice([1, 1.2, 1.5, 2, 4])) + draw.randrange(2),
            block_tokens=block_tokens,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=draw.choice([max_num_seqs, 8, 16, 32, 64]) if chunked else 1000,
            max_model_len=1000,
            chunked_prefill=chunked,
            long_prefill_token_threshold=draw.choice([0, 0, 3, 8]) if chunked else 0,
            prefix_caching=caching,
            reserve_full_prompt=draw.random() < 0.7,
            watermark=draw.choice([0.0, 0.0, 0.1]),
            async_scheduling=draw.random() < 0.5,
            adapters=adapters,
        ),
        requests,
    )


class Vllm:
    """The scheduler of the installed vLLM."""

    def __init__(self) -> None:
        done = subprocess.run([str(INSTALLER)], capture_output=True, text=True, timeout=1500, check=True)
        installed = dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)
        self.python = Path(installed["VLLM"]).parent / "python"
        self.model = installed["MODEL"]

    def serve(self, loads: list[Load]) -> list[Served]:
        done = subprocess.run(
            [str(self.python), str(Path(__file__).with_name("vllm_scheduler.py")), self.model],
            input="\n".join(load.for_vllm() for load in loads),
            capture_output=True,
            text=True,
            timeout=800,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return [_served(json.loads(line)) for line in done.stdout.splitlines()]


def _served(answer: dict) -> Served:
    return Served(
        [
            (round(start_s, 6), {int(i): n for i, n in tokens.items()}, [int(i) for i in preempted], free)
            for start_s, tokens, preempted, free in answer["iterations"]
        ],
        {int(i): n for i, n in answer["hits"].items()},
        {int(i): round(at_s, 6) for i, at_s in answer["finished_s"].items()},
        answer["free_blocks"],
    )


def plainly_served(load: Load) -> Served:
    """The same by the plain engine, with vLLM's order of running requests."""
    plain = NaiveEngine(load.settings, ONE_SECOND, literal=True)
    sequences = plain.run(list(zip([asked.at_s for asked in load.requests], load.engine_requests(), strict=True)))
    iterations = [
        (round(start_s, 6), {int(i): n for i, n in tokens.items()}, [int(i) for i in preempted], free)
        for start_s, tokens, preempted, free in plain.iterations
    ]
    return Served(
        iterations,
        {int(s.request.id): s.cached for s in sequences},
        {int(s.request.id): round(s.finished_s, 6) for s in sequences},
        len(plain.pool.free),
    )


@pytest.fixture(scope="module")
def compared() -> list[tuple[Load, Served]]:
    loads = [load_of(seed) for seed in range(LOADS)]
    return list(zip(loads, Vllm().serve(loads), strict=True))


def test_the_loads_are_hard(compared: list[tuple[Load, Served]]) -> None:
    served = [answer for _, answer in compared]
    assert all(answer.free_blocks == load.settings.num_blocks for load, answer in compared)
    assert sum(len(answer.iterations) for answer in served) > 100 * LOADS
    assert sum(any(answer.hits.values()) for answer in served) > LOADS / 2
    assert sum(any(preempted for _, _, preempted, _ in answer.iterations) for answer in served) > LOADS / 10
    chunked = sum(
        any(
            1 < count < len(load.requests[i].prompt)
            for _, tokens, _, _ in answer.iterations
            for i, count in tokens.items()
        )
        for load, answer in compared
    )
    assert chunked > LOADS / 3


def test_the_plain_engine_computes_what_vllm_computes(compared: list[tuple[Load, Served]]) -> None:
    different = [seed for seed, (load, answer) in enumerate(compared) if plainly_served(load) != answer]
    assert not different


def test_the_engine_computes_what_vllm_computes(compared: list[tuple[Load, Served]]) -> None:
    different = [seed for seed, (load, answer) in enumerate(compared) if Recorder(load).serve() != answer]
    # Those in which it deliberately deviates; see `fairlead.simulator.engine.scheduler`.
    assert len(different) <= LOADS / 100, different
