"""Furiosa-LLM on RNGD cards: `furiosa-llm serve`.

Protocol: Furiosa SDK 2026 documentation, "OpenAI-Compatible Server": one model per server whose name in requests is
not looked at (every alias works), `/metrics` with the prefix `furiosa_llm_` and vLLM's meanings, `/health`. Tensor
parallelism counts processing elements (8 on a card), pipeline and data parallelism follow the devices of the artifact.
What SIGTERM does to streams is not documented.
"""

from __future__ import annotations

from fairlead.engines.calls import HttpCall
from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness, completion_warm_up
from fairlead.engines.signal_rules import Count, Histogram, Mean, SignalTable, Succeeded, Total
from fairlead.engines.spec import EngineSpec, flag, local_source, refuse_all_but
from fairlead.engines.vllm_metrics import BlockTokens, CapacityTokens

_INFO = b"furiosa_llm_cache_config_info"

_TABLE = SignalTable(
    running_requests=Count((b"furiosa_llm_num_requests_running",)),
    waiting_requests=Count((b"furiosa_llm_num_requests_waiting",)),
    kv_cache_usage_ratio=Mean((b"furiosa_llm_kv_cache_usage_percent", b"furiosa_llm_kv_cache_usage_perc")),
    kv_block_tokens=BlockTokens(_INFO),
    kv_cache_capacity_tokens=CapacityTokens(_INFO),
    prefix_cache_hit_tokens_total=Total((b"furiosa_llm_prefix_cache_hits_total", b"furiosa_llm_prefix_cache_hits")),
    prefix_cache_queried_tokens_total=Total(
        (b"furiosa_llm_prefix_cache_queries_total", b"furiosa_llm_prefix_cache_queries")
    ),
    prompt_tokens_total=Total((b"furiosa_llm_prompt_tokens_total",)),
    generation_tokens_total=Total((b"furiosa_llm_generation_tokens_total",)),
    succeeded_requests_total=Succeeded((b"furiosa_llm_request_success_total",)),
    ttft=Histogram(b"furiosa_llm_time_to_first_token_seconds"),
    itl=Histogram(b"furiosa_llm_inter_token_latency_seconds", b"furiosa_llm_time_per_output_token_seconds"),
    e2e=Histogram(b"furiosa_llm_e2e_request_latency_seconds"),
)


class Furiosa(Engine):
    """Furiosa-LLM's OpenAI server. The devices are those the pod's claim gives it."""

    runtime = "furiosa-llm"
    title = "Furiosa-LLM, SDK 2026"
    image = "furiosaai/furiosa-llm:latest"
    program = Program(
        "furiosa-llm",
        module="furiosa-llm",
        accelerators=("furiosa",),
        install="pip install furiosa-llm, furiosa-compiler",
    )
    readiness = Readiness(startup_timeout_s=3600, startup_period_s=2, period_s=5)
    metrics_path = "/metrics"
    signal_table = _TABLE
    knows_names = False
    drain = Drain(finishes_streams=False, new_requests="not accepted", health="closes")

    def command(self, spec: EngineSpec) -> EngineCommand:
        refuse_all_but(
            self.runtime,
            spec,
            frozenset(("aliases", "tensor", "pipeline", "data")),
            "the artifact was built with it: build one that has it, and leave it out",
        )
        p = spec.parallelism
        argv = (
            *(spec.command or ("furiosa-llm", "serve")),
            local_source(self.runtime, spec.source),
            *flag("--host", spec.host),
            *flag("--port", spec.port),
            *(flag("--tensor-parallel-size", p.tensor) if p.tensor > 1 else ()),
            *(flag("--pipeline-parallel-size", p.pipeline) if p.pipeline > 1 else ()),
            *(flag("--data-parallel-size", p.data) if p.data > 1 else ()),
            *spec.args,
        )
        return EngineCommand(argv)

    def warm_up(self, spec: EngineSpec) -> tuple[HttpCall, ...]:
        return completion_warm_up(spec)
