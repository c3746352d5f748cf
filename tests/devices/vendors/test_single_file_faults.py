"""Every file and link of a machine spoiled, one at a time and in every way that files spoil.

Unlike random damage this leaves no file out. The machine is put right again after each, so that one tree serves all.
Every file in every way is for `make test-soak`; else each file has a third of the ways, and each way a third of the
files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from devices.vendors.test_vendor_faults import KINDS, Kind, machine_of
from fairlead.devices.errors import ClaimError, ProbeError
from fairlead.devices.inventory import PCI_BUS_ID, Device, Inventory
from fairlead.devices.slices.rules import check_inventory
from fairlead.devices.vendor import ClaimReference, Grant, Vendor

CLAIM = ClaimReference("default", "c", "uid-1")


def _link(target: str) -> Callable[[Path, bytes], None]:
    return lambda place, _: place.symlink_to(target)


def _text(content: bytes) -> Callable[[Path, bytes], None]:
    return lambda place, _: void(place.write_bytes(content))


def void(_: object) -> None:
    return None


WAYS: Mapping[str, Callable[[Path, bytes], None]] = {
    "gone": lambda place, was: None,
    "empty": _text(b""),
    "blank": _text(b" \n"),
    "cut": lambda place, was: void(place.write_bytes(was[:1])),
    "nul": _text(b"\0"),
    "noise": _text(b"\xff\xfe\0noise\n"),
    "negative": _text(b"-1\n"),
    "huge": _text(b"9" * 70_000),
    "folder": lambda place, was: place.mkdir(),
    # Opens, and every read of it fails (EIO): as a device's attribute does while the device goes.
    "unreadable": _link("/proc/self/mem"),
    "loop": lambda place, was: place.symlink_to(place.name),
    "dangling": _link("nowhere/at/all"),
    "too long": _link("n" * 300),
}


@contextmanager
def spoiled(place: Path, how: str) -> Iterator[None]:
    aside = place.with_name(place.name + ".aside")
    was = b"" if place.is_symlink() else place.read_bytes()
    # Outside of the tree, or listings would show it.
    kept = Path(f"{place.anchor}dev/shm/{os.getpid()}.aside") if os.access("/dev/shm", os.W_OK) else aside
    os.rename(place, kept)
    try:
        WAYS[how](place, was)
        yield
    finally:
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place.is_dir():
            place.rmdir()
        os.rename(kept, place)


def places(root: Path) -> list[Path]:
    found = [Path(folder) / name for folder, folders, files in os.walk(root) for name in (*files, *folders)]
    return sorted(place for place in found if place.is_symlink() or place.is_file())


def use(vendor: Vendor, devices: tuple[Device, ...]) -> None:
    """All that a driver asks of a vendor for these devices."""
    assert all(state.state == "healthy" or (state.reason and state.message) for state in vendor.health().values())
    vendor.common_edits()
    vendor.extra_cdi_devices()
    for device in devices:
        try:
            vendor.edits(device)
        except ClaimError as error:
            assert str(error)
    for device in devices[:2]:
        try:
            vendor.prepare(CLAIM, [Grant(device, "r")])
        except ClaimError as error:
            assert str(error)
        vendor.release(CLAIM, [device.name])


def check(found: Inventory, vendor: Vendor, whole: Inventory) -> None:
    check_inventory(found, driver=vendor.driver)
    names = [device.name for device in found.devices]
    assert len(set(names)) == len(names)
    # A file that says less makes no device: least of all of what the node keeps for itself.
    assert set(names) <= {device.name for device in whole.devices}
    known = {device.name: device.attributes.get(PCI_BUS_ID) for device in whole.devices}
    for device in found.devices:
        assert device.attributes.get(PCI_BUS_ID) == known.get(device.name, device.attributes.get(PCI_BUS_ID)), device
        # One that takes from no counters any more could be given away beside those that it is a part of.
        before = whole.find(device.name)
        assert before is not None
        shared = before.consumes.keys() & {name for other in found.devices for name in other.consumes}
        assert shared <= device.consumes.keys(), device
    functions: dict[object, str] = {}
    for device in found.devices:
        function = device.attributes.get(PCI_BUS_ID)
        if function is not None and not device.consumes and not device.parent:
            assert functions.setdefault(function, device.name) == device.name


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["furiosa", "tpu", "network"])
def test_any_one_file_spoiled(name: str, how: str) -> None:
    spoil_files(name, how, every=3)


@pytest.mark.soak
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", ["furiosa", "tpu", "network"])
def test_any_one_file_spoiled_in_every_way(name: str, how: str) -> None:
    spoil_files(name, how, every=1)


def spoil_files(name: str, how: str, every: int) -> None:
    """Spoil every so manieth file, beginning with another one for each way."""
    kind: Kind = KINDS[name]
    first = list(WAYS).index(how) % every
    spoiled_files = 0
    with machine_of(kind) as machine:
        whole = kind.make(machine.host).probe()
        for place in places(machine.root)[first::every]:
            if place.is_symlink() and how == "cut":
                continue
            seasoned = kind.make(machine.host)
            seasoned.probe()
            spoiled_files += 1
            with spoiled(place, how):
                for vendor in (seasoned, kind.make(machine.host)):
                    try:
                        found = vendor.probe()
                        check(found, vendor, whole)
                    except ProbeError as error:
                        assert str(error), place
                        found = whole if vendor is seasoned else Inventory()
                    use(vendor, found.devices)
            assert seasoned.probe() == whole, place
    assert spoiled_files > 20 / every
