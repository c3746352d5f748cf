"""The simulated engine that ships with Fairlead: vLLM's interface and metric names, no model, ready at once."""

from __future__ import annotations

from fairlead.engines.engine import EngineCommand, EngineSpec, Readiness
from fairlead.engines.signals import EngineSignals
from fairlead.engines.vllm import vllm_signals

_STOP_MARGIN_S = 5
"""Of the pod's grace period, kept for the process to end after its last stream."""


class Simulated:
    """`fairlead engine simulated`."""

    runtime = "simulated"
    image = "fairlead/fairlead:latest"
    readiness = Readiness(startup_timeout_s=60, startup_period_s=1, period_s=2)
    metrics_path = "/metrics"

    def command(self, spec: EngineSpec) -> EngineCommand:
        names = spec.names
        aliases = ("--served-model-name", *names[1:]) if names[1:] else ()
        argv = (
            *(spec.command or ("fairlead", "engine", "simulated")),
            "--host",
            spec.host,
            "--port",
            str(spec.port),
            "--model",
            spec.model,
            "--drain-timeout-s",
            str(max(0, spec.drain_s - _STOP_MARGIN_S)),
            *aliases,
            *spec.args,
        )
        return EngineCommand(argv)

    def signals(self, metrics_page: bytes) -> EngineSignals:
        return vllm_signals(metrics_page)
