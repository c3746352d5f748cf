"""An API of slices in memory, and a reader that follows the allocator's rule: for tests of plans."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from fairlead.devices.slices.plan import Pool, Write
from fairlead.kube.objects import ResourceSlice

POOL = Pool("gpu.example.com", "node-1", "node-1")
INCOMPLETE = "incomplete"
Told = frozenset[tuple[str, object]] | str | None
"""What a reader sees: the pool's devices and counter sets; that it is incomplete; or that there is none."""


class Conflict(Exception):
    """What is stored is not what the write expected."""


@dataclass
class ModelApi:
    """Slices by name, with versions and preconditions as the API has them."""

    slices: dict[str, ResourceSlice] = field(default_factory=dict)
    version: int = 0

    def apply(self, write: Write) -> None:
        name = write.slice.metadata.name
        present = self.slices.get(name)
        self.version += 1
        if write.action == "create":
            if present is not None:
                raise Conflict(name)
            self._store(write.slice, uid=f"uid-{self.version}")
            return
        expected = write.slice.metadata
        if present is None or (present.metadata.uid, present.metadata.resource_version) != (
            expected.uid,
            expected.resource_version,
        ):
            raise Conflict(name)
        if write.action == "delete":
            del self.slices[name]
        else:
            self._store(write.slice, uid=expected.uid)

    def _store(self, written: ResourceSlice, uid: str) -> None:
        metadata = replace(written.metadata, uid=uid, resource_version=str(self.version))
        devices = [
            replace(
                device,
                taints=[replace(t, time_added=t.time_added or f"time-{self.version}") for t in device.taints] or (),
            )
            for device in written.spec.devices
        ]
        spec = replace(written.spec, devices=devices or ())
        self.slices[written.metadata.name] = replace(written, metadata=metadata, spec=spec)

    def list(self) -> list[ResourceSlice]:
        return sorted(self.slices.values(), key=lambda s: s.metadata.name)

    def read(self) -> Told:
        """As `structured/internal` of the allocator reads a pool."""
        newest: list[ResourceSlice] = []
        for found in self.slices.values():
            generation = found.spec.pool.generation
            if newest and generation < newest[0].spec.pool.generation:
                continue
            if newest and generation > newest[0].spec.pool.generation:
                newest = []
            newest.append(found)
        if not newest:
            return None
        if any(len(newest) != s.spec.pool.resource_slice_count for s in newest):
            return INCOMPLETE
        return told_of(newest)


def told_of(slices: list[ResourceSlice]) -> Told:
    """What slices say, without the times of taints."""
    items: list[tuple[str, object]] = []
    for found in slices:
        for device in found.spec.devices:
            plain = replace(device, taints=[replace(t, time_added=None) for t in device.taints] or ())
            items.append(("device", msgspec.json.encode(plain, order="sorted")))
        items += [("counters", msgspec.json.encode(c, order="sorted")) for c in found.spec.shared_counters]
    assert len(items) == len(set(items)), "a device is in two slices"
    return frozenset(items)
