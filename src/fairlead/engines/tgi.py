"""Hugging Face Text Generation Inference: `text-generation-launcher`.

Protocol: TGI 3.x: launcher arguments, OpenAI routes beside its own, `/health`, `/metrics` (prefix `tgi_`). The model
name in requests is not looked at, so that every alias works. Adapters are loaded at the start and asked for by
`adapter_id` or model name; there are no calls for more. Tokens are sums of histograms of requests that ended; `itl` is
each request's mean. After SIGTERM the launcher gives its web server 90 s to finish, whatever the pod has.
"""

from __future__ import annotations

from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.signal_rules import Count, Histogram, SignalTable, Total
from fairlead.engines.spec import EngineSpec, EngineSpecError, flag, local_source, refuse_all_but

_TABLE = SignalTable(
    running_requests=Count((b"tgi_batch_current_size",)),
    waiting_requests=Count((b"tgi_queue_size",)),
    succeeded_requests_total=Total((b"tgi_request_success",)),
    prompt_tokens_total=Total((b"tgi_request_input_length_sum",)),
    generation_tokens_total=Total((b"tgi_request_generated_tokens_sum",)),
    itl=Histogram(b"tgi_request_mean_time_per_token_duration"),
    e2e=Histogram(b"tgi_request_duration"),
    queue=Histogram(b"tgi_request_queue_duration"),
)


class Tgi(Engine):
    """TGI; it warms itself up before it says it is ready."""

    runtime = "tgi"
    title = "Text Generation Inference 3.x"
    image = "ghcr.io/huggingface/text-generation-inference:latest"
    program = Program("text-generation-launcher", accelerators=("nvidia", "amd"), install="the image")
    readiness = Readiness(startup_timeout_s=3600, startup_period_s=2, period_s=5)
    metrics_path = "/metrics"
    signal_table = _TABLE
    knows_names = False
    drain = Drain(finishes_streams=True, new_requests="not accepted", health="closes")

    def command(self, spec: EngineSpec) -> EngineCommand:
        refuse_all_but(
            self.runtime,
            spec,
            frozenset(
                (
                    "aliases",
                    "tensor",
                    "adapters",
                    "memory_fraction",
                    "cache_dtype",
                    "prefix_caching",
                    "max_context_tokens",
                )
            ),
            "it has no such setting: leave it out",
        )
        env = {}
        if spec.adapters is not None:
            env["LORA_ADAPTERS"] = self._adapters(spec)
        if spec.cache.prefix_caching is not None:
            env["USE_PREFIX_CACHING"] = "1" if spec.cache.prefix_caching else "0"
        argv = (
            *(spec.command or ("text-generation-launcher",)),
            *flag("--model-id", local_source(self.runtime, spec.source)),
            *flag("--hostname", spec.host),
            *flag("--port", spec.port),
            *(flag("--num-shard", spec.parallelism.tensor) if spec.parallelism.tensor > 1 else ()),
            *flag("--max-total-tokens", spec.max_context_tokens),
            *flag("--cuda-memory-fraction", spec.cache.memory_fraction),
            *flag("--kv-cache-dtype", spec.cache.dtype),
            *spec.args,
        )
        return EngineCommand(argv, env)

    def _adapters(self, spec: EngineSpec) -> str:
        initial = spec.adapters.initial if spec.adapters else ()
        if not initial:
            raise EngineSpecError(
                self.runtime, "adapters.initial", (), "it loads adapters only at the start: name them all"
            )
        return ",".join(f"{a.name}={local_source(self.runtime, a.source)}" for a in initial)
