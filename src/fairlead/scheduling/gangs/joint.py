"""Devices of several pods of a gang on one row, chosen together.

One pod after the other, the first may take what only it could have done without. Where a pod fails for want of devices
on a row with others of its gang, theirs are given back and all are asked for at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fairlead.scheduling.fleet.device_book import Refusal
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Options, Outlook
from fairlead.scheduling.gangs.trial import Trial
from fairlead.scheduling.snapshot import PodView, Shape


def counts_one_by_one(shape: Shape, mode: str) -> bool:
    """Whether as many pods of the shape fit one after the other as together: claims for devices that are as good as
    each other. The first of several alternatives, or a device with a partner, may be in the way of others."""
    if shape.own_claims and mode != "best":
        return False
    for claim in shape.own_claims:
        devices = claim.spec.devices
        if devices is None:
            continue
        if devices.constraints or len(devices.requests) > 1 or any(r.exactly is None for r in devices.requests):
            return False
    return len(shape.own_claims) <= 1


def mates(trial: Trial, row: int) -> list[PodView]:
    """Pods of the gang that this search has put on a row and that got devices there."""
    pods = trial.outlook.fleet.pods
    return [pod for pod in trial.on.get(row, ()) if pods[pod.uid].taken]


def place_jointly(trial: Trial, pod: PodView, row: int) -> bool:
    """Puts a pod on a row where others of its gang have the devices that it would need; whether all can be served."""
    fleet = trial.outlook.fleet
    others = mates(trial, row)
    if not others or not pod.shape.own_claims:
        return False

    def together() -> bool:
        for other in others:
            fleet.take_back(other.uid)
        try:
            fleet.place_together((*others, pod), row)
        except LookupError:
            return False
        trial.note(pod, row)
        return True

    return trial.attempt(together)


@dataclass(slots=True)
class JointRooms:
    """How many more pods of a shape a row could hold if devices were chosen for all pods of the gang on it together."""

    outlook: Outlook
    _known: dict[tuple[int, Shape, frozenset[tuple[Shape, int]]], tuple[int, int]] = field(default_factory=dict)
    """Row, shape and shapes of the gang that are there -> a number that fits, and one that does not."""

    def room(self, trial: Trial, options: Options, row: int, limit: int) -> int:
        """At most `limit`. The options are fresh."""
        fleet, shape = self.outlook.fleet, options.shape
        others = mates(trial, row)
        if not options.fits(row) and not (others and options.refusal(row)):
            return 0
        most = min(limit, amounts_room(fleet, shape, row, limit))
        least = options.room(row, most) if options.fits(row) else 0
        if least >= most or not shape.own_claims:
            return least
        shapes = [other.shape for other in others]
        key = (row, shape, frozenset((each, shapes.count(each)) for each in shapes))
        fits, too_many = self._known.get(key, (0, limit + 1))
        fits = max(fits, least)
        if fits < most and fits + 1 < too_many:
            with fleet.trial():
                for other in others:
                    fleet.take_back(other.uid)
                while fits < most and fits + 1 < too_many:
                    if _is_served(fleet, [*shapes, *[shape] * (fits + 1)], row):
                        fits += 1
                    else:
                        too_many = fits + 1
            self._known[key] = fits, too_many
        return min(fits, most)


def amounts_room(fleet: Fleet, shape: Shape, row: int, limit: int) -> int:
    """How many pods of the shape the row's cpu, memory and other amounts hold, and its host ports."""
    room = 1 if shape.host_ports else limit
    for name, amount in shape.requests.items():
        if amount > 0:
            room = min(room, fleet.free(row, name) // amount)
    return max(0, room)


def _is_served(fleet: Fleet, shapes: list[Shape], row: int) -> bool:
    node = fleet.nodes[row]
    if node is None:
        return False
    wants = fleet.devices.wants([claim for shape in shapes for claim in shape.own_claims])
    return not isinstance(fleet.devices.offer(wants, node.name), Refusal)
