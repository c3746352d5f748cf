"""The metrics page: every series of vLLM's own, with its names, types, labels and buckets.

What the engine does not have (multi-modal caches, watermarks) is there with the zeros that vLLM shows. Series of parts
that are switched off (LoRA, speculative decoding) are absent, as there.
Reference: the page of `vllm serve` 0.32, and `v1/metrics/loggers.py`, `v1/spec_decode/metrics.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fairlead.simulator.engine import Engine
from fairlead.simulator.server.metrics.exposition import Histogram, Labels, Page
from fairlead.simulator.server.metrics.http_metrics import HttpMetrics
from fairlead.simulator.server.metrics.process_metrics import write_process
from fairlead.simulator.server.metrics.rank_metrics import FINISHED_REASONS, RankMetrics

SLEEP_STATES = ("awake", "weights_offloaded", "discard_all")
_CACHE_SOURCES = ("device", "host", "p2p", "disk", "external_unspecified")
_REJECTIONS = ("max_num_queued_reqs", "max_num_queued_tokens")
_HISTOGRAMS: tuple[tuple[str, str, Callable[[RankMetrics], Histogram]], ...] = (
    ("request_prompt_tokens", "Prompt tokens of a request.", lambda m: m.request_prompt_tokens),
    ("request_generation_tokens", "Generated tokens of a request.", lambda m: m.request_generation_tokens),
    ("iteration_tokens_total", "Tokens of one engine iteration.", lambda m: m.iteration_tokens),
    (
        "request_max_num_generation_tokens",
        "Most generated tokens of a request's sequences.",
        lambda m: m.request_max_num_generation_tokens,
    ),
    ("request_params_n", "The n of a request.", lambda m: m.request_params_n),
    ("request_params_max_tokens", "The max_tokens of a request.", lambda m: m.request_params_max_tokens),
    ("time_to_first_token_seconds", "Time to the first token.", lambda m: m.ttft),
    ("inter_token_latency_seconds", "Time between tokens.", lambda m: m.itl),
    (
        "request_time_per_output_token_seconds",
        "Mean time between the tokens of a request.",
        lambda m: m.time_per_output_token,
    ),
    ("e2e_request_latency_seconds", "From arrival to the end of a request.", lambda m: m.e2e),
    ("request_queue_time_seconds", "Time a request waited.", lambda m: m.queue),
    ("request_inference_time_seconds", "Time a request ran.", lambda m: m.inference),
    ("request_prefill_time_seconds", "Time a request's prompt took.", lambda m: m.prefill),
    ("request_decode_time_seconds", "Time from a request's first token to its last.", lambda m: m.decode),
    ("request_num_preemptions", "How often a request was preempted.", lambda m: m.request_num_preemptions),
    (
        "request_prefill_kv_computed_tokens",
        "Prompt tokens of a request that were computed, not found in a cache.",
        lambda m: m.request_prefill_kv_computed_tokens,
    ),
)


class Rank:
    """A data-parallel rank: its engine, what it counts, and how deep it sleeps (0 = awake)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.metrics = RankMetrics(engine.settings.max_model_len)
        self.sleep_level = 0


class MetricsPage:
    """Renders the page of one server. `cache_labels` are those of `vllm:cache_config_info`."""

    def __init__(self, model: str, ranks: Sequence[Rank], started_s: float, cache_labels: Mapping[str, str]) -> None:
        self.http = HttpMetrics()
        self.tool_calls = {
            (mode, outcome, kind): 0
            for mode in ("streaming", "non_streaming")
            for outcome in ("tool_call", "no_tool_call")
            for kind in ("chat_completions", "responses", "other")
        }
        """(mode, outcome, kind of request) -> answers looked through for tool calls."""
        self._model = model
        self._ranks = ranks
        self._started_s = started_s
        self._cache_labels = cache_labels
        self._lora_seen: dict[tuple[str, str], float] = {}  # (running, waiting adapters) -> wall time, seconds

    def text(self, now_s: float, wall_s: float) -> bytes:
        """The page as of `now_s` on the engines' clock and `wall_s` since the epoch."""
        page = Page(self._started_s)
        write_process(page, self._started_s)
        self._write_engine(page, now_s)
        self._write_tokens(page, now_s)
        self._write_requests(page)
        self._write_speculation(page)
        self._write_adapters(page, wall_s)
        page.gauge(
            "vllm:cache_config_info",
            "Configuration of the KV cache.",
            [({**self._cache_labels, "engine": str(index)}, 1) for index in range(len(self._ranks))],
        )
        self.http.write(page)
        page.counter(
            "vllm:tool_call_parser_invocations",
            "Answers looked through for tool calls.",
            [
                ({"mode": mode, "model_name": self._model, "outcome": outcome, "request_type": kind}, count)
                for (mode, outcome, kind), count in self.tool_calls.items()
            ],
        )
        return page.text()

    def _samples(self, value: Callable[[Rank], float], **labels: str) -> list[tuple[Labels, float]]:
        return [(self._labels(index, labels), value(rank)) for index, rank in enumerate(self._ranks)]

    def _labels(self, index: int, labels: Labels) -> Labels:
        return {"engine": str(index), "model_name": self._model, **labels}

    def _write_engine(self, page: Page, now_s: float) -> None:
        samples = self._samples
        for what in ("flops", "read_bytes", "write_bytes"):
            page.counter(
                f"vllm:estimated_{what}_per_gpu",
                "Estimated work of one device; not estimated here.",
                samples(lambda rank: 0),
            )
        page.gauge("vllm:num_requests_running", "Requests in the batch.", samples(lambda rank: rank.engine.num_running))
        page.gauge("vllm:num_requests_waiting", "Requests that wait.", samples(lambda rank: rank.engine.num_waiting))
        page.gauge(
            "vllm:num_requests_waiting_by_reason",
            "Requests that wait for room (capacity) or for their KV cache or adapter (deferred).",
            [
                *samples(lambda rank: rank.engine.num_waiting - _deferred(rank.engine), reason="capacity"),
                *samples(lambda rank: _deferred(rank.engine), reason="deferred"),
            ],
        )
        page.gauge(
            "vllm:engine_sleep_state",
            "Whether the engine is awake, and how deep it sleeps if not.",
            [
                sample
                for level, state in enumerate(SLEEP_STATES)
                for sample in samples(lambda rank, level=level: rank.sleep_level == level, sleep_state=state)  # type: ignore[misc]
            ],
        )
        page.gauge(
            "vllm:kv_cache_usage_perc",
            "Share of the KV cache in use, 0 to 1.",
            samples(lambda rank: rank.engine.kv_usage(now_s)),
        )

    def _write_tokens(self, page: Page, now_s: float) -> None:
        samples = self._samples
        counters: tuple[tuple[str, str, Callable[[Rank], float]], ...] = (
            (
                "prefix_cache_queries",
                "Prompt tokens looked up in the prefix cache.",
                lambda r: r.engine.scheduler.prefix_queried_tokens,
            ),
            (
                "prefix_cache_hits",
                "Prompt tokens found in the prefix cache.",
                lambda r: r.engine.scheduler.prefix_hit_tokens,
            ),
            (
                "external_prefix_cache_queries",
                "Prompt tokens looked up in other engines' caches.",
                lambda r: r.engine.counters.fetched_tokens,
            ),
            (
                "external_prefix_cache_hits",
                "Prompt tokens fetched from other engines.",
                lambda r: r.engine.counters.fetched_tokens,
            ),
            ("mm_cache_queries", "Items looked up in the multi-modal cache.", lambda r: 0),
            ("mm_cache_hits", "Items found in the multi-modal cache.", lambda r: 0),
            ("num_preemptions", "Preemptions.", lambda r: r.engine.scheduler.preemptions),
            ("prompt_tokens", "Prompt tokens of requests that got a token.", lambda r: r.engine.counters.prompt_tokens),
        )
        for name, help, value in counters:
            page.counter(f"vllm:{name}", help, samples(value))
        page.counter(
            "vllm:prompt_tokens_by_source",
            "Prompt tokens by where their KV came from.",
            [
                *samples(_computed, source="local_compute"),
                *samples(lambda r: r.engine.counters.cached_prompt_tokens, source="local_cache_hit"),
                *samples(lambda r: r.engine.counters.fetched_tokens, source="external_kv_transfer"),
            ],
        )
        page.counter(
            "vllm:prompt_tokens_cached",
            "Prompt tokens that were not computed.",
            samples(lambda r: r.engine.counters.cached_prompt_tokens + r.engine.counters.fetched_tokens),
        )
        page.counter(
            "vllm:prompt_tokens_cached_by_source",
            "Prompt tokens that were not computed, by the tier that had them.",
            [
                sample
                for source in _CACHE_SOURCES
                for sample in samples(lambda r, source=source: _cached_in(r.engine, source), source=source)  # type: ignore[misc]
            ],
        )
        page.counter(
            "vllm:generation_tokens", "Generated tokens.", samples(lambda r: r.engine.generation_tokens(now_s))
        )

    def _write_requests(self, page: Page) -> None:
        page.counter(
            "vllm:request_success",
            "Requests that ended, by reason.",
            [
                sample
                for reason in FINISHED_REASONS
                for sample in self._samples(
                    lambda r, reason=reason: r.metrics.finished[reason],  # type: ignore[misc]
                    finished_reason=reason,
                )
            ],
        )
        page.counter(
            "vllm:admission_rejections",
            "Requests rejected by a limit of the queue.",
            [({"model_name": self._model, "reason": reason}, 0) for reason in _REJECTIONS],
        )
        for name, help, histogram in _HISTOGRAMS:
            page.histogram(
                f"vllm:{name}",
                help,
                [(self._labels(index, {}), histogram(rank.metrics)) for index, rank in enumerate(self._ranks)],
            )

    def _write_speculation(self, page: Page) -> None:
        speculation = self._ranks[0].engine.settings.speculation
        if speculation is None:
            return
        for name, help, value in (
            ("num_drafts", "Rounds of drafting.", lambda c: c.spec_drafts),
            ("num_draft_tokens", "Drafted tokens.", lambda c: c.spec_drafted_tokens),
            ("num_accepted_tokens", "Drafted tokens that were accepted.", lambda c: c.spec_accepted_tokens),
        ):
            page.counter(
                f"vllm:spec_decode_{name}",
                help,
                self._samples(lambda r, value=value: value(r.engine.counters)),  # type: ignore[misc]
            )
        page.counter(
            "vllm:spec_decode_num_accepted_tokens_per_pos",
            "Drafted tokens that were accepted, by their place in the draft.",
            [
                sample
                for position in range(speculation.tokens)
                for sample in self._samples(
                    lambda r, position=position: _accepted_at(r.engine, position),  # type: ignore[misc]
                    position=str(position),
                )
            ],
        )

    def _write_adapters(self, page: Page, wall_s: float) -> None:
        adapters = self._ranks[0].engine.settings.adapters
        if adapters is None:
            return
        running = sorted({name for rank in self._ranks for name in rank.engine.running_adapters()})
        waiting = sorted({name for rank in self._ranks for name in rank.engine.waiting_adapters()})
        # A combination keeps its series and its last time: readers take the newest.
        self._lora_seen[",".join(running), ",".join(waiting)] = wall_s
        page.gauge(
            "vllm:lora_requests_info",
            "Adapters of running and waiting requests; the value is the time they were seen.",
            [
                (
                    {
                        "max_lora": str(adapters.max_loras),
                        "running_lora_adapters": seen[0],
                        "waiting_lora_adapters": seen[1],
                    },
                    at_s,
                )
                for seen, at_s in self._lora_seen.items()
            ],
        )


def _deferred(engine: Engine) -> int:
    return len(engine.scheduler.fetching) + len(engine.scheduler.fetched)


def _computed(rank: Rank) -> int:
    counters = rank.engine.counters
    return max(0, counters.prompt_tokens - counters.cached_prompt_tokens - counters.fetched_tokens)


def _cached_in(engine: Engine, source: str) -> int:
    if source == "device":
        return engine.scheduler.prefix_hit_tokens
    return engine.counters.fetched_tokens if source == "p2p" else 0


def _accepted_at(engine: Engine, position: int) -> float:
    """The accepted tokens of all places, shared out by the independence model: place i is reached with p^(i+1)."""
    speculation = engine.settings.speculation
    if speculation is None:
        return 0
    weights = [speculation.acceptance ** (place + 1) for place in range(speculation.tokens)]
    total = sum(weights)
    return round(engine.counters.spec_accepted_tokens * weights[position] / total) if total else 0
