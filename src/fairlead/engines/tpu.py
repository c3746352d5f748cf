"""Serving on TPUs: vLLM for TPUs (the way forward) and JetStream with MaxText (its predecessor).

Protocol: vllm-tpu is vLLM with the tpu-inference plugin: same command line and metrics as `vllm`. JetStream 0.3 is
started as MaxText's `maxengine_server`, whose settings are `key=value`; it speaks gRPC and, through its HTTP server
beside it, `/generate`; metrics (`core/metrics/prometheus.py`) are on a port of their own. `itl` of JetStream is each
request's mean; its usage of decode slots is no KV usage, so that stays unknown.
"""

from __future__ import annotations

from fairlead.engines.engine import Drain, Engine, EngineCommand, EngineSpecError, Program, Readiness
from fairlead.engines.signal_rules import Count, Histogram, SignalTable, Total
from fairlead.engines.spec import EngineSpec, local_source, refuse_all_but
from fairlead.engines.vllm import Vllm

JETSTREAM_METRICS_PORT = 9090

_JETSTREAM = SignalTable(
    waiting_requests=Count((b"jetstream_prefill_backlog_size",)),
    queue=Histogram(b"jetstream_queue_duration"),
    ttft=Histogram(b"jetstream_time_to_first_token"),
    itl=Histogram(b"jetstream_time_per_output_token"),
    e2e=Histogram(b"jetstream_time_per_request"),
    succeeded_requests_total=Total((b"jetstream_request_success_count_total", b"jetstream_request_success_count")),
)


class VllmTpu(Vllm):
    """vLLM on TPUs; it has no NIXL and no sleep mode there."""

    runtime = "vllm-tpu"
    title = "vLLM for TPUs"
    image = "vllm/vllm-tpu:latest"
    program = Program("vllm", module="vllm-tpu", accelerators=("tpu",), install="pip install vllm-tpu")
    handoff = None
    sleeping = None

    def member_commands(self, spec: EngineSpec) -> tuple[EngineCommand, ...]:
        if spec.role != "unified" and not spec.kv_transfer.connector:
            raise EngineSpecError(
                self.runtime, "role", spec.role, "name the plugin's KV connector in kv_transfer.connector"
            )
        return super().member_commands(spec)


class JetStream(Engine):
    """JetStream's MaxText engine; tensor parallelism is over the chips of one host."""

    runtime = "jetstream"
    title = "JetStream 0.3 with MaxText"
    image = "us-docker.pkg.dev/cloud-tpu-images/inference/maxengine-server:latest"
    program = Program("python3", module="google-jetstream", accelerators=("tpu",), install="the image")
    api = "generate"
    readiness = Readiness(path="/healthcheck", startup_timeout_s=3600, startup_period_s=2, period_s=5)
    metrics_path = "/"
    signal_table = _JETSTREAM
    metrics_port = JETSTREAM_METRICS_PORT
    drain = Drain(finishes_streams=False, new_requests="not accepted", health="closes")

    def command(self, spec: EngineSpec) -> EngineCommand:
        remedy = "MaxText takes this as key=value: give it in args"
        refuse_all_but(self.runtime, spec, frozenset(("aliases", "tensor", "max_context_tokens")), remedy)
        settings = [f"load_parameters_path={local_source(self.runtime, spec.source)}", f"model_name={spec.model}"]
        if spec.parallelism.tensor > 1:
            settings.append(f"ici_tensor_parallelism={spec.parallelism.tensor}")
        if spec.max_context_tokens is not None:
            settings.append(f"max_target_length={spec.max_context_tokens}")
        settings.append(f"prometheus_port={self.metrics_port}")
        program = spec.command or ("python3", "MaxText/maxengine_server.py", "MaxText/configs/base.yml")
        return EngineCommand((*program, *settings, *spec.args))
