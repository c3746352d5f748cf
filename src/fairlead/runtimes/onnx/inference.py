"""What a request for inference goes through, whatever protocol brought it; and the draining of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from fairlead.clock import SYSTEM, Clock
from fairlead.runtimes.onnx.errors import invalid, not_ready, timed_out
from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from fairlead.runtimes.onnx.model import Output
from fairlead.runtimes.onnx.repository import Repository, Served
from fairlead.runtimes.onnx.signature import TensorSpec, check_inputs, check_outputs
from fairlead.runtimes.onnx.tensors import Array

LAME_DUCK_S = 0.5
"""How long a draining server still takes new requests: whoever routes to it needs a moment to notice."""

CLIENT_GONE = 499

_MAX_TIMEOUT_US = 86_400_000_000
"""A day; a request that allows more time has as good as no limit."""


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Inputs by name; an empty `outputs` asks for all. `timeout_us` as in the schedule policy extension: 0 is none."""

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...] = ()
    id: str = ""
    timeout_us: int = 0


@dataclass(frozen=True, slots=True)
class InferResponse:
    """Outputs in the order of the request, or the model's."""

    model: str
    version: str
    outputs: tuple[tuple[TensorSpec, Output], ...]
    id: str = ""


@dataclass(slots=True)
class Call:
    """One request of a client, for the metrics: filled in as it becomes known."""

    protocol: str
    began_s: float
    model: str = ""
    version: str = ""
    code: int = CLIENT_GONE


class InferenceService:
    """Requests to models, counted while in flight."""

    def __init__(self, repository: Repository, metrics: RuntimeMetrics, clock: Clock = SYSTEM) -> None:
        self.repository = repository
        self.metrics = metrics
        self._clock = clock
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._opened = False
        self._draining = False
        self._refusing = False

    async def open(self) -> None:
        """Load the models; ready from then on. Raises LayoutError, LoadError."""
        await self.repository.open()
        self._opened = True

    @property
    def ready(self) -> bool:
        """Whether new requests should come here."""
        return self._opened and not self._draining

    async def drain(self, timeout_s: float) -> None:
        """Finish what is in flight, for at most `timeout_s` seconds."""
        self._draining = True
        began_s = self._clock.monotonic_s()
        await self._clock.sleep(min(LAME_DUCK_S, timeout_s))
        self._refusing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, began_s + timeout_s - self._clock.monotonic_s())):
                await self._idle.wait()

    def begin(self, protocol: str) -> Call:
        """A request has been read. Raises InferenceError 503; else `end` must follow."""
        if self._refusing or not self._opened:
            raise not_ready("the server is shutting down" if self._refusing else "the server is still loading models")
        self._calls += 1
        self.metrics.in_flight.inc()
        self._idle.clear()
        return Call(protocol, self._clock.monotonic_s())

    def end(self, call: Call) -> None:
        """Its answer is made, or its client has gone."""
        self._calls -= 1
        self.metrics.in_flight.dec()
        if not self._calls:
            self._idle.set()
        duration_s = self._clock.monotonic_s() - call.began_s
        self.metrics.answered(call.model, call.version, call.protocol, call.code, duration_s)

    async def find(self, call: Call, model: str, version: str) -> Served:
        """The model of a call. Raises InferenceError."""
        served = await self.repository.get(model, version)
        call.model, call.version = served.name, served.version
        return served

    async def infer(self, served: Served, request: InferRequest) -> InferResponse:
        """Raises InferenceError."""
        signature = served.model.signature
        check_inputs(served.name, signature, request.inputs)
        outputs = check_outputs(served.name, signature, request.outputs)
        timeout_s = min(request.timeout_us, _MAX_TIMEOUT_US) / 1e6 if request.timeout_us else None
        if request.timeout_us < 0:
            raise invalid(f"parameter 'timeout' is microseconds from 0, got {request.timeout_us}")
        try:
            async with asyncio.timeout(timeout_s):
                results = await served.batcher.submit(request.inputs, tuple(spec.name for spec in outputs))
        except TimeoutError:
            raise timed_out(served.name, timeout_s or 0.0) from None
        return InferResponse(served.name, served.version, tuple(zip(outputs, results, strict=True)), request.id)
