"""What a place has in all, against what pods of several shapes want together: each alone may fit where both do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from fairlead.kube.objects.devices import DeviceRequest, DeviceSubRequest, ExactDeviceRequest
from fairlead.scheduling.fleet.options import NOWHERE, Outlook
from fairlead.scheduling.gangs.rooms import may_gain
from fairlead.scheduling.gangs.trial import Place, Trial
from fairlead.scheduling.snapshot import Amounts, Shape

Ints = npt.NDArray[np.int64]

_DEVICES: Final = "\0devices"
"""Stands for devices of whatever kind among the names of amounts."""
_UNLIMITED: Final = 1 << 40


class Totals:
    """What was free on each row before the gang came. `look` first."""

    def __init__(self, outlook: Outlook, shapes: tuple[Shape, ...]) -> None:
        self._outlook = outlook
        self._shapes = shapes
        self._wanted = {shape: _wanted(shape) for shape in shapes}
        self._free: dict[str, Ints] | None = None

    def look(self) -> None:
        """Counts what is free; called before the gang has put anything anywhere."""
        if self._free is not None or len(self._shapes) < 2 or any(may_gain(shape) for shape in self._shapes):
            return
        fleet = self._outlook.fleet
        fits = np.any([self._outlook.of(shape).scores > NOWHERE for shape in self._shapes], axis=0)
        rows = np.flatnonzero(fits).tolist()
        names = {name for amounts in self._wanted.values() for name in amounts}
        self._free = {name: np.zeros(len(fits), dtype=np.int64) for name in names}
        for name, free in self._free.items():
            for row in rows:
                free[row] = self._free_devices(row) if name == _DEVICES else max(0, fleet.free(row, name))

    def suffice(self, trial: Trial, place: Place, counts: Mapping[Shape, int]) -> bool:
        """Whether there is as much as these pods want beside those that the trial has put there. True where that is not
        known."""
        return all(int(left[place.rows].sum()) >= wanted for left, wanted in self.of(trial, counts))

    def of(self, trial: Trial, counts: Mapping[Shape, int]) -> Iterator[tuple[Ints, int]]:
        """For each kind of amount: what is left of it by row, if pods of the trial take no more than they must, and
        what these pods want. Nothing where that is not known."""
        if self._free is None:
            return
        wanted: dict[str, int] = {}
        for shape, count in counts.items():
            for name, amount in self._wanted[shape].items():
                wanted[name] = wanted.get(name, 0) + amount * count
        for name, amount in wanted.items():
            left = self._free[name].copy()
            for pod, row in trial.put:
                left[row] -= self._wanted[pod.shape].get(name, 0)
            yield left, amount

    def _free_devices(self, row: int) -> int:
        """At most so many devices could be given out on the row."""
        fleet = self._outlook.fleet
        node = fleet.nodes[row]
        if node is None:
            return 0
        if any(each.spec.allow_multiple_allocations for each in fleet.devices.devices_of(node.name)):
            return _UNLIMITED
        return sum(not each.holders for each in fleet.devices.device_table(node.name))


def _wanted(shape: Shape) -> Amounts:
    """What a pod of the shape takes at least."""
    devices = 0
    for claim in shape.own_claims:
        for request in claim.spec.devices.requests if claim.spec.devices is not None else ():
            devices += _least(request)
    wanted = {name: amount for name, amount in shape.requests.items() if amount > 0}
    return {**wanted, _DEVICES: devices} if devices else wanted


def _least(request: DeviceRequest) -> int:
    if request.exactly is not None:
        return 0 if request.exactly.admin_access else _count(request.exactly)
    return min((_count(each) for each in request.first_available), default=0)


def _count(wanted: ExactDeviceRequest | DeviceSubRequest) -> int:
    return 1 if wanted.allocation_mode == "All" else wanted.count or 1
