"""All drivers of a process, with what they share: the client, the slices' publisher, the Events."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.driver.holders import ClaimLookup
from fairlead.devices.driver.node_driver import DriverOptions, DriverSpec, NodeDriver, Shared
from fairlead.devices.driver.taint_rules import TaintRuleHub
from fairlead.devices.errors import DeviceError, ServeError
from fairlead.devices.slices.hub import SlicePublisherHub
from fairlead.kube import ApiError, Client, EventRecorder, Unreachable
from fairlead.kube.kinds import DEVICE_CLASSES

_LOG = logging.getLogger("fairlead.devices.driver")
COMPONENT: Final = "fairlead-driver"
_CLASS_RETRY_S: Final = 5.0


async def run(
    client: Client,
    specs: Sequence[DriverSpec],
    options: DriverOptions | None = None,
    *,
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    on_ready: Callable[[], None] = lambda: None,
    clock: Clock = SYSTEM,
) -> None:
    """Run drivers until cancelled, and loops `beside` them. `on_ready` is called once all of them serve.

    Raises ServeError (TwoDrivers) where one cannot serve, CheckpointError; the others end with it.
    """
    options = options or DriverOptions()
    check_specs(specs)
    try:
        await _run(client, specs, options, beside, on_ready, clock)
    except ExceptionGroup as group:
        raise _reason(group) from group


def _reason(error: Exception) -> Exception:
    """The first error in nested groups that tells a person something."""
    if not isinstance(error, ExceptionGroup):
        return error
    found = [_reason(each) for each in error.exceptions]
    return next((each for each in found if isinstance(each, DeviceError)), found[0])


async def _run(
    client: Client,
    specs: Sequence[DriverSpec],
    options: DriverOptions,
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    on_ready: Callable[[], None],
    clock: Clock,
) -> None:
    nodes = {spec.node for spec in specs}
    node = nodes.pop() if len(nodes) == 1 else ""
    hub = SlicePublisherHub(client, node=node, instance=options.instance_id, clock=clock)
    rules = TaintRuleHub(client, node=node, clock=clock) if options.taint_rules else None
    async with EventRecorder(client, COMPONENT, clock=clock) as events, asyncio.TaskGroup() as tasks:
        common = Shared(client, hub, events, ClaimLookup(client, clock=clock), rules)
        drivers = [NodeDriver(common, spec, options, clock=clock) for spec in specs]
        loops = [hub.run, *beside]
        if rules is not None:
            loops.append(rules.run)
        if options.apply_classes:
            loops.append(lambda: apply_classes(client, specs, clock))
        background = [tasks.create_task(loop()) for loop in loops]
        try:
            await _run_all(drivers, on_ready)
        finally:
            # Last: withdrawing slices takes the hub.
            for task in background:
                task.cancel()


async def _run_all(drivers: Sequence[NodeDriver], on_ready: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as group:
        for driver in drivers:
            group.create_task(driver.run(), name=f"driver {driver.spec.driver} on {driver.spec.node}")
        await asyncio.gather(*(driver.started.wait() for driver in drivers))
        on_ready()


def check_specs(specs: Sequence[DriverSpec]) -> None:
    """Raises ServeError where two of the specs are one driver on one node, or would write the same file."""
    counts = Counter((spec.driver, spec.node) for spec in specs)
    for (driver, node), count in counts.items():
        if count > 1:
            raise ServeError(f'driver "{driver}" is named {count} times for node {node}; name it once')
    files = Counter((spec.cdi_root, spec.vendor.cdi_kind) for spec in specs)
    for (folder, kind), count in files.items():
        if count > 1:
            raise ServeError(
                f'{count} drivers would write the CDI spec of kind "{kind}" in {folder}; give each node a folder '
                f'of its own, as in --cdi-root "/run/{{node}}/cdi"'
            )


async def apply_classes(client: Client, specs: Sequence[DriverSpec], clock: Clock = SYSTEM) -> None:
    """Apply the DeviceClasses that vendors bring, each once, until it has worked."""
    classes: dict[str, Mapping[str, Any]] = {}
    for spec in specs:
        for each in spec.vendor.device_classes():
            classes[each["metadata"]["name"]] = each
    resource = DEVICE_CLASSES.as_unstructured()
    while classes:
        for name, each in list(classes.items()):
            try:
                await client.apply(resource, dict(each), field_manager=COMPONENT, force=True)
                del classes[name]
            except Unreachable as error:
                _LOG.info("DeviceClass %s is not applied yet: %s", name, error)
            except ApiError as error:
                _LOG.error("DeviceClass %s is not applied: %s", name, error)
                del classes[name]
        if classes:
            await clock.sleep(_CLASS_RETRY_S)
