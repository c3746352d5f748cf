"""SGLang: `python -m sglang.launch_server`.

Protocol: SGLang 0.5: server arguments, `/load_lora_adapter`, `/release_memory_occupation`, PD disaggregation with
`bootstrap_host`, `bootstrap_port`, `bootstrap_room` in the request; metrics of `observability/metrics_collector.py`
(labels `model_name`, `tp_rank`, `dp_rank`, …). `itl` of versions without `inter_token_latency_seconds` is each
request's mean. Cached tokens are counted against prompt tokens, so those are the queried ones. The model name of a
request is not looked at but for `:adapter` behind it.
"""

from __future__ import annotations

import json
from typing import Any

from fairlead.engines.calls import CallOutcome, HttpCall, plain_outcome
from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.handoff import Body, Meeting, one_token
from fairlead.engines.signal_rules import Count, First, FirstOf, Histogram, Mean, SignalTable, Total
from fairlead.engines.spec import (
    GROUP_SIZE,
    LEADER_ADDRESS,
    WORKER_INDEX,
    Adapter,
    EngineSpec,
    EngineSpecError,
    flag,
    local_source,
)
from fairlead.engines.vllm_metrics import BlockTokens

BOOTSTRAP_PORT = 8998
"""Of a prefill engine; SGLang's default."""

_DIST_INIT_PORT = 20000
_CACHE_INFO = b"sglang:cache_config_info"

_TABLE = SignalTable(
    running_requests=Count((b"sglang:num_running_reqs",)),
    waiting_requests=Count((b"sglang:num_queue_reqs",)),
    swapped_requests=Count((b"sglang:num_retracted_reqs",)),
    kv_cache_usage_ratio=Mean((b"sglang:token_usage",)),
    kv_cache_capacity_tokens=Count((b"sglang:max_total_num_tokens",)),
    kv_block_tokens=FirstOf((BlockTokens(_CACHE_INFO, "page_size"), First((b"sglang:page_size",)))),
    loaded_adapters=Count((b"sglang:lora_pool_slots_used",)),
    max_adapters=First((b"sglang:lora_pool_slots_total",)),
    preemptions_total=Total((b"sglang:num_retracted_requests_total",)),
    prompt_tokens_total=Total((b"sglang:prompt_tokens_total",)),
    generation_tokens_total=Total((b"sglang:generation_tokens_total",)),
    prefix_cache_queried_tokens_total=Total((b"sglang:prompt_tokens_total",)),
    prefix_cache_hit_tokens_total=Total((b"sglang:cached_tokens_total",)),
    succeeded_requests_total=Total((b"sglang:num_requests_total",)),
    ttft=Histogram(b"sglang:time_to_first_token_seconds"),
    itl=Histogram(b"sglang:inter_token_latency_seconds", b"sglang:time_per_output_token_seconds"),
    e2e=Histogram(b"sglang:e2e_request_latency_seconds"),
    queue=Histogram(b"sglang:queue_time_seconds"),
)


class SglangAdapters:
    """Needs --enable-lora and a maximal rank, which `Sglang.command` gives."""

    def load(self, adapter: Adapter) -> HttpCall:
        body = {"lora_name": adapter.name, "lora_path": local_source("sglang", adapter.source)}
        return HttpCall("POST", "/load_lora_adapter", body)

    def unload(self, name: str) -> HttpCall:
        return HttpCall("POST", "/unload_lora_adapter", {"lora_name": name})

    def model_field(self, model: str, name: str) -> str:
        return f"{model}:{name}"

    def loaded(self, status: int, body: bytes) -> CallOutcome:
        return plain_outcome(status, body, unchanged=("already loaded", "already exists"))

    def unloaded(self, status: int, body: bytes) -> CallOutcome:
        return plain_outcome(status, body, unchanged=("not found", "is not loaded", "does not exist"))


class SglangSleep:
    """Needs --enable-memory-saver."""

    def sleep(self) -> HttpCall:
        return HttpCall("POST", "/release_memory_occupation", {})

    def wake(self) -> HttpCall:
        return HttpCall("POST", "/resume_memory_occupation", {})


class SglangHandoff:
    """Both engines get the whole request and meet at the prefill engine's bootstrap server."""

    concurrent = True

    def prefill_request(self, body: Body, meeting: Meeting) -> Body:
        return {**one_token(body), **self._meeting(meeting)}

    def take(self, answer: Body) -> Body:
        return {}

    def decode_request(self, body: Body, taken: Body, meeting: Meeting) -> Body:
        return {**body, **self._meeting(meeting)}

    def _meeting(self, meeting: Meeting) -> dict[str, Any]:
        return {
            "bootstrap_host": meeting.prefill_host,
            "bootstrap_port": meeting.prefill_port or BOOTSTRAP_PORT,
            "bootstrap_room": meeting.room,
        }


class Sglang(Engine):
    """SGLang's OpenAI server; it warms itself up before it says it is ready."""

    runtime = "sglang"
    title = "SGLang 0.5"
    image = "lmsysorg/sglang:latest"
    program = Program(
        "sglang", module="sglang", accelerators=("nvidia", "amd", "tpu"), install='pip install "sglang[all]"'
    )
    readiness = Readiness(startup_timeout_s=3600, startup_period_s=2, period_s=5)
    metrics_path = "/metrics"
    knows_names = False
    signal_table = _TABLE
    adapters = SglangAdapters()
    handoff = SglangHandoff()
    sleeping = SglangSleep()
    kv_events = "zmq"
    drain = Drain(finishes_streams=True, new_requests="served", health="turns")

    def command(self, spec: EngineSpec) -> EngineCommand:
        return self.member_commands(spec)[0]

    def member_commands(self, spec: EngineSpec) -> tuple[EngineCommand, ...]:
        colon = next((name for name in spec.names if ":" in name), None)
        if colon is not None:
            remedy = "it takes what follows a colon for an adapter: name it without one"
            raise EngineSpecError(self.runtime, "model name", colon, remedy)
        hosts = spec.parallelism.hosts
        group = (
            (
                "--nnodes",
                GROUP_SIZE,
                "--node-rank",
                WORKER_INDEX,
                "--dist-init-addr",
                f"{LEADER_ADDRESS}:{_DIST_INIT_PORT}",
            )
            if hosts > 1
            else ()
        )
        argv = (
            *(spec.command or ("python3", "-m", "sglang.launch_server")),
            *flag("--model-path", local_source(self.runtime, spec.source)),
            *flag("--served-model-name", spec.model),
            *flag("--host", spec.host),
            *flag("--port", spec.port),
            "--enable-metrics",
            *_parallel(spec),
            *_cache(spec),
            *_adapters(spec),
            *_role(self.runtime, spec),
            *_events(spec),
            *group,
            *spec.args,
        )
        return (EngineCommand(argv),) * hosts


def _parallel(spec: EngineSpec) -> tuple[str, ...]:
    p = spec.parallelism
    return (
        *(flag("--tp-size", p.tensor) if p.tensor > 1 else ()),
        *(flag("--pp-size", p.pipeline) if p.pipeline > 1 else ()),
        *(flag("--dp-size", p.data) if p.data > 1 else ()),
        *(flag("--ep-size", p.expert) if p.expert > 1 else ()),
    )


def _cache(spec: EngineSpec) -> tuple[str, ...]:
    c = spec.cache
    offload_gb = None if c.offload_bytes is None else round(c.offload_bytes / 1e9)
    return (
        *flag("--context-length", spec.max_context_tokens),
        *flag("--page-size", c.block_tokens),
        *flag("--mem-fraction-static", c.memory_fraction),
        *flag("--kv-cache-dtype", c.dtype),
        *(("--disable-radix-cache",) if c.prefix_caching is False else ()),
        *(("--enable-hierarchical-cache", "--hicache-size", str(offload_gb)) if offload_gb is not None else ()),
    )


def _adapters(spec: EngineSpec) -> tuple[str, ...]:
    a = spec.adapters
    if a is None:
        return ()
    paths = tuple(f"{x.name}={local_source('sglang', x.source)}" for x in a.initial)
    if not paths and a.max_rank is None:
        raise EngineSpecError("sglang", "adapters.max_rank", None, "it needs the largest rank to come: say it")
    # Without adapters at the start there is nothing to learn the target modules from.
    return (
        "--enable-lora",
        *flag("--max-loras-per-batch", a.max_count),
        *flag("--max-lora-rank", a.max_rank),
        *(("--lora-paths", *paths) if paths else ("--lora-target-modules", "all")),
    )


def _role(runtime: str, spec: EngineSpec) -> tuple[str, ...]:
    if spec.role == "unified":
        return ()
    if spec.role == "encode":
        return ("--encoder-only", *flag("--encoder-transfer-backend", spec.kv_transfer.connector or None))
    if spec.kv_transfer.settings:
        raise EngineSpecError(
            runtime, "kv_transfer.settings", dict(spec.kv_transfer.settings), "give them as flags in args"
        )
    return (
        *flag("--disaggregation-mode", spec.role),
        *flag("--disaggregation-transfer-backend", spec.kv_transfer.connector or None),
        *(
            flag("--disaggregation-bootstrap-port", spec.kv_transfer.port or BOOTSTRAP_PORT)
            if spec.role == "prefill"
            else ()
        ),
    )


def _events(spec: EngineSpec) -> tuple[str, ...]:
    e = spec.kv_events
    if e is None:
        return ()
    config: dict[str, Any] = {"publisher": "zmq", "endpoint": e.endpoint, "topic": e.topic}
    if e.replay_endpoint:
        config["replay_endpoint"] = e.replay_endpoint
    if e.buffer_steps is not None:
        config["buffer_steps"] = e.buffer_steps
    return ("--kv-events-config", json.dumps(config))
