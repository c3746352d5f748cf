"""What one data-parallel rank counts, with the buckets of vLLM's histograms.

Reference: vLLM 0.32, `v1/metrics/loggers.py::PrometheusStatLogger`.
"""

from __future__ import annotations

from fairlead.simulator.engine import Sequence
from fairlead.simulator.server.metrics.exposition import Histogram

TTFT_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
REQUEST_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
ITERATION_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
N = (1, 2, 5, 10, 20)
PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)
FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")


def token_bounds(max_model_len: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, … up to the context length."""
    digits = range(len(str(max_model_len)))
    bounds = [mantissa * 10**exponent for exponent in digits for mantissa in (1, 2, 5)]
    return tuple(bound for bound in bounds if bound <= max_model_len)


class RankMetrics:
    """Counters and histograms of one rank. Times in seconds."""

    def __init__(self, max_model_len: int) -> None:
        tokens = token_bounds(max_model_len)
        self.finished = dict.fromkeys(FINISHED_REASONS, 0)
        self.request_prompt_tokens = Histogram(tokens)
        self.request_generation_tokens = Histogram(tokens)
        self.request_max_num_generation_tokens = Histogram(tokens)
        self.request_params_max_tokens = Histogram(tokens)
        self.request_prefill_kv_computed_tokens = Histogram(tokens)
        self.iteration_tokens = Histogram(ITERATION_TOKENS)
        self.request_params_n = Histogram(N)
        self.request_num_preemptions = Histogram(PREEMPTIONS)
        self.ttft = Histogram(TTFT_S)
        self.itl = Histogram(ITL_S)
        self.time_per_output_token = Histogram(ITL_S)
        self.e2e = Histogram(REQUEST_S)
        self.queue = Histogram(REQUEST_S)
        self.inference = Histogram(REQUEST_S)
        self.prefill = Histogram(REQUEST_S)
        self.decode = Histogram(REQUEST_S)

    def request_finished(self, sequence: Sequence, reason: str, *, n: int, max_tokens: int | None) -> None:
        """A sequence reached its end."""
        request, finished_s = sequence.request, sequence.finished_s
        tokens = request.output_tokens
        self.finished[reason] += 1
        self.request_prompt_tokens.observe(request.prompt_tokens)
        self.request_generation_tokens.observe(tokens)
        self.request_max_num_generation_tokens.observe(tokens)
        self.request_prefill_kv_computed_tokens.observe(request.prompt_tokens - sequence.cached_tokens)
        self.request_params_n.observe(n)
        if max_tokens is not None:
            self.request_params_max_tokens.observe(max_tokens)
        self.request_num_preemptions.observe(sequence.preemptions)
        decode_s = finished_s - sequence.first_token_s
        self.e2e.observe(finished_s - sequence.arrived_s)
        self.queue.observe(sequence.scheduled_s - sequence.arrived_s)
        self.inference.observe(finished_s - sequence.scheduled_s)
        self.prefill.observe(sequence.first_token_s - sequence.scheduled_s)
        self.decode.observe(decode_s)
        self.time_per_output_token.observe(decode_s / (tokens - 1) if tokens > 1 else 0.0)
