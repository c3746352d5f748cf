"""From what is published to what should be: the writes, in an order in which no reader ever sees a torn pool.

Readers (the scheduler's allocator) take the slices of a pool's highest generation, and use the pool only when there are
as many as each of them says (`resourceSliceCount`). So:

- nothing differs: no writes, no new generation;
- one slice differs and the set of slices stays: it is updated in place, which readers see at once and whole;
- everything else is a new generation, written slice by slice: readers see the old pool until the first write, an
  incomplete one until the last, then the new one. Slices of older generations are deleted after that; readers ignore
  them.

Two processes may publish one pool (a rolling update), and a crashed one may have left anything. Hence every generation
belongs to one writer: all begin a new one with the same slice (`names.FIRST`), under its resourceVersion, so that only
one can have it; and only the writer of all slices of a generation updates in place (a pool of one slice has no second
slice that could belong to another). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from msgspec.structs import replace

from fairlead.devices.slices.convert import listed
from fairlead.devices.slices.layout import Assignment, SliceContent
from fairlead.devices.slices.names import FIRST, slice_name, slot_of
from fairlead.kube import objects as o

PUBLISHER: Final = "fairlead.dev/publisher"
"""Annotation of a slice: which process wrote its generation (`precedence.Mark`)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One driver's pool of one node's devices."""

    driver: str
    name: str
    node: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.name}"


@dataclass(frozen=True, slots=True)
class Write:
    """One call to the API. Updates and deletions carry the resourceVersion they expect to find."""

    action: Literal["create", "update", "delete"]
    slice: o.ResourceSlice


@dataclass(frozen=True, slots=True)
class Plan:
    """`generation` is the pool's after the writes, which must be done in order; the first that fails ends them."""

    generation: int
    writes: tuple[Write, ...] = ()


def slices_of(pool: Pool, slices: Iterable[o.ResourceSlice]) -> list[o.ResourceSlice]:
    """The slices that are the pool's, by driver and pool name."""
    return [s for s in slices if s.spec.driver == pool.driver and s.spec.pool and s.spec.pool.name == pool.name]


def newest(existing: Sequence[o.ResourceSlice]) -> list[o.ResourceSlice]:
    """The slices of the highest generation: what readers look at."""
    generation = max((_generation(s) for s in existing), default=0)
    return [s for s in existing if _generation(s) == generation]


def is_complete(existing: Sequence[o.ResourceSlice]) -> bool:
    """Whether readers may use the pool."""
    current = newest(existing)
    return bool(current) and all(s.spec.pool and s.spec.pool.resource_slice_count == len(current) for s in current)


def assignment(pool: Pool, existing: Sequence[o.ResourceSlice]) -> Assignment:
    """What is where in the newest generation, for `compute_layout`. Slices with foreign names count for nothing."""
    assigned = {}
    for found in newest(existing):
        slot = slot_of(pool.driver, pool.name, found.metadata.name)
        if slot is not None:
            assigned[slot] = [*(d.name for d in found.spec.devices), *(c.name for c in found.spec.shared_counters)]
    return assigned


def content_of(pool: Pool, found: o.ResourceSlice) -> SliceContent | None:
    """What a slice holds, without the times that the server gives to taints; None for a slice with a foreign name."""
    slot = slot_of(pool.driver, pool.name, found.metadata.name)
    if slot is None:
        return None
    devices = [
        replace(device, taints=[replace(taint, time_added=None) for taint in device.taints])
        if device.taints
        else device
        for device in found.spec.devices
    ]
    return SliceContent(slot, tuple(devices), tuple(found.spec.shared_counters))


def compute_plan(
    pool: Pool,
    existing: Sequence[o.ResourceSlice],
    wanted: Sequence[SliceContent],
    *,
    mark: str,
    owner: o.OwnerReference | None = None,
) -> Plan:
    """The writes that make the pool's slices (`existing`, all of them) those that are wanted.

    `mark` names this process; `owner` is the Node, for slices that are created.
    """
    generation = max((_generation(s) for s in existing), default=0)
    current = {s.metadata.name: s for s in newest(existing)}
    contents = {slice_name(pool.driver, pool.name, content.slot): content for content in wanted}
    stale = [s for s in existing if s.metadata.name not in current]
    different = [name for name in contents if name not in current or not _holds(current[name], contents[name], pool)]
    is_same_set = current.keys() == contents.keys() and is_complete(existing)
    if is_same_set and not different:
        return Plan(generation, _deletions(stale))
    if is_same_set and len(different) == 1 and (len(current) == 1 or _is_owned(current.values(), mark)):
        name = different[0]
        update = _update(current[name], _spec(pool, contents[name], generation, len(contents)), mark)
        return Plan(generation, (update, *_deletions(stale)))
    return _new_generation(pool, existing, contents, generation + 1, mark, owner)


def compute_withdrawal(existing: Sequence[o.ResourceSlice]) -> tuple[Write, ...]:
    """The writes that remove a pool. Older generations go first: with the newest gone, readers would take them up."""
    return _deletions(sorted(existing, key=_generation))


def _new_generation(
    pool: Pool,
    existing: Sequence[o.ResourceSlice],
    contents: dict[str, SliceContent],
    generation: int,
    mark: str,
    owner: o.OwnerReference | None,
) -> Plan:
    present = {s.metadata.name: s for s in existing}
    first = slice_name(pool.driver, pool.name, FIRST)
    assert first in contents, "every layout has the first slot"
    writes: list[Write] = []
    for name in sorted(contents, key=lambda name: (name != first, name)):
        spec = _spec(pool, contents[name], generation, len(contents))
        if name in present:
            writes.append(_update(present[name], spec, mark))
        else:
            metadata = o.ObjectMeta(name=name, annotations={PUBLISHER: mark}, owner_references=[owner] if owner else ())
            writes.append(Write("create", o.ResourceSlice(metadata=metadata, spec=spec)))
    gone = [s for s in existing if s.metadata.name not in contents]
    return Plan(generation, (*writes, *_deletions(sorted(gone, key=_generation))))


def _update(present: o.ResourceSlice, spec: o.ResourceSliceSpec, mark: str) -> Write:
    metadata = replace(present.metadata, annotations={**present.metadata.annotations, PUBLISHER: mark})
    kept = replace(spec, devices=_with_times(spec.devices, present.spec.devices))
    return Write("update", replace(present, metadata=metadata, spec=kept))


def _deletions(slices: Iterable[o.ResourceSlice]) -> tuple[Write, ...]:
    return tuple(Write("delete", s) for s in slices if not s.metadata.is_deleting)


def _spec(pool: Pool, content: SliceContent, generation: int, count: int) -> o.ResourceSliceSpec:
    return o.ResourceSliceSpec(
        driver=pool.driver,
        node_name=pool.node,
        pool=o.ResourcePool(name=pool.name, generation=generation, resource_slice_count=count),
        devices=listed(content.devices),
        shared_counters=listed(content.counter_sets),
    )


def _generation(s: o.ResourceSlice) -> int:
    return s.spec.pool.generation if s.spec.pool else 0


def _is_owned(slices: Iterable[o.ResourceSlice], mark: str) -> bool:
    return all(s.metadata.annotations.get(PUBLISHER) == mark for s in slices)


def _holds(present: o.ResourceSlice, content: SliceContent, pool: Pool) -> bool:
    """Whether a slice has the content; the times at which taints were added are the server's."""
    spec = present.spec
    return (
        spec.node_name == pool.node
        and list(_with_times(content.devices, spec.devices)) == list(spec.devices)
        and list(content.counter_sets) == list(spec.shared_counters)
    )


def _with_times(devices: Sequence[o.Device], present: Sequence[o.Device]) -> Sequence[o.Device]:
    """The devices, with the time at which a taint was added where the same taint is there already."""
    if not any(device.taints for device in devices):
        return devices
    times = {
        (device.name, taint.key, taint.value, taint.effect): taint.time_added
        for device in present
        for taint in device.taints
    }
    return [
        replace(
            device,
            taints=[
                taint
                if taint.time_added
                else replace(taint, time_added=times.get((device.name, taint.key, taint.value, taint.effect)))
                for taint in device.taints
            ],
        )
        if device.taints
        else device
        for device in devices
    ]
