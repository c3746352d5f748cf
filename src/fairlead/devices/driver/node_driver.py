"""One vendor on one node: everything that its driver does, started in order and ended in order.

Start: the record of prepared claims, the first look at the hardware, the CDI spec, then the sockets; so that the
kubelet never asks a driver that knows less than the one before it. End: out of the kubelet's list, calls in progress to
their end, and the slices out of the API only where that was asked for: pods go on while a driver is updated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.driver import metrics
from fairlead.devices.driver.calls import VendorCalls
from fairlead.devices.driver.checkpoint import Checkpoint
from fairlead.devices.driver.claim_specs import ClaimSpecs, DeviceSpecs
from fairlead.devices.driver.claim_status import ClaimStatusWriter
from fairlead.devices.driver.claims import ClaimReader
from fairlead.devices.driver.health_stream import HealthStream
from fairlead.devices.driver.holders import ClaimLookup
from fairlead.devices.driver.plugin_server import PluginServer, Registration
from fairlead.devices.driver.prepare import ClaimPreparer, PrepareSettings
from fairlead.devices.driver.reactions import HealthReactions
from fairlead.devices.driver.records import Phase, devices_of
from fairlead.devices.driver.rolling import FileLock, LifeLock, clear_dead_instances, places_of
from fairlead.devices.driver.state import NodeView
from fairlead.devices.driver.taint_rules import TaintRuleHub
from fairlead.devices.driver.watch import NodeWatch, WatchSettings
from fairlead.devices.errors import DeviceError, InventoryError, ServeError
from fairlead.devices.slices.hub import SlicePublisherHub
from fairlead.devices.vendor import Vendor
from fairlead.kube import Client
from fairlead.kube.event_correlation import Occurrence, Subject
from fairlead.kube.events import EventRecorder

_LOG = logging.getLogger("fairlead.devices.driver")
_SOCKETS_PERIOD_S: Final = 5.0
_FILES_PERIOD_S: Final = 5.0
_TIDY_PERIOD_S: Final = 60.0
_WITHDRAW_LIMIT_S: Final = 10.0
_SPEC_RETRY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class DriverSpec:
    """One driver on one node. `driver_name` replaces the vendor's own; folders are the node's."""

    vendor: Vendor
    node: str
    kubelet_root: Path
    cdi_root: Path
    driver_name: str = ""

    @property
    def driver(self) -> str:
        return self.driver_name or self.vendor.driver


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """What all drivers of a process have in common. `publish_only`: no kubelet is served, no CDI spec written.
    `grace_s`: how long calls in progress may take when the process is told to end."""

    publish_only: bool = False
    withdraw_on_exit: bool = False
    apply_classes: bool = False
    taint_rules: bool = True
    instance_id: str = ""
    boot_id: str = ""
    grace_s: float = 10.0
    watch: WatchSettings = field(default_factory=WatchSettings)
    prepare: PrepareSettings = field(default_factory=PrepareSettings)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the drivers of a process have in common. `rules` is None where no DeviceTaintRules are wanted."""

    client: Client
    slices: SlicePublisherHub
    events: EventRecorder
    holders: ClaimLookup
    rules: TaintRuleHub | None = None


class NodeDriver:
    """`run` it until cancelled; `started` is set once it serves."""

    def __init__(
        self,
        shared: Shared,
        spec: DriverSpec,
        options: DriverOptions,
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        """Raises ServeError for impossible paths, InventoryError for impossible names."""
        self.spec = spec
        self.started = asyncio.Event()
        self._options = options
        self._events = shared.events
        self._clock = clock
        client, driver, node = shared.client, spec.driver, spec.node
        self._publisher = shared.slices.add(driver, node)
        self._name = f"{driver} on {node}"
        self._labels = (driver, node)
        self._calls = VendorCalls(self._name, clock=clock)
        self._first_view = asyncio.Event()
        self._specs_due = asyncio.Event()
        self._spec_problem = ""
        self._places = places_of(spec.kubelet_root, driver, options.instance_id)
        self._life = LifeLock(self._places)
        self._lock = FileLock(self._places.call_lock, clock=clock)
        self._checkpoint = Checkpoint(self._places.folder, boot_id=options.boot_id)
        self.watch = NodeWatch(
            spec.vendor, self._calls, held=self._checkpoint.held_devices, driver=driver, settings=options.watch,
            clock=clock,
        )  # fmt: skip
        self._reactions = HealthReactions(
            client,
            driver=driver,
            node=node,
            recorder=shared.events,
            claims=shared.holders,
            rules=shared.rules.add(driver, node) if shared.rules else None,
            prepared=lambda: [record.reference for record in self._checkpoint.records.values()],
            settings=options.watch.damping,
        )
        self._device_specs = DeviceSpecs(spec.cdi_root, spec.vendor)
        self._status = ClaimStatusWriter(client, driver=driver, pool=node, clock=clock)
        self._health = HealthStream(node, on_watchers=metrics.HEALTH_WATCHERS.labels(*self._labels).set, clock=clock)
        self._preparer = ClaimPreparer(
            spec.vendor,
            self._calls,
            driver=driver,
            pool=node,
            view=lambda: self.watch.view,
            claims=ClaimReader(client),
            checkpoint=self._checkpoint,
            lock=self._lock,
            device_specs=self._device_specs,
            claim_specs=ClaimSpecs(spec.cdi_root, driver),
            on_prepared=self._status.want,
            settings=options.prepare,
            clock=clock,
        )
        self._server = PluginServer(
            self._places, self._preparer, self._health, pool=node, on_registration=self._on_registration,
            on_call_ended=self._count, clock=clock,
        )  # fmt: skip

    @property
    def registration(self) -> Registration:
        return self._server.registration

    async def run(self) -> None:
        """Until cancelled. Raises DeviceError where the driver cannot serve."""
        try:
            if self._options.publish_only:
                await self._publish()
            else:
                await self._serve()
        finally:
            await self._withdraw()
            await asyncio.to_thread(self.spec.vendor.close)

    async def _publish(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._look(group)
            await self._first_view.wait()
            self.started.set()

    async def _serve(self) -> None:
        self._life.take()
        try:
            for path in await asyncio.to_thread(clear_dead_instances, self._places):
                _LOG.info("driver %s: removed %s, whose process is gone", self._name, path)
            await self._preparer.load()
            claims = {record.uid: record.device_names for record in self._checkpoint.records.values()}
            await self._vendor_call("resume", lambda: self.spec.vendor.resume(claims))
            await self._preparer.settle()
            self.watch.expect(devices_of(self._checkpoint.records))
            async with asyncio.TaskGroup() as group:
                self._look(group)
                await self._first_view.wait()
                await self._write_specs()
                await self._server.start()
                try:
                    self._begin(group)
                    await asyncio.Event().wait()
                finally:
                    await self._server.stop(self._options.grace_s)
        finally:
            await self._preparer.close()
            self._lock.close()
            self._life.release()

    def _look(self, group: asyncio.TaskGroup) -> None:
        group.create_task(self.watch.run(self._on_view), name=f"watch {self._name}")
        group.create_task(self._reactions.run(), name=f"reactions {self._name}")

    def _begin(self, group: asyncio.TaskGroup) -> None:
        loops: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "status": self._status.run,
            "specs": self._keep_specs,
            "sockets": self._keep_sockets,
            "files": self._keep_files,
            "tidy": self._tidy,
        }
        for what, loop in loops.items():
            group.create_task(loop(), name=f"{what} {self._name}")
        self._count()
        metrics.REGISTERED.labels(*self._labels).set(0)
        _LOG.info("driver %s: serving on %s", self._name, self._places.dra)
        self.started.set()

    # What the watch brings

    def _on_view(self, view: NodeView) -> None:
        if view.is_probed:
            try:
                self._publisher.want(view.inventory, view.taints)
            except InventoryError as error:
                _LOG.error("driver %s: its devices cannot be published: %s", self._name, error)
                self._warn("InventoryInvalid", str(error))
        self._health.tell(view)
        self._specs_due.set()
        self._first_view.set()
        self._count_devices(view)
        self._reactions.note(view)

    async def _keep_specs(self) -> None:
        while True:
            await self._specs_due.wait()
            self._specs_due.clear()
            if not await self._write_specs():
                await self._clock.sleep(_SPEC_RETRY_S)
                self._specs_due.set()

    async def _write_specs(self) -> bool:
        """Bring the spec of the node's devices up to date. What fails is told; claims find out when they need it."""
        view = self.watch.view
        if not view.is_probed or self._device_specs.is_current(view.inventory):
            return True
        try:
            await self._vendor_call("edits", lambda: self._device_specs.update(view.inventory))
        except Exception as error:
            if str(error) != self._spec_problem:
                self._spec_problem = str(error)
                _LOG.error("driver %s: the CDI spec is not up to date: %s", self._name, error)
            self._warn("CDISpecNotWritten", str(error))
            return False
        self._spec_problem = ""
        return True

    async def _vendor_call(self, what: str, call: Callable[[], None]) -> None:
        await self._calls.call(what, call, limit_s=self._options.prepare.vendor_limit_s)

    # What runs beside

    async def _keep_sockets(self) -> None:
        while True:
            await self._clock.sleep(_SOCKETS_PERIOD_S)
            if not self._server.are_sockets_there():
                try:
                    await self._server.reopen()
                except ServeError as error:
                    self._warn("DriverUnreachable", str(error))
                    raise

    async def _keep_files(self) -> None:
        """Specs that someone removes are written again: a container that starts anew needs them, and the kubelet does
        not ask for them twice."""
        while True:
            await self._clock.sleep(_FILES_PERIOD_S)
            if not self._device_specs.is_there:
                self._specs_due.set()
            for uid, outcome in (await self._preparer.restore()).items():
                if isinstance(outcome, DeviceError):
                    _LOG.debug("claim %s: its CDI spec is not written again yet: %s", uid, outcome)
                else:
                    _LOG.warning("claim %s: its CDI spec was removed; it is written again", outcome.reference)

    async def _tidy(self) -> None:
        while True:
            await self._clock.sleep(_TIDY_PERIOD_S)
            try:
                released = await self._preparer.tidy()
            except DeviceError as error:
                _LOG.warning("driver %s: forgotten claims are looked for later: %s", self._name, error)
                continue
            metrics.RELEASED_UNASKED.labels(self.spec.driver).inc(len(released))
            self._count()

    async def _withdraw(self) -> None:
        if not self._options.withdraw_on_exit:
            return
        try:
            await self._publisher.withdraw(timeout_s=_WITHDRAW_LIMIT_S)
        except (TimeoutError, InventoryError) as error:
            _LOG.warning("driver %s: its slices stay: %s", self._name, error)

    # What people see

    def _on_registration(self, registration: Registration) -> None:
        value = {"waiting": 0, "registered": 1, "refused": -1}[registration.state]
        metrics.REGISTERED.labels(*self._labels).set(value)
        if registration.state == "refused":
            why = registration.error or "it does not say why"
            self._warn("DriverRefused", f"the kubelet refuses DRA driver {self.spec.driver}: {why}")

    def _warn(self, reason: str, message: str) -> None:
        node = self.spec.node
        # The kubelet's Events about its Node carry the name for a UID, and `kubectl describe` looks for that.
        self._events.record(Occurrence(Subject("v1", "Node", "", node, node), "Warning", reason, message))

    def _count(self) -> None:
        phases = Counter(record.phase for record in self._checkpoint.records.values())
        for phase in get_args(Phase):
            metrics.PREPARED.labels(*self._labels, phase).set(phases[phase])

    def _count_devices(self, view: NodeView) -> None:
        states = Counter(view.health(device.name).state for device in view.inventory.devices)
        for state in ("healthy", "unhealthy", "unknown"):
            metrics.DEVICES.labels(*self._labels, state).set(states[state])
        metrics.PROBE_PROBLEM.labels(*self._labels).set(1 if view.problem else 0)
