"""The metrics page: every series of vLLM's own, with its names, types, labels and buckets.

What the engine does not have (multi-modal caches, watermarks) is there with the zeros that vLLM shows. Series of parts
that are switched off (LoRA, speculative decoding) are absent, as there.
Reference: the page of `vllm serve` 0.32, and `v1/metrics/loggers.py`, `v1/spec_decode/metrics.py`.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fairlead.simulator.engine import Engine
from fairlead.simulator.server.exposition import Histogram, Labels, Page
from fairlead.simulator.server.http_metrics import HttpMetrics
from fairlead.simulator.server.rank_metrics import FINISHED_REASONS, RankMetrics

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
        _write_process(page, self._started_s)
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


def cache_labels(engine: Engine, *, overridden: bool, block_size_given: bool) -> dict[str, str]:
    """The labels of `vllm:cache_config_info` for an engine."""
    settings = engine.settings
    tokens = settings.num_blocks * settings.block_tokens
    return {
        "_block_size_resolved": "True",
        "block_size": str(settings.block_tokens),
        "cache_dtype": "auto",
        "cache_hit_alignment_tokens": "None",
        "effective_attention_block_size": str(settings.block_tokens),
        "enable_mamba_shared_prefix_checkpoint": "False",
        "enable_prefix_caching": str(settings.prefix_caching),
        "gpu_memory_utilization": "0.92",
        "hash_block_size": "None",
        "is_attention_free": "False",
        "kv_cache_dtype_skip_layers": "[]",
        "kv_cache_layout": "None",
        "kv_cache_max_concurrency": str(round(tokens / settings.max_model_len, 3)),
        "kv_cache_memory_bytes": "None",
        "kv_cache_size_tokens": str(tokens),
        "kv_offloading_backend": "native",
        "kv_offloading_size": "None",
        "kv_sharing_fast_prefill": "False",
        "mamba_block_size": "None",
        "mamba_cache_dtype": "auto",
        "mamba_cache_mode": "none",
        "mamba_page_size_padded": "None",
        "mamba_ssm_cache_dtype": "auto",
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(settings.num_blocks),
        "num_gpu_blocks_override": str(settings.num_blocks) if overridden else "None",
        "prefix_cache_retention_interval": "0",
        "prefix_caching_hash_algo": "xxhash",
        "prefix_match_unit": "None",
        "replayssm_buffer_len": "16",
        "skip_page_size_padded": "None",
        "sliding_window": "None",
        "swa_bounded_replay": "True",
        "use_kda_recoverssm": "False",
        "use_replayssm": "False",
        "user_specified_block_size": str(block_size_given),
    }


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


def _write_process(page: Page, started_s: float) -> None:
    """Series of the Python process, as its Prometheus client adds them."""
    stats = gc.get_stats()
    for name, key in (
        ("objects_collected", "collected"),
        ("objects_uncollectable", "uncollectable"),
        ("collections", "collections"),
    ):
        samples = [({"generation": str(index)}, float(stat[key])) for index, stat in enumerate(stats)]
        page.plain_counter(f"python_gc_{name}", "Of the garbage collector.", samples)
    major, minor, patch = sys.version_info[:3]
    labels = {
        "implementation": platform.python_implementation(),
        "major": str(major),
        "minor": str(minor),
        "patchlevel": str(patch),
        "version": platform.python_version(),
    }
    page.gauge("python_info", "The Python in use.", [(labels, 1)])
    pages = [int(each) for each in Path("/proc/self/statm").read_text().split()[:2]]
    page_bytes = resource.getpagesize()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    for name, value in (
        ("virtual_memory_bytes", pages[0] * page_bytes),
        ("resident_memory_bytes", pages[1] * page_bytes),
        ("start_time_seconds", started_s),
        ("open_fds", len(os.listdir("/proc/self/fd"))),
        ("max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ):
        page.gauge(f"process_{name}", "Of this process.", [({}, value)])
    page.plain_counter("process_cpu_seconds", "CPU time of this process.", [({}, usage.ru_utime + usage.ru_stime)])
