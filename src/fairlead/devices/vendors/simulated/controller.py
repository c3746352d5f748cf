"""Ordered failures, from the Nodes' annotation to the simulated vendors: one watch for all nodes of a process.

A change is told to the vendor as it comes, and the moments at which a failure itself changes a device (the edges of a
flapping one, the end of a limited one) are kept too; each time the driver looks at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.vendors.simulated.failures import ANNOTATION, FailuresError, parse_failures
from fairlead.devices.vendors.simulated.vendor import SimulatedVendor
from fairlead.kube.client import Client
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.kinds import NODES
from fairlead.kube.objects import Node

_LOG = logging.getLogger("fairlead.devices.simulated")
COMPONENT = "fairlead-driver"
INVALID = "InvalidFailures"
"""Reason of the Event on a Node whose annotation cannot be understood."""


class FailureWatch:
    """Keeps simulated vendors in step with their Nodes. An annotation that cannot be understood changes nothing: what
    was ordered before holds, and an Event on the Node says what is wrong."""

    def __init__(self, client: Client, vendors: Sequence[SimulatedVendor], *, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._clock = clock
        self._vendors: dict[str, list[SimulatedVendor]] = {}
        for vendor in vendors:
            self._vendors.setdefault(vendor.node, []).append(vendor)
        self._texts: dict[str, str] = {}
        self._moving: set[SimulatedVendor] = set()
        """Vendors with a failure that changes by itself."""
        self._changed = asyncio.Event()
        self._events: EventRecorder | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        informer = Informer(self._client, NODES, clock=self._clock)
        informer.add_handler(
            Handler(add=self._note, update=lambda _, node: self._note(node), delete=self._forget),
        )
        async with EventRecorder(self._client, COMPONENT, clock=self._clock) as events, asyncio.TaskGroup() as group:
            self._events = events
            group.create_task(informer.run())
            group.create_task(self._keep_time())

    def _note(self, node: Node) -> None:
        name, text = node.metadata.name, node.metadata.annotations.get(ANNOTATION, "")
        if name not in self._vendors or text == self._texts.get(name, ""):
            return
        self._texts[name] = text
        try:
            failures = parse_failures(text)
        except FailuresError as error:
            _LOG.warning("node %s: %s", name, error)
            if self._events is not None:
                self._events.warning(NODES, node, INVALID, str(error))
            return
        _LOG.info(
            "node %s: failures ordered: %s", name, ", ".join(f"{d}: {f.mode}" for d, f in failures.items()) or "-"
        )
        for vendor in self._vendors[name]:
            vendor.set_failures(failures)
            self._sort(vendor)
        self._changed.set()

    def _forget(self, node: Node) -> None:
        self._texts.pop(node.metadata.name, None)
        for vendor in self._vendors.get(node.metadata.name, ()):
            vendor.set_failures({})
            self._sort(vendor)

    def _sort(self, vendor: SimulatedVendor) -> None:
        if vendor.changes_at_s() is None:
            self._moving.discard(vendor)
        else:
            self._moving.add(vendor)

    async def _keep_time(self) -> None:
        """Wake the vendors at the moments at which their failures change something."""
        while True:
            self._changed.clear()
            due = {vendor: at_s for vendor in self._moving if (at_s := vendor.changes_at_s()) is not None}
            if not due:
                await self._changed.wait()
                continue
            at_s = min(due.values())
            await self._until(at_s)
            if self._clock.wall_s() >= at_s:
                for vendor in [v for v, moment_s in due.items() if moment_s <= at_s]:
                    vendor.refresh()
                    self._sort(vendor)

    async def _until(self, wall_s: float) -> None:
        """Until a moment of wall time, or until what is ordered changes."""
        sleep = asyncio.ensure_future(self._clock.sleep(max(0.0, wall_s - self._clock.wall_s())))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleep, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            changed.cancel()
