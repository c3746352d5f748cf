"""Facts about hosts, made without files."""

from __future__ import annotations

from fairlead.devices.host import PciFunction
from fairlead.devices.vendors.tpu.facts import Chip, Generation, Slice, TpuHost


def host(generation: Generation, count: int, slice_: Slice | None = None) -> TpuHost:
    return TpuHost(generation, tuple(chip(index, count) for index in range(count)), slice_ or Slice())


def chip(index: int, count: int) -> Chip:
    numa = 0 if index < count / 2 else 1
    pci = PciFunction(f"0000:00:{index + 4:02x}.0", "pci0000:00", None, "1ae0", "006f", numa, numa)
    return Chip(index, f"/dev/vfio/{index}", pci)
