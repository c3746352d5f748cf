"""What differs between model servers, one module each: command line, readiness, metric names, endpoints.

`engine_for` gives the adapter of a runtime; everything else in Fairlead talks to engines through it.
"""

from collections.abc import Mapping

from fairlead.engines.engine import Engine, EngineCommand, EngineSourceError, EngineSpec, Readiness
from fairlead.engines.signals import UNKNOWN, EngineSignals, HistogramSignal
from fairlead.engines.simulated import Simulated
from fairlead.engines.vllm import Vllm

ENGINES: Mapping[str, Engine] = {engine.runtime: engine for engine in (Simulated(), Vllm())}
"""Runtime name -> adapter."""

RUNTIME_LABEL = "fairlead.dev/runtime"
"""Label of pods and pools that names the runtime of their engines."""


class UnknownRuntime(KeyError):
    """No adapter for this runtime; the message lists those there are."""

    def __str__(self) -> str:
        return str(self.args[0])


def engine_for(runtime: str) -> Engine:
    """The adapter of a runtime. Raises UnknownRuntime."""
    try:
        return ENGINES[runtime]
    except KeyError:
        raise UnknownRuntime(f"unknown runtime {runtime!r}: known are {', '.join(sorted(ENGINES))}") from None


__all__ = [
    "ENGINES",
    "RUNTIME_LABEL",
    "UNKNOWN",
    "Engine",
    "EngineCommand",
    "EngineSignals",
    "EngineSourceError",
    "EngineSpec",
    "HistogramSignal",
    "Readiness",
    "Simulated",
    "UnknownRuntime",
    "Vllm",
    "engine_for",
]
