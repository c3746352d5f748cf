"""The adapter protocol: everything Fairlead must know about a model server to run it, watch it and route to it.

Adapters are pure: they turn specifications into command lines and metric pages into signals, and do no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fairlead.engines.signals import EngineSignals

POD_IP = "$(POD_IP)"
"""Expanded by the kubelet from the container's environment variable POD_IP (field `status.podIP`)."""

DEFAULT_PORT = 8000


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What one engine is to serve.

    `source` is a URL or an absolute path of the weights, empty for engines that need none. `command` replaces the
    program of the runtime; `args` follow the runtime's own arguments.
    """

    model: str
    aliases: tuple[str, ...] = ()
    source: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    host: str = POD_IP
    port: int = DEFAULT_PORT
    drain_s: int = 30
    """How long the pod may take to stop, seconds (`terminationGracePeriodSeconds`)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which requests may come, the model's own first, without repetition."""
        return tuple(dict.fromkeys((self.model, *self.aliases)))


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


class EngineSourceError(ValueError):
    """The runtime cannot serve this model source; the message says what it takes."""


class Engine(Protocol):
    """One kind of model server."""

    runtime: str
    """Name in `ModelService.spec.runtime`."""
    image: str
    """Container image that has the server."""
    readiness: Readiness
    metrics_path: str

    def command(self, spec: EngineSpec) -> EngineCommand:
        """The command line that serves `spec`. Raises EngineSourceError."""
        ...

    def signals(self, metrics_page: bytes) -> EngineSignals:
        """What a metrics page says; whatever it lacks stays None. Never raises."""
        ...
