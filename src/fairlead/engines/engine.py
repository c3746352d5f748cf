"""The adapter of a model server: everything Fairlead must know to run it, watch it and route to it.

Adapters are pure: they turn specifications into command lines, metric pages into signals and intentions into calls, and
do no I/O. One module each; what a server does not have is None here, never a call that fails.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fairlead.engines.calls import AdapterApi, HttpCall, SleepApi
from fairlead.engines.handoff import Handoff
from fairlead.engines.signal_rules import SignalTable
from fairlead.engines.signals import EngineSignals
from fairlead.engines.spec import (
    DEFAULT_PORT,
    POD_IP,
    EngineSourceError,
    EngineSpec,
    EngineSpecError,
)

STOP_MARGIN_S = 5
"""Of the pod's grace period, kept for the process to end after its last stream."""


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """A container's command line and the literal environment variables that belong to it."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Readiness:
    """HTTP probes of the engine's own port. Times in seconds."""

    path: str = "/health"
    startup_timeout_s: int = 60
    """How long loading the model may take before the container counts as broken."""
    startup_period_s: int = 1
    period_s: int = 2
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class Drain:
    """What SIGTERM does to requests under way."""

    finishes_streams: bool
    """Whether streams go on to their end, within the time the command line gives them; False also where the server
    does not promise it."""
    new_requests: Literal["served", "refused", "not accepted"]
    """`refused`: an error answer; `not accepted`: no connection."""
    health: Literal["stays", "turns", "closes"]
    """Whether the readiness page goes on saying ready, says not ready, or is gone. One that stays needs the endpoint
    taken out of the pool before SIGTERM."""


@dataclass(frozen=True, slots=True)
class Program:
    """What must be on a machine for the engine to run there."""

    name: str
    """Program on PATH."""
    module: str = ""
    """Python distribution that brings it, empty for programs that are not Python."""
    accelerators: tuple[str, ...] = ()
    """Kinds of which one must be present (`nvidia`, `amd`, `furiosa`, `tpu`); empty: a CPU will do."""
    install: str = ""
    """How to get it, in words."""


class Engine(ABC):
    """One kind of model server."""

    runtime: str
    """Name in `ModelService.spec.runtime`."""
    title: str = ""
    """Its name for people, and the version whose interface the module follows."""
    image: str
    """Container image that has the server."""
    program: Program
    api: Literal["openai", "open-inference", "generate"] = "openai"
    """The protocol that clients of its models speak; `generate` is JetStream's own."""
    knows_names: bool = True
    """Whether it looks at the model name of a request, and refuses one that it does not serve."""
    readiness: Readiness
    liveness_path: str | None = None
    """None: the readiness page serves for both."""
    metrics_path: str
    metrics_port: int | None = None
    """None: the engine's own port."""
    signal_table: SignalTable
    """How the metrics page becomes signals; a server whose page no table can tell of has its own `signals`."""
    adapters: AdapterApi | None = None
    handoff: Handoff | None = None
    sleeping: SleepApi | None = None
    kv_events: Literal["zmq", "http"] | None = None
    """How cache events come: pushed over ZeroMQ (`kv_events`, `kv_event_stream`), or asked for (`kv_events_http`)."""
    drain: Drain

    @abstractmethod
    def command(self, spec: EngineSpec) -> EngineCommand:
        """The command line that serves `spec`, of the leader where there are several hosts. Raises EngineSpecError."""

    def member_commands(self, spec: EngineSpec) -> tuple[EngineCommand, ...]:
        """One command for each host, the leader's first. Raises EngineSpecError.

        Addresses and, where they can be, indexes are LeaderWorkerSet's variables, so that workers differ only where
        the server demands it.
        """
        if spec.parallelism.hosts > 1:
            raise EngineSpecError(self.runtime, "parallelism.hosts", spec.parallelism.hosts, "it runs on one host")
        return (self.command(spec),)

    def signals(self, metrics_page: bytes) -> EngineSignals:
        """What a metrics page says; whatever it lacks stays None. Never raises."""
        return self.signal_table.read(metrics_page)

    def warm_up(self, spec: EngineSpec) -> tuple[HttpCall, ...]:
        """Requests to send once the engine is ready and before it gets traffic; empty where it warms itself up."""
        return ()

    def drain_s(self, spec: EngineSpec) -> int:
        """How long streams have after SIGTERM, seconds: what the command line tells the server."""
        return max(0, spec.drain_s - STOP_MARGIN_S)


def completion_warm_up(spec: EngineSpec) -> tuple[HttpCall, ...]:
    """One short completion: the first request of many servers compiles or captures what later ones use."""
    return (HttpCall("POST", "/v1/completions", {"model": spec.model, "prompt": "warm up", "max_tokens": 2}),)


__all__ = [
    "DEFAULT_PORT",
    "POD_IP",
    "STOP_MARGIN_S",
    "Drain",
    "Engine",
    "EngineCommand",
    "EngineSourceError",
    "EngineSpec",
    "EngineSpecError",
    "Program",
    "Readiness",
    "completion_warm_up",
]
