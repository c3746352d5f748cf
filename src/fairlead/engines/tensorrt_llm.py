"""TensorRT-LLM: `trtllm-serve`.

Protocol: TensorRT-LLM 1.x: command line, `/health`, `disaggregated_params`; metrics of `metrics/collector.py` under
`/prometheus/metrics` (they need `return_perf_metrics` and `enable_iter_perf_stats` in the file given with --config).
The model name of a request is not looked at. What trtllm-serve takes only from that file (block size, dtype, reuse,
LoRA, cache transceiver, event buffer) is refused here unless such a file is among the arguments. Cache events:
`kv_events_http`. `itl` is each request's mean.

Several hosts: MPI. The leader starts `mpirun` over the group's host names (LeaderWorkerSet's: leader, leader-1, …)
with `trtllm-llmapi-launch`; the workers run an SSH server, whose keys are the image's.
"""

from __future__ import annotations

from typing import Any

from fairlead.engines.calls import HttpCall
from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness, completion_warm_up
from fairlead.engines.handoff import Body, HandoffError, Meeting, one_token
from fairlead.engines.signal_rules import Count, First, Histogram, Mean, Product, SignalTable, Succeeded, Total
from fairlead.engines.spec import EngineSpec, Feature, flag, local_source, refuse_all_but

_BLOCK_TOKENS = First((b"trtllm_kv_cache_tokens_per_block",))

_TABLE = SignalTable(
    succeeded_requests_total=Succeeded((b"trtllm_request_success_total",)),
    e2e=Histogram(b"trtllm_e2e_request_latency_seconds"),
    ttft=Histogram(b"trtllm_time_to_first_token_seconds"),
    itl=Histogram(b"trtllm_time_per_output_token_seconds"),
    queue=Histogram(b"trtllm_request_queue_time_seconds"),
    prompt_tokens_total=Total((b"trtllm_prompt_tokens_total",)),
    generation_tokens_total=Total((b"trtllm_generation_tokens_total",)),
    kv_cache_usage_ratio=Mean((b"trtllm_kv_cache_utilization",)),
    running_requests=Count((b"trtllm_num_requests_running",)),
    waiting_requests=Count((b"trtllm_num_requests_waiting",)),
    swapped_requests=Count((b"trtllm_num_paused_requests",)),
    kv_cache_capacity_tokens=Product(_BLOCK_TOKENS, Count((b"trtllm_kv_cache_max_blocks",))),
    kv_block_tokens=_BLOCK_TOKENS,
    spec_decode_drafted_tokens_total=Total((b"trtllm_spec_decode_num_draft_tokens_total",)),
    spec_decode_accepted_tokens_total=Total((b"trtllm_spec_decode_num_accepted_tokens_total",)),
    prefix_cache_queried_tokens_total=Total((b"trtllm_prompt_tokens_total",)),
    prefix_cache_hit_tokens_total=Total((b"trtllm_prompt_cached_tokens_total",)),
)

_BY_FLAG: frozenset[Feature] = frozenset(
    ("aliases", "hosts", "tensor", "pipeline", "expert", "memory_fraction", "max_context_tokens")
)
_BY_FILE: frozenset[Feature] = frozenset(
    ("roles", "adapters", "block_tokens", "cache_dtype", "prefix_caching", "offload_bytes", "kv_events")
)
_FILE_FLAGS = ("--config", "--extra_llm_api_options")


class TrtllmHandoff:
    """Prefill answers with its request's identity, state and first token; decode goes on from its token ids."""

    concurrent = False

    def prefill_request(self, body: Body, meeting: Meeting) -> Body:
        return {**one_token(body), "disaggregated_params": {"request_type": "context_only"}}

    def take(self, answer: Body) -> Body:
        choices = answer.get("choices") or [{}]
        params = choices[0].get("disaggregated_params")
        if not isinstance(params, dict):
            raise HandoffError("prefill's answer has no choices[0].disaggregated_params: has it a cache transceiver?")
        return {"disaggregated_params": params, "prompt_token_ids": answer.get("prompt_token_ids")}

    def decode_request(self, body: Body, taken: Body, meeting: Meeting) -> Body:
        request: dict[str, Any] = dict(body)
        request["disaggregated_params"] = {**taken["disaggregated_params"], "request_type": "generation_only"}
        token_ids = taken.get("prompt_token_ids")
        if token_ids is not None:
            request["prompt" if "prompt" in body else "prompt_token_ids"] = token_ids
        return request


class TensorRtLlm(Engine):
    """TensorRT-LLM's OpenAI server (PyTorch backend)."""

    runtime = "tensorrt-llm"
    title = "TensorRT-LLM 1.x (trtllm-serve)"
    image = "nvcr.io/nvidia/tensorrt-llm/release:latest"
    program = Program(
        "trtllm-serve",
        module="tensorrt_llm",
        accelerators=("nvidia",),
        install="the image, or pip install tensorrt_llm",
    )
    readiness = Readiness(startup_timeout_s=3600, startup_period_s=2, period_s=5)
    metrics_path = "/prometheus/metrics"
    knows_names = False
    signal_table = _TABLE
    handoff = TrtllmHandoff()
    kv_events = "http"
    drain = Drain(finishes_streams=True, new_requests="not accepted", health="closes")

    def command(self, spec: EngineSpec) -> EngineCommand:
        return self.member_commands(spec)[0]

    def member_commands(self, spec: EngineSpec) -> tuple[EngineCommand, ...]:
        has_file = any(arg.split("=")[0] in _FILE_FLAGS for arg in spec.args)
        refuse_all_but(
            self.runtime,
            spec,
            _BY_FLAG | _BY_FILE if has_file else _BY_FLAG,
            "it takes this only from a file: write it there and give the file with args --config FILE, or leave it out",
        )
        p = spec.parallelism
        serve = (
            *(spec.command or ("trtllm-serve",)),
            local_source(self.runtime, spec.source),
            *flag("--served_model_name", spec.model),
            *flag("--host", spec.host),
            *flag("--port", spec.port),
            *(flag("--tp_size", p.tensor) if p.tensor > 1 else ()),
            *(flag("--pp_size", p.pipeline) if p.pipeline > 1 else ()),
            *(flag("--ep_size", p.expert) if p.expert > 1 else ()),
            *(flag("--gpus_per_node", p.devices_per_host) if p.hosts > 1 else ()),
            *flag("--max_seq_len", spec.max_context_tokens),
            *flag("--kv_cache_free_gpu_memory_fraction", spec.cache.memory_fraction),
            *spec.args,
        )
        if p.hosts == 1:
            return (EngineCommand(serve),)
        leader = EngineCommand(("sh", "-c", _mpi_script(p.hosts, p.devices_per_host), *serve))
        return (leader, *[EngineCommand(("/usr/sbin/sshd", "-D", "-e"))] * (p.hosts - 1))

    def warm_up(self, spec: EngineSpec) -> tuple[HttpCall, ...]:
        return () if spec.role != "unified" else completion_warm_up(spec)


def _mpi_script(hosts: int, devices_per_host: int) -> str:
    """A shell script that runs its arguments over the group; the leader's name is the stem of the workers'."""
    names = ["$LWS_LEADER_ADDRESS", *(f"$leader-{i}.$domain" for i in range(1, hosts))]
    slots = ",".join(f"{name}:{devices_per_host}" for name in names)
    return (
        "leader=${LWS_LEADER_ADDRESS%%.*}; domain=${LWS_LEADER_ADDRESS#*.}; "
        f'exec mpirun --allow-run-as-root --host "{slots}" -n {hosts * devices_per_host} '
        'trtllm-llmapi-launch "$0" "$@"'
    )
