"""Health of the picker for gateways and probes, on whatever server carries its other services.

Protocol: grpc.health.v1.Health; the names are those of the Endpoint Picker Protocol and of its conformance tests.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from fairlead.gateway.transport.call import Stream

ALIVE_NAMES = frozenset(("liveness",))
"""Served while the process answers at all."""
READY_NAMES = frozenset(("", "readiness", "inference-extension", "envoy.service.ext_proc.v3.ExternalProcessor"))
"""Served once endpoints are known."""

_INVALID_ARGUMENT, _NOT_FOUND = 3, 5
_SERVING: bytes = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
_NOT_SERVING: bytes = health_pb2.HealthCheckResponse(
    status=health_pb2.HealthCheckResponse.NOT_SERVING
).SerializeToString()
_UNKNOWN: bytes = health_pb2.HealthCheckResponse(
    status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
).SerializeToString()


class Health:
    """What is answered to whom. `changed` tells those who watch."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._watchers: dict[Watch, None] = {}

    def status(self, name: str) -> bytes | None:
        """A serialized HealthCheckResponse; None for a name nobody knows."""
        if name in ALIVE_NAMES:
            return _SERVING
        if name in READY_NAMES:
            return _SERVING if self._ready() else _NOT_SERVING
        return None

    def changed(self) -> None:
        """Readiness may have changed."""
        for watch in tuple(self._watchers):
            watch.tell()

    def watch(self, watcher: Watch) -> None:
        self._watchers[watcher] = None

    def unwatch(self, watcher: Watch) -> None:
        self._watchers.pop(watcher, None)


class Check:
    """One question, one answer: a `transport.Call`."""

    def __init__(self, stream: Stream, health: Health) -> None:
        self._stream = stream
        self._health = health
        self._answered = False

    def message(self, data: bytes) -> None:
        if self._answered:
            return
        self._answered = True
        name = _name(data, self._stream)
        if name is None:
            return
        status = self._health.status(name)
        if status is None:
            self._stream.fail(_NOT_FOUND, f"unknown service {name[:100]}")
        else:
            self._stream.send((status,), end=True)

    def half_closed(self) -> None:
        if not self._answered:
            self._stream.fail(_INVALID_ARGUMENT, "no HealthCheckRequest")

    def closed(self) -> None: ...


class Watch:
    """One question, an answer at once and after each change: a `transport.Call`."""

    def __init__(self, stream: Stream, health: Health) -> None:
        self._stream = stream
        self._health = health
        self._name: str | None = None
        self._told = b""

    def message(self, data: bytes) -> None:
        if self._name is None and (name := _name(data, self._stream)) is not None:
            self._name = name
            self._health.watch(self)
            self.tell()

    def tell(self) -> None:
        """Say how things are, if that is news."""
        assert self._name is not None
        status = self._health.status(self._name) or _UNKNOWN
        if status != self._told:
            self._told = status
            self._stream.send((status,))

    def half_closed(self) -> None: ...

    def closed(self) -> None:
        self._health.unwatch(self)


def _name(data: bytes, stream: Stream) -> str | None:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError:
        stream.fail(_INVALID_ARGUMENT, "not a HealthCheckRequest")
        return None
