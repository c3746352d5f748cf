"""Triton Inference Server: `tritonserver`, with the TensorRT-LLM backend or any other.

Protocol: Triton 2.6x: Open Inference Protocol v2 on the HTTP port, Prometheus metrics on a port of their own, model
control with the repository extension. Without the TensorRT-LLM backend's metrics (`nv_trt_llm_…`) only the general ones
are there: pending and successful requests. With models of several steps each step counts. `ttft` is the first-response
histogram, in milliseconds, which decoupled models have.
"""

from __future__ import annotations

from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.open_inference import LIVE_PATH, READY_PATH, RepositoryApi
from fairlead.engines.signal_rules import Count, First, FirstOf, Histogram, Mean, Product, Quotient, SignalTable, Total
from fairlead.engines.spec import EngineSpec, flag, local_source, refuse_all_but

METRICS_PORT = 8002

_REQUESTS = (b"nv_trt_llm_request_metrics",)
_BLOCKS = (b"nv_trt_llm_kv_cache_block_metrics",)
_BLOCK_KIND = "kv_cache_block_type"
_BLOCK_TOKENS = First(_BLOCKS, where=(_BLOCK_KIND, "tokens_per"))
_MAX_BLOCKS = Count(_BLOCKS, where=(_BLOCK_KIND, "max"))

_TABLE = SignalTable(
    succeeded_requests_total=Total((b"nv_inference_request_success",)),
    ttft=Histogram(b"nv_inference_first_response_histogram_ms", unit_s=1e-3),
    waiting_requests=FirstOf(
        (Count(_REQUESTS, where=("request_type", "waiting")), Count((b"nv_inference_pending_request_count",)))
    ),
    running_requests=Count(_REQUESTS, where=("request_type", "scheduled")),
    kv_cache_usage_ratio=FirstOf(
        (
            Mean(_BLOCKS, where=(_BLOCK_KIND, "fraction")),
            Quotient(Count(_BLOCKS, where=(_BLOCK_KIND, "used")), _MAX_BLOCKS),
        )
    ),
    kv_block_tokens=_BLOCK_TOKENS,
    kv_cache_capacity_tokens=Product(_BLOCK_TOKENS, _MAX_BLOCKS),
)


class Triton(Engine):
    """Triton with one model of a repository loaded; others can follow through the repository calls."""

    runtime = "triton"
    title = "Triton Inference Server 2.6x"
    image = "nvcr.io/nvidia/tritonserver:latest"
    program = Program("tritonserver", install="the image")
    api = "open-inference"
    readiness = Readiness(path=READY_PATH, startup_timeout_s=3600, startup_period_s=2, period_s=5)
    liveness_path = LIVE_PATH
    metrics_path = "/metrics"
    signal_table = _TABLE
    metrics_port = METRICS_PORT
    adapters = RepositoryApi()
    drain = Drain(finishes_streams=True, new_requests="refused", health="turns")

    def command(self, spec: EngineSpec) -> EngineCommand:
        remedy = "Triton takes this from the model's config.pbtxt: set it there and leave it out here"
        refuse_all_but(self.runtime, spec, frozenset(("adapters",)), remedy)
        argv = (
            *(spec.command or ("tritonserver",)),
            *flag("--model-repository", local_source(self.runtime, spec.source, "the absolute path of a repository")),
            *flag("--model-control-mode", "explicit"),
            *flag("--load-model", spec.model),
            *flag("--http-address", spec.host),
            *flag("--http-port", spec.port),
            *flag("--metrics-port", self.metrics_port),
            *flag("--exit-timeout-secs", self.drain_s(spec)),
            *spec.args,
        )
        return EngineCommand(argv)
