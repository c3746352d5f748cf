"""A continuous-batching server as a queue: latency from the arrival rate, the largest rate that meets an objective.

The model is that of llm-d's workload-variant-autoscaler (`docs/developer-guide/slo-queuemodel.md`): an iteration with
n requests takes T(n) = α + n·δ, where a request of I input and O output tokens adds δ = β·(I + O)/(O + 1) +
γ·(I + O/2) on average over its O + 1 iterations. Requests arrive as a Poisson stream, N run and Q wait at most: a birth
and death process on 0..N + Q with death rates n / ((O + 1)·T(n)), constant from N on (state-dependent M/M/1/K;
Kleinrock 1975, Queueing Systems I, §3.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchQueue:
    """One replica under requests of one shape.

    `alpha_s` is the fixed time of an iteration, `beta_s` what a token of a prompt or an output adds, `gamma_s` what a
    token of context adds per iteration. `max_batch` run at once (vLLM's `--max-num-seqs`), `max_queue` more may wait.
    """

    alpha_s: float
    beta_s: float
    gamma_s: float
    input_tokens: float
    output_tokens: float
    max_batch: int = 256
    max_queue: int = 100

    def __post_init__(self) -> None:
        for name, least in (("alpha_s", 0.0), ("beta_s", 0.0), ("gamma_s", 0.0), ("input_tokens", 0.0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ValueError(f"{name} is {value}; expected a finite number, 0 or more")
        if not 1 <= self.output_tokens < math.inf:
            raise ValueError(f"output_tokens is {self.output_tokens}; expected 1 or more")
        if self.max_batch < 1 or self.max_queue < 0:
            raise ValueError(f"max_batch is {self.max_batch}, max_queue {self.max_queue}; expected 1 and 0 or more")
        if self.iteration_s(1) <= 0:
            raise ValueError("alpha_s, beta_s and gamma_s are all 0; expected an iteration to take time")

    @property
    def delta_s(self) -> float:
        """Seconds that one request adds to an iteration, averaged over its iterations."""
        total, out = self.input_tokens + self.output_tokens, self.output_tokens
        return self.beta_s * total / (out + 1) + self.gamma_s * (self.input_tokens + out / 2)

    @property
    def capacity(self) -> int:
        """Requests in the system at most."""
        return self.max_batch + self.max_queue

    def iteration_s(self, requests: float) -> float:
        """T(n) = α + n·δ."""
        return self.alpha_s + requests * self.delta_s

    def rate_per_s(self, requests: int) -> float:
        """Requests that end per second when so many are in the system."""
        running = min(requests, self.max_batch)
        return running / ((self.output_tokens + 1) * self.iteration_s(running))

    @property
    def peak_per_s(self) -> float:
        """Requests per second with a full batch, the bound of every throughput."""
        return self.rate_per_s(self.max_batch)

    def utilisation(self, arrivals_per_s: float) -> float:
        """ρ = λ·(O + 1)·δ, the share of an iteration that grows with the batch. An unbounded batch needs ρ < 1."""
        return arrivals_per_s * (self.output_tokens + 1) * self.delta_s

    def unbounded_iteration_s(self, arrivals_per_s: float) -> float:
        """α / (1 − ρ), inf from ρ = 1: the iteration of a batch without bound, as Little's law has n = λ·(O + 1)·T."""
        rho = self.utilisation(arrivals_per_s)
        return self.alpha_s / (1.0 - rho) if rho < 1.0 else math.inf


@dataclass(frozen=True, slots=True)
class QueueState:
    """The stationary state. Requests that find the system full are refused: `refused_share` of the arrivals.

    Times are means over the others; `wait_s` is spent before the first iteration.
    """

    throughput_per_s: float
    refused_share: float
    running: float
    waiting: float
    wait_s: float
    iteration_s: float
    ttft_s: float
    itl_s: float


def stationary(queue: BatchQueue, arrivals_per_s: float) -> list[float]:
    """Probabilities of 0..N + Q requests in the system: p(n) ∝ Π λ/μ(i), in logarithms as products overflow."""
    if not 0 <= arrivals_per_s < math.inf:
        raise ValueError(f"arrivals_per_s is {arrivals_per_s}; expected a finite number, 0 or more")
    if arrivals_per_s == 0:
        return [1.0] + [0.0] * queue.capacity
    logs = [0.0]
    for n in range(1, queue.capacity + 1):
        logs.append(logs[-1] + math.log(arrivals_per_s) - math.log(queue.rate_per_s(n)))
    top = max(logs)
    weights = [math.exp(value - top) for value in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def queue_state(queue: BatchQueue, arrivals_per_s: float) -> QueueState:
    """Latency and throughput at an arrival rate.

    TTFT = wait + T + (β + γ)·I and ITL = T + β + γ·(I + (O + 1)/2), T being the mean iteration that Little's law gives
    for the running requests: running = throughput·(O + 1)·T.
    """
    chances = stationary(queue, arrivals_per_s)
    running = math.fsum(min(n, queue.max_batch) * chance for n, chance in enumerate(chances))
    waiting = math.fsum((n - queue.max_batch) * p for n, p in enumerate(chances) if n > queue.max_batch)
    throughput = arrivals_per_s * (1.0 - chances[-1])
    if throughput > 0 and running > 0:
        wait_s, iteration_s = waiting / throughput, running / throughput / (queue.output_tokens + 1)
    else:
        wait_s, iteration_s = 0.0, queue.iteration_s(1)
    middle = queue.input_tokens + (queue.output_tokens + 1) / 2
    return QueueState(
        throughput_per_s=throughput,
        refused_share=chances[-1],
        running=running,
        waiting=waiting,
        wait_s=wait_s,
        iteration_s=iteration_s,
        ttft_s=wait_s + iteration_s + (queue.beta_s + queue.gamma_s) * queue.input_tokens,
        itl_s=iteration_s + queue.beta_s + queue.gamma_s * middle,
    )


def max_arrivals_per_s(
    queue: BatchQueue, *, ttft_s: float | None = None, itl_s: float | None = None, refused_share: float = 0.01
) -> float:
    """λ*: the largest arrival rate that keeps TTFT, ITL and the refused share at or below these, by bisection.

    An objective of None does not bind. 0 when even a single request misses one. Found to a relative 1e-6: all three
    grow with the arrival rate.
    """

    def met(rate: float) -> bool:
        state = queue_state(queue, rate)
        return (
            state.refused_share <= refused_share
            and (ttft_s is None or state.ttft_s <= ttft_s)
            and (itl_s is None or state.itl_s <= itl_s)
        )

    low, high = 0.0, queue.peak_per_s / max(1e-9, 1.0 - refused_share)
    if not met(high * 1e-9):
        return 0.0
    if met(high):
        return high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if met(middle) else (low, middle)
    return low


def replicas_for(arrivals_per_s: float, per_replica_per_s: float) -> int | None:
    """⌈Λ/λ*⌉ replicas; None when one replica meets the objective at no rate, so no number of them would."""
    if arrivals_per_s <= 0:
        return 0
    return None if per_replica_per_s <= 0 else math.ceil(arrivals_per_s / per_replica_per_s)
