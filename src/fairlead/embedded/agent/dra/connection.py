"""gRPC to one instance of a driver: the registration handshake at its socket, and the calls at its endpoint.

The only module here that imports gRPC: it is itself imported once a plugin shows up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.dra.answers import ClaimAnswer
from fairlead.embedded.agent.dra.services import Chosen, PluginInfo
from fairlead.embedded.agent.dra.state import PreparedDevice
from fairlead.kube.kubelet import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1, REGISTRATION, Service, stub
from fairlead.kube.kubelet.messages import HEALTHY, UNHEALTHY

CALL_TIMEOUT_S = 45.0
"""How long a driver may take to prepare or unprepare, as the kubelet grants it."""
_GET_INFO_TIMEOUT_S = 1.0
_NOTIFY_TIMEOUT_S = 5.0
_SERVICES: Mapping[str, Service] = {s.version: s for s in (DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1)}
_HEALTH_WORDS = {HEALTHY: "Healthy", UNHEALTHY: "Unhealthy"}
_OPTIONS = (
    # A driver that restarts is to be found again at once, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)

ClaimReference = tuple[str, str, str]
"""Uid, namespace and name of a claim."""
Observe = Callable[[str, str, str, float], None]
"""Driver, full method name, gRPC status and seconds of a call that ended."""


class CallError(Exception):
    """A call did not come to an answer; the message says which and why."""


class NotServed(Exception):
    """The plugin does not serve the called service."""


@dataclass(frozen=True, slots=True)
class ReportedHealth:
    """A device's state as its driver reports it: Healthy, Unhealthy or Unknown. No `timeout_s`: the default."""

    pool: str
    device: str
    health: str
    message: str
    timeout_s: float


async def get_info(socket: str) -> PluginInfo:
    """What the plugin at a registration socket is. Raises CallError."""
    async with _channel(socket) as channel:
        request = REGISTRATION.message("InfoRequest")()
        try:
            info = await stub(REGISTRATION, channel)["GetInfo"](request, timeout=_GET_INFO_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise CallError(f"GetInfo at {socket}: {_reason(error)}") from error
    return PluginInfo(info.type, info.name, info.endpoint, tuple(info.supported_versions))


async def notify(socket: str, error: str = "") -> None:
    """Tell the plugin at a registration socket that it is registered, or why not. Raises CallError."""
    async with _channel(socket) as channel:
        status = REGISTRATION.message("RegistrationStatus")(plugin_registered=not error, error=error)
        try:
            await stub(REGISTRATION, channel)["NotifyRegistrationStatus"](status, timeout=_NOTIFY_TIMEOUT_S)
        except grpc.aio.AioRpcError as failure:
            raise CallError(f"NotifyRegistrationStatus at {socket}: {_reason(failure)}") from failure


class Connection:
    """The calls of one driver instance. gRPC connects anew by itself when the instance restarts."""

    def __init__(
        self, chosen: Chosen, observe: Observe, clock: Clock = SYSTEM, *, call_timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        self._chosen = chosen
        self._observe = observe
        self._clock = clock
        self._timeout_s = call_timeout_s
        self._channel = _channel(chosen.endpoint)
        self._service = _SERVICES[chosen.dra]
        self._calls = stub(self._service, self._channel)

    @property
    def is_connected(self) -> bool:
        return bool(self._channel.get_state(try_to_connect=True) == grpc.ChannelConnectivity.READY)

    async def close(self) -> None:
        """Let calls that are under way end, within their time."""
        await self._channel.close(grace=self._timeout_s)

    async def prepare(self, claims: Sequence[ClaimReference]) -> dict[str, ClaimAnswer]:
        """Claim uid -> answer. Raises CallError."""
        response = await self._call("NodePrepareResources", claims)
        return {
            uid: ClaimAnswer(answer.error, tuple(_device(device) for device in answer.devices))
            for uid, answer in response.claims.items()
        }

    async def unprepare(self, claims: Sequence[ClaimReference]) -> dict[str, str]:
        """Claim uid -> error, "" for none. Raises CallError."""
        response = await self._call("NodeUnprepareResources", claims)
        return {uid: answer.error for uid, answer in response.claims.items()}

    async def watch_health(self, version: str) -> AsyncIterator[list[ReportedHealth]]:
        """Each report of the health stream until it ends. Raises NotServed, CallError."""
        service = _SERVICES[version]
        call = stub(service, self._channel)["NodeWatchResources"](service.message("NodeWatchResourcesRequest")())
        try:
            async for response in call:
                yield [_health(entry) for entry in response.devices]
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                raise NotServed(f"driver {self._chosen.driver} does not serve {service.full_name}") from error
            raise CallError(f"NodeWatchResources: {_reason(error)}") from error
        except asyncio.CancelledError:
            # gRPC says so too when the channel is closed under the stream.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise CallError("NodeWatchResources: the connection was closed") from None
        finally:
            call.cancel()

    async def _call(self, method: str, claims: Sequence[ClaimReference]) -> Any:
        make = self._service.message("Claim")
        request = self._service.message(f"{method}Request")(
            claims=[make(uid=uid, namespace=namespace, name=name) for uid, namespace, name in claims]
        )
        began_s, status = self._clock.monotonic_s(), "OK"
        try:
            return await self._calls[method](request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            status = _status_word(error.code())
            raise CallError(f"{method} of driver {self._chosen.driver}: {_reason(error)}") from error
        except asyncio.CancelledError:
            status = "Canceled"
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise CallError(f"{method} of driver {self._chosen.driver}: the connection was closed") from None
        finally:
            name = f"/{self._service.full_name}/{method}"
            self._observe(self._chosen.driver, name, status, self._clock.monotonic_s() - began_s)


def _channel(socket: str) -> Any:
    return grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)


def _device(device: Any) -> PreparedDevice:
    share_id = ""
    # The older version of the service has no shares.
    with contextlib.suppress(ValueError, AttributeError):
        share_id = device.share_id if device.HasField("share_id") else ""
    return PreparedDevice(
        device.pool_name, device.device_name, tuple(device.request_names), tuple(device.cdi_device_ids), share_id
    )


def _health(entry: Any) -> ReportedHealth:
    word = _HEALTH_WORDS.get(entry.health, "Unknown")
    timeout_s = float(max(0, entry.health_check_timeout_seconds))
    return ReportedHealth(entry.device.pool_name, entry.device.device_name, word, entry.message, timeout_s)


def _reason(error: grpc.aio.AioRpcError) -> str:
    return f"{_status_word(error.code())}: {error.details()}"


def _status_word(code: grpc.StatusCode) -> str:
    """As Go's gRPC writes a status: DeadlineExceeded, Unavailable; OK and Canceled are its own spellings."""
    if code == grpc.StatusCode.OK:
        return "OK"
    word = "".join(part.capitalize() for part in code.name.split("_"))
    return "Canceled" if word == "Cancelled" else word
