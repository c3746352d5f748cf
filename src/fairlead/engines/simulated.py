"""The simulated engine that ships with Fairlead: vLLM's interface and metric names, no model, ready at once.

Protocol: `fairlead engine simulated --help`; flags are vLLM's where vLLM has the setting. It has no memory of its own:
how many KV blocks there are is a flag (`--num-gpu-blocks-override`) or comes from the accelerator it plays.
"""

from __future__ import annotations

from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.spec import EngineSpec, Feature, flag, refuse_all_but
from fairlead.engines.vllm import VllmAdapters, VllmHandoff, VllmSleep, kv_event_flags
from fairlead.engines.vllm_metrics import VLLM_SIGNALS


class Simulated(Engine):
    """`fairlead engine simulated`."""

    runtime = "simulated"
    title = "Fairlead's simulated engine"
    image = "fairlead/fairlead:latest"
    program = Program("fairlead", module="fairlead", install="it is here")
    readiness = Readiness(startup_timeout_s=60, startup_period_s=1, period_s=2)
    metrics_path = "/metrics"
    signal_table = VLLM_SIGNALS
    adapters = VllmAdapters()
    handoff = VllmHandoff()
    sleeping = VllmSleep()
    kv_events = "zmq"
    drain = Drain(finishes_streams=True, new_requests="served", health="turns")

    def command(self, spec: EngineSpec) -> EngineCommand:
        refuse_all_but(self.runtime, spec, _SUPPORTED, "it simulates no such thing: leave it out")
        argv = (
            *(spec.command or ("fairlead", "engine", "simulated")),
            *flag("--host", spec.host),
            *flag("--port", spec.port),
            *flag("--model", spec.model),
            *flag("--drain-timeout-s", self.drain_s(spec)),
            *(("--served-model-name", *spec.names[1:]) if spec.names[1:] else ()),
            *_settings(spec),
            *_adapters(spec),
            *kv_event_flags(spec),
            *spec.args,
        )
        return EngineCommand(argv)


_SUPPORTED: frozenset[Feature] = frozenset(
    (
        "aliases", "tensor", "pipeline", "data", "roles", "adapters", "block_tokens", "prefix_caching",
        "max_context_tokens", "kv_events",
    )
)  # fmt: skip


def _settings(spec: EngineSpec) -> tuple[str, ...]:
    p, c = spec.parallelism, spec.cache
    switch = {None: (), True: ("--enable-prefix-caching",), False: ("--no-enable-prefix-caching",)}[c.prefix_caching]
    return (
        *(flag("--tensor-parallel-size", p.tensor) if p.tensor > 1 else ()),
        *(flag("--pipeline-parallel-size", p.pipeline) if p.pipeline > 1 else ()),
        *(flag("--data-parallel-size", p.data) if p.data > 1 else ()),
        *flag("--max-model-len", spec.max_context_tokens),
        *flag("--block-size", c.block_tokens),
        *switch,
        *(flag("--role", spec.role) if spec.role != "unified" else ()),
        *flag("--kv-transfer-port", spec.kv_transfer.port),
    )


def _adapters(spec: EngineSpec) -> tuple[str, ...]:
    a = spec.adapters
    if a is None:
        return ()
    modules = tuple(f"{x.name}={x.source}" for x in a.initial)
    return ("--enable-lora", *flag("--max-loras", a.max_count), *(("--lora-modules", *modules) if modules else ()))
