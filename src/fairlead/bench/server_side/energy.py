"""Energy of a stretch of time, device by device: by counters of joules, else by the area under watts.

Exporters renew what they say at a pace of their own (DCGM's every 30 s, unless told otherwise), and between two
renewals a counter stands still. It counts from the looks at which it had changed, evenly between them, and a stretch
that is short against that pace is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from fairlead.bench.server_side.figures import Energy
from fairlead.bench.server_side.history import History
from fairlead.bench.server_side.intervals import Seen, area, increase, seen
from fairlead.bench.server_side.power_page import Domain, Kind, device_of

MOST_MISSING = 0.1
"""Of the devices' time: with more of it unknown there is no energy. Less is taken to be like the rest."""
FEWEST_RENEWALS = 5
"""In a stretch, for its energy to be known to about a tenth."""


class Device(NamedTuple):
    """`points`: joules at the looks at which they had changed; or watts at all looks."""

    kind: Kind
    points: Seen
    renewed_s: float | None
    """The usual time between two changes; None: fewer than two were seen."""


def devices_of(histories: Iterable[History], domain: Domain) -> dict[str, Device]:
    """Each once, whatever number of pages tells of it, by its counter where it has one."""
    found: dict[str, Device] = {}
    for history in histories:
        for column, values in history.columns.items():
            if ":" not in column:
                continue
            of, kind, name = device_of(column)
            known = found.get(name)
            if of != domain or (known is not None and (known.kind == "joules" or kind == "watts")):
                continue
            points = seen(history.times, values)
            changes = changed(points)
            renewed_s = median(b - a for (a, _), (b, _) in pairwise(changes)) if len(changes) > 1 else None
            found[name] = Device(kind, changes if kind == "joules" else points, renewed_s)
    return found


def changed(points: Seen) -> Seen:
    """The looks at which the value was another than before, and the first one."""
    return [points[0], *(b for a, b in pairwise(points) if b[1] != a[1])] if points else []


class Used(NamedTuple):
    """`energy` None: too much is missing; `notes` say so, and of what is uncertain."""

    energy: Energy | None
    notes: tuple[str, ...]


def energy_of(
    devices: dict[str, Device], domain: Domain, begin_s: float, end_s: float, longest_s: float, output: float,
    total: float,
) -> Used:  # fmt: skip
    """`output` and `total`: tokens of the stretch; `longest_s`: between two looks at watts."""
    seconds = end_s - begin_s
    if not devices or seconds <= 0:
        return Used(None, ())
    joules = covered = 0.0
    for device in devices.values():
        if device.kind == "joules":
            grown = increase(device.points, begin_s, end_s)
            by, of = (grown.by, grown.end_s - grown.begin_s) if grown is not None else (0.0, 0.0)
        else:
            times, values = zip(*device.points, strict=True) if device.points else ((), ())
            under = area(times, values, begin_s, end_s, longest_s)
            by, of = under.area, under.covered_s
        joules, covered = joules + by, covered + of
    missing = max(0.0, 1.0 - covered / (seconds * len(devices)))
    notes = list(_renewals(devices.values(), seconds))
    if missing > MOST_MISSING or covered <= 0:
        notes.append(
            f"energy is not known: {missing:.0%} of the time of {len(devices)} {domain} was not seen, and at most "
            f"{MOST_MISSING:.0%} may be missing"
        )
        return Used(None, tuple(notes))
    joules /= 1.0 - missing
    kinds = {device.kind for device in devices.values()}
    energy = Energy(
        domain, joules, joules / seconds, len(devices),
        "mixed" if len(kinds) > 1 else "counters" if "joules" in kinds else "power", missing,
        joules / output if output > 0 else None, joules / total if total > 0 else None,
    )  # fmt: skip
    return Used(energy, tuple(notes))


def _renewals(devices: Iterable[Device], seconds: float) -> Iterable[str]:
    paces = [device.renewed_s for device in devices if device.renewed_s is not None]
    slowest = max(paces, default=0.0)
    if slowest * FEWEST_RENEWALS > seconds:
        yield (
            f"energy is uncertain: the exporter renews what it says every {slowest:.3g} s, and the stage has "
            f"{seconds:.3g} s: have it renew faster (dcgm-exporter: --collect-interval, in ms) or let stages be longer"
        )


def together(parts: Sequence[Energy | None], seconds: float, output: float, total: float) -> Energy | None:
    """Of all stages, over `seconds`; None where one of them is not known."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts) or seconds <= 0:
        return None
    joules = sum(part.joules for part in known)
    by = {part.measured_by for part in known}
    return Energy(
        known[0].of, joules, joules / seconds, max(part.devices for part in known),
        by.pop() if len(by) == 1 else "mixed", max(part.missing for part in known),
        joules / output if output > 0 else None, joules / total if total > 0 else None,
    )  # fmt: skip
