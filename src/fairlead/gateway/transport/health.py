"""grpc.health.v1 for the picker: one set of statuses, served beside the other services and on a port of its own.

Envoy and gateways probe the service that they use; kubelets and conformance manifests probe the names below.
"""

from __future__ import annotations

import contextlib
import importlib
from types import MappingProxyType

import grpc
from grpc_health.v1 import health_pb2

from fairlead.gateway.transport.call import Services, Stream
from fairlead.gateway.transport.reference import ReferenceServer
from fairlead.gateway.transport.status import INVALID_ARGUMENT, NOT_FOUND
from fairlead.gateway.transport.tls import ServerTls

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
NAMES = ("", "liveness", "readiness", "inference-extension", EXT_PROC_SERVICE)
"""All that is asked for: the server as a whole, the two probes of llm-d's picker, the name that conformance manifests
probe, and the service itself."""

_SERVICE = "grpc.health.v1.Health"


class Health:
    """Name -> whether it serves. `liveness` serves as long as the process does; the others begin as given."""

    def __init__(self, *, serving: bool = True) -> None:
        self._serving = {name: serving or name == "liveness" for name in NAMES}
        self._watches: set[_Watch] = set()

    def set(self, serving: bool, name: str | None = None) -> None:
        """Say whether a name serves; without a name, all but `liveness`. Raises KeyError for an unknown name."""
        if name is not None and name not in self._serving:
            raise KeyError(name)
        for known in (name,) if name is not None else [known for known in NAMES if known != "liveness"]:
            self._serving[known] = serving
        for watch in list(self._watches):
            watch.changed()

    def answer(self, name: str) -> bytes | None:
        """A serialized HealthCheckResponse, or None for an unknown name."""
        serving = self._serving.get(name)
        return None if serving is None else _ANSWERS[serving]

    def services(self) -> Services:
        """Check and Watch, for any server."""
        return {
            f"/{_SERVICE}/Check": lambda stream, _: _Check(self, stream),
            f"/{_SERVICE}/Watch": lambda stream, _: _Watch(self, stream, self._watches),
        }


class _Check:
    """One question, one answer."""

    def __init__(self, health: Health, stream: Stream) -> None:
        self._health = health
        self._stream = stream
        self._asked = False

    def message(self, data: bytes) -> None:
        name = _service_name(data, self._stream)
        if name is None or self._asked:
            return
        self._asked = True
        answer = self._health.answer(name)
        if answer is None:
            self._stream.fail(NOT_FOUND, f"no service {name}; there are {', '.join(filter(None, NAMES))}")
        else:
            self._stream.send([answer], end=True)

    def half_closed(self) -> None:
        if not self._asked:
            self._stream.fail(INVALID_ARGUMENT, "a HealthCheckRequest is missing")

    def closed(self) -> None:
        pass


class _Watch:
    """The status now and whenever it changes, until the client goes."""

    def __init__(self, health: Health, stream: Stream, watches: set[_Watch]) -> None:
        self._health = health
        self._stream = stream
        self._watches = watches
        self._name: str | None = None
        self._sent: bytes | None = None

    def message(self, data: bytes) -> None:
        if self._name is None:
            self._name = _service_name(data, self._stream)
            if self._name is not None:
                self._watches.add(self)
                self.changed()

    def changed(self) -> None:
        answer = self._health.answer(self._name or "") or _UNKNOWN
        if answer != self._sent:
            self._sent = answer
            self._stream.send([answer])

    def half_closed(self) -> None:
        if self._name is None:
            self._stream.fail(INVALID_ARGUMENT, "a HealthCheckRequest is missing")

    def closed(self) -> None:
        self._watches.discard(self)


class HealthServer(ReferenceServer):
    """Health on a port of its own, on grpcio, with server reflection where `grpcio-reflection` is installed. So a probe
    still gets its answer when something is wrong with the picker's own server."""

    def __init__(self, health: Health, *, tls: ServerTls | None = None) -> None:
        super().__init__(health.services(), tls=tls)

    def _add_to(self, server: grpc.aio.Server) -> None:
        try:
            reflection = importlib.import_module("grpc_reflection.v1alpha.reflection")
        except ImportError:
            return
        reflection.enable_server_reflection((_SERVICE, EXT_PROC_SERVICE, reflection.SERVICE_NAME), server)


def _service_name(data: bytes, stream: Stream) -> str | None:
    with contextlib.suppress(Exception):
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    stream.fail(INVALID_ARGUMENT, "not a HealthCheckRequest")
    return None


def _serialized(status: int) -> bytes:
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())


_ANSWERS = MappingProxyType(
    {
        True: _serialized(health_pb2.HealthCheckResponse.SERVING),
        False: _serialized(health_pb2.HealthCheckResponse.NOT_SERVING),
    }
)
_UNKNOWN = _serialized(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
