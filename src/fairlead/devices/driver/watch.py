"""Watching one vendor's hardware on one node: probes and health checks become views, and news is told.

    watch = NodeWatch(vendor, VendorCalls(f"{vendor.driver} on {node}"), held=checkpoint.held_devices)
    await watch.run(lambda view: publisher.want(view.inventory, view.taints))

A call that hangs or raises makes the devices unknown, for as long as it does; it holds up nobody but its own vendor.
What health says can ask for a probe: a device that vanished, or one that no probe has named.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.driver.calls import VendorCalls
from fairlead.devices.driver.damping import VANISHED, DampingSettings
from fairlead.devices.driver.state import NodeView, compute_view, view_before_probes
from fairlead.devices.errors import ProbeError, VendorBusy
from fairlead.devices.health import Health, unknown
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import Vendor

_LOG = logging.getLogger("fairlead.devices.driver.watch")
T = TypeVar("T")
HEALTH_CHECK_FAILED: Final = "HealthCheckFailed"
"""Reason of devices whose vendor could not tell how they are."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How often to look and how long to wait for an answer, in seconds. A fault is seen within `health_period_s` and
    the time that the vendor's call takes."""

    probe_period_s: float = 5.0
    health_period_s: float = 0.5
    probe_limit_s: float = 20.0
    health_limit_s: float = 2.0
    damping: DampingSettings = field(default_factory=DampingSettings)

    def __post_init__(self) -> None:
        for name in ("probe_period_s", "health_period_s", "probe_limit_s", "health_limit_s"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"watch: {name} is {value}, must be a number of seconds above zero")


class NodeWatch:
    """One vendor on one node. `run` looks until cancelled; `view` is the newest state, printable."""

    def __init__(
        self,
        vendor: Vendor,
        calls: VendorCalls,
        *,
        held: Callable[[], frozenset[str]] = frozenset,
        driver: str = "",
        settings: WatchSettings | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """`held` names the devices of prepared claims at any time. `driver` replaces the vendor's own driver name."""
        self.view = NodeView()
        self._vendor = vendor
        self._calls = calls
        self._held = held
        self._driver = driver or vendor.driver
        self._settings = settings or WatchSettings()
        self._clock = clock
        self._probed: Inventory | ProbeError | None = None
        self._probe_due_s = 0.0
        self._health: Mapping[str, Health] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._asked = 0
        self._answered = 0
        self._round_ended = asyncio.Condition()

    def expect(self, held: Iterable[Device]) -> None:
        """Name devices that claims hold since before this process, so that those that are gone count as vanished. Call
        it before `run`."""
        self.view = view_before_probes(held, self._clock.monotonic_s())

    def look(self) -> None:
        """Probe and check health now instead of when it is due. From any thread; returns at once."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._ask)
        except RuntimeError:
            # The loop is closed, the watch has ended.
            return

    async def looked(self) -> NodeView:
        """The view after a probe and a health check that begin after this call. `run` must be running."""
        self._ask()
        wanted = self._asked
        async with self._round_ended:
            await self._round_ended.wait_for(lambda: self._answered >= wanted)
        return self.view

    async def run(self, on_view: Callable[[NodeView], None]) -> None:
        """Look for ever. `on_view` gets the first view and each that brings news; it must return at once."""
        self._loop = asyncio.get_running_loop()
        self._vendor.on_change(self.look)
        told: NodeView | None = None
        while True:
            asked = self._asked
            self._woken.clear()
            try:
                self.view = await self._look_once(is_asked=asked > self._answered)
            except VendorBusy as busy:
                # A claim is being prepared, say: what was known a moment ago holds until that call ends, or hangs.
                _LOG.debug("the look is put off: %s", busy)
            else:
                told = self._tell_news(on_view, told)
                async with self._round_ended:
                    self._answered = asked
                    self._round_ended.notify_all()
            await self._rest()

    def _ask(self) -> None:
        self._asked += 1
        self._woken.set()

    async def _rest(self) -> None:
        """Until the next look is due or asked for."""
        sleep = asyncio.ensure_future(self._clock.sleep(self._settings.health_period_s))
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait((sleep, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            woken.cancel()

    async def _look_once(self, *, is_asked: bool) -> NodeView:
        is_due = self._probed is None or is_asked or self._clock.monotonic_s() >= self._probe_due_s
        probed = await self._probe() if is_due else self._probed
        health = await self._check_health()
        if not is_due and self._is_probe_worthwhile(health):
            probed = await self._probe()
        assert probed is not None
        self._health = health
        now_s = self._clock.monotonic_s()
        damping = self._settings.damping
        return compute_view(self.view, probed, health, self._held(), now_s, damping, driver=self._driver)

    async def _probe(self) -> Inventory | ProbeError:
        self._probe_due_s = self._clock.monotonic_s() + self._settings.probe_period_s
        try:
            self._probed = await self._call("probe", self._vendor.probe, self._settings.probe_limit_s)
        except VendorBusy:
            self._probe_due_s = 0.0
            raise
        except ProbeError as error:
            self._probed = error
        except Exception as error:
            _LOG.exception("%s: probe failed in a way its vendor did not foresee", self._calls.name)
            self._probed = ProbeError(f"{self._calls.name}: probe failed: {type(error).__name__}: {error}")
        return self._probed

    async def _check_health(self) -> Mapping[str, Health]:
        try:
            return await self._call("health", self._vendor.health, self._settings.health_limit_s)
        except VendorBusy:
            raise
        except ProbeError as error:
            why = str(error)
        except Exception as error:
            why = f"{self._calls.name}: health failed: {type(error).__name__}: {error}"
        said = unknown(HEALTH_CHECK_FAILED, why)
        return {name: said for name in self._known_names()}

    def _known_names(self) -> list[str]:
        return [device.name for device in self._probed.devices] if isinstance(self._probed, Inventory) else []

    def _is_probe_worthwhile(self, health: Mapping[str, Health]) -> bool:
        """Whether health tells of devices that came or went since the last probe."""
        known = set(self._known_names())
        before = self._health
        return any(
            (name not in known and name not in before)
            or (said.reason == VANISHED and (name not in before or before[name].reason != VANISHED))
            for name, said in health.items()
        )

    async def _call(self, what: str, call: Callable[[], T], limit_s: float) -> T:
        if self._vendor.is_quick:
            return call()
        return await self._calls.call(what, call, limit_s=limit_s)

    def _tell_news(self, on_view: Callable[[NodeView], None], told: NodeView | None) -> NodeView | None:
        """The view that was told last."""
        view = self.view
        if not view.is_news_to(told):
            return told
        before = told.problem if told else ""
        if view.problem and view.problem != before:
            _LOG.warning("%s: %s; its devices are unknown", self._calls.name, view.problem)
        elif before and not view.problem:
            _LOG.info("%s: probed again: %d devices", self._calls.name, len(view.inventory.devices))
        try:
            on_view(view)
        except Exception:
            # Whoever listens must not end the watch for all others.
            _LOG.exception("%s: a listener failed on a view", self._calls.name)
        return view
