"""The kubelet's side of the driver: two Unix sockets, one to register on and one for its calls.

The kubelet sees the registration socket appear, asks it who is there (`GetInfo`), connects to the endpoint that it
names, and says whether it took the driver (`NotifyRegistrationStatus`). So the DRA socket is opened first, and the
registration socket is removed first in the end. Calls that a client gives up (a kubelet that restarts, a time limit) go
on to their end: what they did must be recorded, and the kubelet asks again. Source: the kubelet's `cm/dra/plugin` and
upstream's `kubeletplugin`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import grpc

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.driver import metrics
from fairlead.devices.driver.allocation import base_request
from fairlead.devices.driver.health_stream import HealthStream
from fairlead.devices.driver.records import ClaimRecord
from fairlead.devices.driver.rolling import Places, clear_socket
from fairlead.devices.errors import DeviceError, ServeError
from fairlead.devices.vendor import ClaimReference
from fairlead.kube.kubelet import DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1, REGISTRATION, Service, handler

_LOG = logging.getLogger("fairlead.devices.driver.plugin_server")
PLUGIN_TYPE: Final = "DRAPlugin"
SERVICES: Final = (DRA_V1, DRA_V1BETA1, HEALTH_V1, HEALTH_V1ALPHA1)
"""As announced: a kubelet takes the first DRA version that it knows."""
_OPTIONS: Final = (("grpc.so_reuseport", 0),)


class Preparer(Protocol):
    """What the calls are handed to."""

    async def prepare(self, claims: Sequence[ClaimReference]) -> Mapping[str, ClaimRecord | DeviceError]: ...
    async def unprepare(self, claims: Sequence[ClaimReference]) -> Mapping[str, DeviceError | None]: ...


@dataclass(frozen=True, slots=True)
class Registration:
    """What the kubelet last said. "waiting": nothing yet."""

    state: Literal["waiting", "registered", "refused"] = "waiting"
    error: str = ""


class PluginServer:
    """One driver on one node. `start` opens the sockets, `stop` ends calls in progress and closes them."""

    def __init__(
        self,
        places: Places,
        preparer: Preparer,
        health: HealthStream,
        *,
        pool: str,
        on_registration: Callable[[Registration], None] = lambda registration: None,
        on_call_ended: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.registration = Registration()
        self._places = places
        self._preparer = preparer
        self._health = health
        self._pool = pool
        self._on_registration = on_registration
        self._on_call_ended = on_call_ended
        self._clock = clock
        self._dra: Any = None
        self._registrar: Any = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._inodes: dict[Path, int] = {}

    async def start(self) -> None:
        """Raises ServeError, TwoDrivers."""
        self._dra = await self._serve(
            self._places.dra,
            [
                *(handler(service, self._dra_methods(service)) for service in (DRA_V1, DRA_V1BETA1)),
                *(
                    handler(service, {"NodeWatchResources": self._health.watch(service)})
                    for service in (HEALTH_V1, HEALTH_V1ALPHA1)
                ),
            ],
        )
        try:
            await self._start_registrar()
        except BaseException:
            await self._dra.stop(None)
            raise

    async def stop(self, grace_s: float) -> None:
        """Leave the kubelet's list, let calls in progress end for as long as `grace_s`, close."""
        if self._registrar is not None:
            self._unlink(self._places.registration)
            await self._registrar.stop(0)
        self._health.close()
        if self._dra is not None:
            await self._dra.stop(grace_s)
            self._unlink(self._places.dra)
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=grace_s)
            for call in late:
                _LOG.warning("a call for driver %s has not ended within %g s", self._places.driver, grace_s)
                call.cancel()

    def are_sockets_there(self) -> bool:
        """Whether both sockets are still the ones that were opened: someone may have emptied the folders."""
        return all(_inode(path) == inode for path, inode in self._inodes.items())

    async def reopen(self) -> None:
        """Open again what someone removed. Raises ServeError."""
        _LOG.warning("a socket of driver %s was removed; both are opened again", self._places.driver)
        await self._registrar.stop(0)
        await self._dra.stop(0)
        self._inodes.clear()
        await self.start()

    async def _start_registrar(self) -> None:
        methods = {"GetInfo": self._get_info, "NotifyRegistrationStatus": self._notify_registration_status}
        self._registrar = await self._serve(self._places.registration, [handler(REGISTRATION, methods)])

    async def _serve(self, path: Path, handlers: Sequence[Any]) -> Any:
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise ServeError(f"{path.parent}: cannot be made: {error.strerror}") from error
        clear_socket(path, self._places.driver)
        server = grpc.aio.server(options=_OPTIONS)
        for each in handlers:
            server.add_generic_rpc_handlers((each,))
        try:
            bound = server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise ServeError(f"{path}: cannot be listened on: {error}") from error
        if not bound:
            raise ServeError(f"{path}: cannot be listened on")
        await server.start()
        inode = _inode(path)
        if inode is not None:
            self._inodes[path] = inode
        return server

    def _unlink(self, path: Path) -> None:
        """Remove our socket, never one that has taken its place."""
        if _inode(path) == self._inodes.pop(path, None):
            with contextlib.suppress(OSError):
                path.unlink()

    # Registration

    async def _get_info(self, request: Any, context: Any) -> Any:
        return REGISTRATION.message("PluginInfo")(
            type=PLUGIN_TYPE,
            name=self._places.driver,
            endpoint=str(self._places.dra),
            supported_versions=[service.version for service in SERVICES],
        )

    async def _notify_registration_status(self, request: Any, context: Any) -> Any:
        if request.plugin_registered:
            self.registration = Registration("registered")
            _LOG.info("the kubelet has registered driver %s", self._places.driver)
        else:
            self.registration = Registration("refused", request.error)
            _LOG.error("the kubelet refuses driver %s: %s", self._places.driver, request.error or "it does not say why")
        self._on_registration(self.registration)
        return REGISTRATION.message("RegistrationStatusResponse")()

    # DRA

    def _dra_methods(self, service: Service) -> Mapping[str, Callable[[Any, Any], Any]]:
        async def prepare(request: Any, context: Any) -> Any:
            claims = [ClaimReference(claim.namespace, claim.name, claim.uid) for claim in request.claims]
            outcome = await self._to_its_end("prepare", self._preparer.prepare(claims))
            return self._prepare_response(service, outcome)

        async def unprepare(request: Any, context: Any) -> Any:
            claims = [ClaimReference(claim.namespace, claim.name, claim.uid) for claim in request.claims]
            outcome = await self._to_its_end("unprepare", self._preparer.unprepare(claims))
            answer = service.message("NodeUnprepareResourceResponse")
            return service.message("NodeUnprepareResourcesResponse")(
                claims={uid: answer(error=str(error) if error else "") for uid, error in outcome.items()}
            )

        return {"NodePrepareResources": prepare, "NodeUnprepareResources": unprepare}

    async def _to_its_end(self, operation: str, work: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
        """The outcome of a call, which runs on when its client is gone."""
        began_s = self._clock.monotonic_s()
        call = asyncio.ensure_future(work)
        self._calls.add(call)
        call.add_done_callback(lambda ended: self._ended(operation, began_s, ended))
        return await asyncio.shield(call)

    def _ended(self, operation: str, began_s: float, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        self._on_call_ended()
        driver = self._places.driver
        metrics.CALL_S.labels(driver, operation).observe(self._clock.monotonic_s() - began_s)
        if call.cancelled():
            return
        if (error := call.exception()) is not None:
            _LOG.error("%s of driver %s failed", operation, driver, exc_info=error)
            return
        for uid, outcome in call.result().items():
            name = type(outcome).__name__ if isinstance(outcome, DeviceError) else "ok"
            metrics.CLAIMS.labels(driver, operation, name).inc()
            if isinstance(outcome, DeviceError):
                _LOG.warning("%s of claim %s by driver %s: %s", operation, uid, driver, outcome)

    def _prepare_response(self, service: Service, outcome: Mapping[str, ClaimRecord | DeviceError]) -> Any:
        answer = service.message("NodePrepareResourceResponse")
        claims = {
            uid: answer(devices=[self._device(service, held) for held in result.devices])
            if isinstance(result, ClaimRecord)
            else answer(error=str(result))
            for uid, result in outcome.items()
        }
        return service.message("NodePrepareResourcesResponse")(claims=claims)

    def _device(self, service: Service, held: Any) -> Any:
        share = {"share_id": held.share_id} if held.share_id and service is DRA_V1 else {}
        return service.message("Device")(
            # The kubelet compares with the names in pod specs, which know no subrequests.
            request_names=[base_request(held.request)],
            pool_name=self._pool,
            device_name=held.name,
            cdi_device_ids=list(held.cdi_ids),
            **share,
        )


def _inode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None
