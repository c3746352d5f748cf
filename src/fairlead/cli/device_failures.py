"""Failures of simulated devices, written to their Node's annotation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fairlead.cli.device_read import find_node
from fairlead.cli.failure import Failed
from fairlead.clock import SYSTEM, Clock, format_micro_time
from fairlead.devices.health import Effect
from fairlead.devices.vendors.simulated.failures import (
    ANNOTATION,
    Failure,
    Failures,
    FailuresError,
    Mode,
    active,
    format_failures,
    parse_failures,
)
from fairlead.kube.client import Client
from fairlead.kube.kinds import NODES
from fairlead.kube.resources import Unstructured


@dataclass(frozen=True, slots=True)
class Order:
    """A failure as it is asked for. None: the mode's default; `for_s` None: until it is healed."""

    mode: str
    for_s: float | None = None
    period_s: float | None = None
    delay_s: float | None = None
    reason: str = ""
    effect: Effect | None = None


_ILL = ("taint", "throttle", "flap")


def check_order(order: Order) -> None:
    """Raises Failed for an option that the kind of failure would not heed."""
    for option, given, modes in (
        ("--period", order.period_s, ("flap",)),
        ("--delay", order.delay_s, ("slow",)),
        ("--reason", order.reason, _ILL),
        ("--effect", order.effect, _ILL),
    ):
        if given and order.mode not in modes:
            raise Failed(f"{option} goes with {' or '.join(f'--{mode}' for mode in modes)}, not with --{order.mode}")


async def order_failure(
    kubeconfig: Path | None, node: str, device: str, order: Order, *, clock: Clock = SYSTEM
) -> None:
    """Add a failure to the node's, in place of one that the device has. Raises ApiError."""
    now_s = clock.wall_s()
    failure = Failure(
        mode=cast(Mode, order.mode),
        since=format_micro_time(now_s),
        until=None if order.for_s is None else format_micro_time(now_s + order.for_s),
        reason=order.reason or None,
        effect=order.effect,
        period_seconds=order.period_s,
        delay_seconds=order.delay_s,
    )
    async with Client.load(kubeconfig) as client:
        await _change(client, node, lambda failures: {**active(failures, now_s), device: failure})


async def end_failures(kubeconfig: Path | None, node: str, device: str | None, driver: str) -> list[str]:
    """Take failures back: all of the node, or those of a device. Returns whose. Raises Failed, ApiError."""
    ended: list[str] = []
    others: list[str] = []

    def without(failures: Failures) -> Failures:
        ended.clear()
        others.clear()
        for name in failures:
            (ended if _is_meant(name, device, driver) else others).append(name)
        return {name: failure for name, failure in failures.items() if name not in ended}

    async with Client.load(kubeconfig) as client:
        await find_node(client, node)
        await _change(client, node, without)
    if device is not None and not ended:
        ordered = f"ordered are those of {', '.join(others)}" if others else "none is ordered"
        raise Failed(f'no failure of "{device}" is ordered on {node}; {ordered}')
    return ended


def _is_meant(name: str, device: str | None, driver: str) -> bool:
    of, _, called = name.rpartition("/")
    if driver and of and of != driver:
        return False
    return device is None or device in (name, called)


async def _change(client: Client, node: str, change: Callable[[Failures], Failures]) -> None:
    def edit(obj: Unstructured) -> None:
        annotations: dict[str, Any] = obj["metadata"].setdefault("annotations", {})
        try:
            before = parse_failures(annotations.get(ANNOTATION, ""))
        except FailuresError:
            # Whoever wrote it got an Event; ordering anew is the way out.
            before = {}
        after = change(before)
        if after:
            annotations[ANNOTATION] = format_failures(after)
        else:
            annotations.pop(ANNOTATION, None)

    await client.modify(NODES, node, None, edit)
