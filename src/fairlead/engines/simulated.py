"""The simulated engine that ships with Fairlead: vLLM's interface and metric names, no model, ready at once."""

from __future__ import annotations

from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.spec import EngineSpec
from fairlead.engines.vllm import VllmAdapters, VllmHandoff, VllmSleep
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
    drain = Drain(finishes_streams=True, new_requests="refused", health="turns")

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
            str(self.drain_s(spec)),
            *aliases,
            *spec.args,
        )
        return EngineCommand(argv)
