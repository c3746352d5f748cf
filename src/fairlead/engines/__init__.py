"""What differs between model servers, one module each: command line, readiness, metric names, endpoints.

`engine_for` gives the adapter of a runtime; everything else in Fairlead talks to engines through it.
"""

from collections.abc import Mapping

from fairlead.engines.calls import AdapterApi, CallOutcome, HttpCall, SleepApi
from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.furiosa import Furiosa
from fairlead.engines.handoff import Handoff, HandoffError, Meeting
from fairlead.engines.llama_cpp import LlamaCpp
from fairlead.engines.onnx import Onnx
from fairlead.engines.open_inference import MlServer, OpenVino
from fairlead.engines.sglang import Sglang
from fairlead.engines.signals import UNKNOWN, EngineSignals, HistogramSignal
from fairlead.engines.simulated import Simulated
from fairlead.engines.spec import (
    Adapter,
    AdapterSettings,
    CacheSettings,
    EngineSourceError,
    EngineSpec,
    EngineSpecError,
    KvEventPublishing,
    KvTransfer,
    Parallelism,
)
from fairlead.engines.tensorrt_llm import TensorRtLlm
from fairlead.engines.tgi import Tgi
from fairlead.engines.tpu import JetStream, VllmTpu
from fairlead.engines.triton import Triton
from fairlead.engines.vllm import Vllm

ENGINES: Mapping[str, Engine] = {
    engine.runtime: engine
    for engine in (
        Simulated(),
        Vllm(),
        Sglang(),
        TensorRtLlm(),
        Triton(),
        LlamaCpp(),
        Furiosa(),
        VllmTpu(),
        JetStream(),
        Tgi(),
        MlServer(),
        OpenVino(),
        Onnx(),
    )
}
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
    "Adapter",
    "AdapterApi",
    "AdapterSettings",
    "CacheSettings",
    "CallOutcome",
    "Drain",
    "Engine",
    "EngineCommand",
    "EngineSignals",
    "EngineSourceError",
    "EngineSpec",
    "EngineSpecError",
    "Furiosa",
    "Handoff",
    "HandoffError",
    "HistogramSignal",
    "HttpCall",
    "JetStream",
    "KvEventPublishing",
    "KvTransfer",
    "LlamaCpp",
    "Meeting",
    "MlServer",
    "Onnx",
    "OpenVino",
    "Parallelism",
    "Program",
    "Readiness",
    "Sglang",
    "Simulated",
    "SleepApi",
    "TensorRtLlm",
    "Tgi",
    "Triton",
    "UnknownRuntime",
    "Vllm",
    "VllmTpu",
    "engine_for",
]
