"""One device in full, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead.cli.device_read import Found
from fairlead.cli.device_view import Shown, as_json, counters_left
from fairlead.kube.objects import Event


def describe_json(one: Shown, found: Found) -> dict[str, Any]:
    counters = counters_left(one, found.devices, found.held)
    return as_json(one, found.held.get(one.key, ())) | {
        "counters": {
            name: {counter: {"used": used, "left": left, "total": total} for counter, (used, left, total) in of.items()}
            for name, of in counters.items()
        },
        "parts": [part.name for part in _parts(one, found)],
        "events": [
            {"reason": e.reason, "type": e.type, "message": e.message, "lastTimestamp": e.last_timestamp}
            for e in device_events(one, found)
        ],
    }


def describe_text(one: Shown, found: Found) -> str:
    return "\n".join(_lines(one, found))


def _lines(one: Shown, found: Found) -> Iterator[str]:
    yield f"Name:      {one.name}"
    yield f"Node:      {one.node}"
    yield f"Driver:    {one.driver}"
    yield f"State:     {one.state}"
    if ordered := found.ordered(one):
        yield f"Ordered:   {ordered}"
    if one.part_of:
        yield f"Part of:   {one.part_of}"
    yield "Attributes:"
    yield from _pairs({name: str(value) for name, value in one.attributes().items()})
    yield "Capacity:"
    yield from _pairs({name: capacity.value for name, capacity in one.device.capacity.items()})
    counters = counters_left(one, found.devices, found.held)
    for name, of in counters.items():
        yield f"Counters of {name} (it uses, left of all):"
        yield from _pairs({c: f"{used}, {left} of {total}" for c, (used, left, total) in of.items()})
    parts = _parts(one, found)
    if parts:
        yield f"Parts:     {', '.join(part.name for part in parts)}"
    yield "Taints:" if one.device.taints else "Taints:    none"
    for taint in one.device.taints:
        since = f" since {taint.time_added}" if taint.time_added else ""
        yield f"  {taint.key}={taint.value}:{taint.effect}{since}"
    yield from _held(one, found, parts)
    events = device_events(one, found)
    yield "Events:" if events else "Events:    none"
    for event in events:
        yield f"  {event.last_timestamp or ''}  {event.type}  {event.reason}  {event.message}"


def _held(one: Shown, found: Found, parts: list[Shown]) -> Iterator[str]:
    holders = [(h, "") for h in found.held.get(one.key, ())]
    holders += [(h, part.name) for part in parts for h in found.held.get(part.key, ())]
    yield "Claims:" if holders else "Claims:    none"
    for holder, part in holders:
        pods = f"pods {', '.join(holder.pods)}" if holder.pods else "no pods"
        has = f" has {part}" if part else ""
        yield f"  {holder}{has}, request {holder.request}, {pods}"


def _parts(one: Shown, found: Found) -> list[Shown]:
    return [
        other
        for other in found.devices
        if other.part_of == one.name and (other.driver, other.pool) == (one.driver, one.pool)
    ]


def device_events(one: Shown, found: Found) -> list[Event]:
    """The node's Events that name the device, oldest first."""
    names = (f" {one.name} ", f"{one.driver}/{one.name} ", f'"{one.name}"', f" {one.name}:", f" {one.name},")
    about = [event for event in found.events if any(name in f" {event.message} " for name in names)]
    return sorted(about, key=lambda event: event.last_timestamp or "")


def _pairs(pairs: dict[str, str]) -> Iterator[str]:
    width = max((len(name) for name in pairs), default=0)
    for name, text in pairs.items():
        yield f"  {name:{width}}  {text}"
