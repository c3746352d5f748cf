"""One replica under a constant number of requests: time to first token, time per output token and throughput.

The engine is a continuous-batching one with chunked prefill (Sarathi-Serve, arXiv 2403.02310; vLLM V1): an iteration
first takes every decoding sequence, then fills what is left of its token budget with prompts. In the steady state of a
closed loop `x` requests begin and end per iteration, at random phases:

- a request spends `p` iterations on its prompt and O − 1 on the rest, so x = n / (p + O − 1) for n running requests,
  unless the budget B is short: every request needs I + O − 1 tokens of it, so x ≤ B / (I + O − 1);
- iterations with a prompt are 1 − exp(−x·⌈I/b⌉) of all (Poisson), and share the x·I prompt tokens per iteration, where
  b is the budget left by decoding sequences;
- the time per output token is the mean iteration; a request begins when another ends, just too late for the iteration
  that begins at the same moment, so its first token comes after that one and the iterations of the prompt, which
  prompts that came along share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fairlead.perf.step import StepCost


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of equal lengths, `concurrency` of them in the system at any time.

    `cached_tokens` of the input are found in the prefix cache.
    """

    input_tokens: int
    output_tokens: int
    concurrency: int
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 <= self.cached_tokens < self.input_tokens:
            raise ValueError(
                f"cached_tokens is {self.cached_tokens}; expected 0 or more and below input_tokens "
                f"({self.input_tokens}): an engine always computes the last token"
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rank of the engine may hold: vLLM's `--max-num-batched-tokens` and `--max-num-seqs`, and its KV cache.

    `kv_capacity_tokens` is None when the cache is not a limit. `pipeline` batches are on their way at once (pp).
    """

    max_batched_tokens: int = 8192
    max_seqs: int = 256
    kv_capacity_tokens: int | None = None
    pipeline: int = 1

    def running(self, workload: Workload) -> int:
        """Requests that run at once; the others wait. A running request holds its input and half its output."""
        running = min(workload.concurrency, self.max_seqs)
        if self.kv_capacity_tokens is None:
            return running
        resident = workload.input_tokens - workload.cached_tokens + workload.output_tokens / 2
        fitting = int((self.kv_capacity_tokens - workload.cached_tokens) / resident)
        if fitting < 1:
            raise ValueError(
                f"kv_capacity_tokens is {self.kv_capacity_tokens}; a request of {workload.input_tokens} input and "
                f"{workload.output_tokens} output tokens does not fit"
            )
        return min(running, fitting)


@dataclass(frozen=True, slots=True)
class SteadyState:
    """Means over requests. `running` requests are on the engine, the rest of the concurrency waits.

    `ttft_s` includes the wait for a place; `burst_ttft_s` is what it is for requests that all begin at once, as in the
    first moment of a closed-loop benchmark. `tpot_s` is the mean time between output tokens after the first,
    `mixed_share` the part of iterations that compute prompt tokens.
    """

    ttft_s: float
    burst_ttft_s: float
    tpot_s: float
    requests_per_s: float
    output_tokens_per_s: float
    running: int
    mixed_share: float


def _prefill_s(iteration_s: Callable[[float], float], tokens: float, budget: float) -> float:
    """Seconds of the iterations that compute so many prompt tokens."""
    full, rest = divmod(tokens, budget)
    return full * iteration_s(budget) + (iteration_s(rest) if rest >= 1.0 else 0.0)


def steady_state(cost: StepCost, workload: Workload, limits: Limits | None = None) -> SteadyState:
    """Latency and throughput of one rank with a constant number of requests.

    Raises ValueError when not even one request fits, or the token budget leaves nothing for prompts.
    """
    limits = limits or Limits()
    running = limits.running(workload)
    batch = running / limits.pipeline
    prompt = workload.input_tokens - workload.cached_tokens
    rest = workload.output_tokens - 1
    budget = limits.max_batched_tokens
    per_iteration = min(batch / (1 + rest), budget / (prompt + rest))
    decoding = per_iteration * rest
    left = max(1.0, budget - decoding)
    chunks = math.ceil(prompt / left)
    per_iteration = min(batch / (chunks + rest), budget / (prompt + rest))
    decoding = min(batch, per_iteration * rest)

    mixed_share = min(1.0, max(1.0 - math.exp(-per_iteration * chunks), per_iteration * prompt / left))
    context = decoding * (workload.input_tokens + workload.output_tokens / 2)
    pairs_per_token = workload.cached_tokens + (prompt + 1) / 2

    def iteration_s(prompt_tokens: float) -> float:
        return cost.step_s(
            round(prompt_tokens), round(prompt_tokens * pairs_per_token), round(decoding), round(context)
        )

    together = per_iteration * prompt / mixed_share
    mixed_s = iteration_s(max(1.0, together))
    decode_s = iteration_s(0) if round(decoding) else 0.0
    mean_s = mixed_share * mixed_s + (1.0 - mixed_share) * decode_s

    # A prompt shares its iterations with those that begin with it; beyond the budget they follow one another, and the
    # first token waits for half of the others on average.
    alone = (1.0 + per_iteration) * prompt
    gathered = alone if alone <= left else (1.0 + per_iteration / 2) * prompt
    first_s = _prefill_s(iteration_s, gathered, left) + mean_s
    # A batch that cannot take prompts as fast as requests end keeps them waiting: Little's law on the running ones.
    first_s = max(first_s, (batch / per_iteration - rest) * mean_s)
    requests_per_s = per_iteration * limits.pipeline / mean_s
    waiting_s = (workload.concurrency - running) / requests_per_s
    return SteadyState(
        ttft_s=first_s + waiting_s,
        burst_ttft_s=_prefill_s(iteration_s, (running + 1) / 2 * prompt, left) + waiting_s,
        tpot_s=mean_s,
        requests_per_s=requests_per_s,
        output_tokens_per_s=requests_per_s * workload.output_tokens,
        running=running,
        mixed_share=mixed_share,
    )
