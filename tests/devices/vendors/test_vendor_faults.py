"""Hardware that changes while it is read, and files that say anything at all.

Whatever happens, a vendor answers with what it can or with a ProbeError; devices that nothing happened to are there and
described as before; what comes out can be published.
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.vendors.furiosa.rngd_tree import RngdServer
from devices.vendors.network.hgx_tree import HgxServer, rail_bus_id, rail_chain
from devices.vendors.sysfs_machine import Machine
from devices.vendors.tpu.tpu_tree import TpuMachine
from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.slices.rules import check_inventory
from fairlead.devices.vendor import Vendor
from fairlead.devices.vendors.furiosa.vendor import FuriosaVendor
from fairlead.devices.vendors.network.vendor import NetworkVendor
from fairlead.devices.vendors.tpu.vendor import TpuVendor


@dataclass(frozen=True)
class Kind:
    """A machine of one vendor; `drop` takes one of its cards away, whose devices' names begin with `dropped`."""

    build: Callable[[Path], Machine]
    make: Callable[[Host], Vendor]
    drop: Callable[[Machine], None]
    dropped: str


def _furiosa(root: Path) -> RngdServer:
    return RngdServer(root, cards=2)


def _drop_rngd(machine: Machine) -> None:
    assert isinstance(machine, RngdServer)
    machine.drop_card(1)


def _tpu(root: Path) -> TpuMachine:
    machine = TpuMachine(root, "v6e", 2)
    machine.write("/etc/tpu/tpu-env", "TOPOLOGY: '2x2'\nWORKER_ID: '1'\nHOST_BOUNDS: '2,1,1'\n")
    return machine


def _drop_tpu(machine: Machine) -> None:
    assert isinstance(machine, TpuMachine)
    machine.drop_chip(1)


def _network(root: Path) -> HgxServer:
    machine = HgxServer(root, rails=1, infiniband=False)
    machine.virtual_functions(rail_chain(0), 1)
    return machine


def _drop_rail(machine: Machine) -> None:
    assert isinstance(machine, HgxServer)
    machine.remove("/sys/class/net/ens10np0")
    machine.remove("/sys/class/net/ens9v0")
    machine.remove("/sys/class/infiniband/mlx5_0")
    for bus_id in (rail_bus_id(0), "0000:14:01.0"):
        machine.remove(f"/sys/bus/pci/devices/{bus_id}")
        machine.remove(f"/sys/devices/{rail_chain(0).rsplit('/', 1)[0]}/{bus_id}")


KINDS = {
    "furiosa": Kind(_furiosa, FuriosaVendor, _drop_rngd, "npu1"),
    "tpu": Kind(_tpu, lambda host: TpuVendor(host, "node-1", environment={}), _drop_tpu, "vfio27"),
    "network": Kind(_network, lambda host: NetworkVendor(host), _drop_rail, "pci-0000-14-"),
}


class ChangingHost(Host):
    """A machine on which something happens right before its Nth file is opened, followed or listed."""

    def __init__(self, root: Path, moment: int, happens: Callable[[], None]) -> None:
        super().__init__(root)
        self.reads = 0
        self._moment = moment
        self._happens = happens

    def path(self, path: str) -> Path:
        self.reads += 1
        if self.reads == self._moment:
            self._happens()
        return super().path(path)


_MEMORY = "/dev/shm"


@contextmanager
def machine_of(kind: Kind) -> Iterator[Machine]:
    # Hundreds of small files for each example: in memory where that is to be had.
    folder = tempfile.mkdtemp(prefix="machine-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    try:
        yield kind.build(Path(folder))
    finally:
        shutil.rmtree(folder)


@functools.cache
def calm_run(name: str) -> tuple[int, int, tuple[str, ...], tuple[str, ...]]:
    """On a machine to which nothing happens: reads of a probe, reads of a look at health, all devices, those that stay
    when the card drops."""
    kind = KINDS[name]
    with machine_of(kind) as machine:
        host = ChangingHost(machine.root, 0, lambda: None)
        vendor = kind.make(host)
        names = tuple(device.name for device in vendor.probe().devices)
        probing = host.reads
        vendor.health()
    staying = tuple(name for name in names if not name.startswith(kind.dropped))
    assert 0 < len(staying) < len(names)
    assert probing > 20
    return probing, host.reads - probing, names, staying


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=25)
def test_a_card_that_goes_at_any_moment_of_a_probe(name: str, data: st.DataObject) -> None:
    """Right before any one of the reads. The others are described as ever, at once; the next probe misses the card."""
    kind = KINDS[name]
    reads, _, _, staying = calm_run(name)
    moment = data.draw(st.integers(1, reads))
    with machine_of(kind) as machine:
        vendor = kind.make(ChangingHost(machine.root, moment, lambda: kind.drop(machine)))
        found = vendor.probe()
        names = [device.name for device in found.devices]
        assert tuple(name for name in names if not name.startswith(kind.dropped)) == staying
        check_inventory(found, driver=vendor.driver)
        health = vendor.health()
        assert all(health[name].reason == "Vanished" for name in names if name.startswith(kind.dropped))
        assert tuple(device.name for device in vendor.probe().devices) == staying


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=25)
def test_a_card_that_goes_at_any_moment_of_a_look_at_health(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    probing, reads, _, _ = calm_run(name)
    moment = data.draw(st.integers(1, reads))
    with machine_of(kind) as machine:
        vendor = kind.make(ChangingHost(machine.root, probing + moment, lambda: kind.drop(machine)))
        vendor.probe()
        for device, state in vendor.health().items():
            assert device.startswith(kind.dropped) or state.state == "healthy", (device, state)
        gone = {state.reason for device, state in vendor.health().items() if device.startswith(kind.dropped)}
        assert gone == {"Vanished"}


damage = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=40)),
    st.tuples(
        st.just("write"),
        st.sampled_from(
            [b"", b"\n", b"-1\n", b"0\n", b"1\n", b"0x\n", b"4:\n", b"\xff\xff", b"9" * 20, b"9" * 5000, b"2x2x2\n"]
        ),
    ),
    st.tuples(st.sampled_from(["remove", "dangle", "loop", "folder"]), st.just(b"")),
)


@pytest.mark.parametrize("name", KINDS)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), damage), min_size=1, max_size=4))
@settings(max_examples=40)
def test_files_that_say_anything_at_all(name: str, changes: list[tuple[int, tuple[str, bytes]]]) -> None:
    """A fresh vendor and one that saw the machine whole; files, and links, of the machine damaged at random."""
    kind = KINDS[name]
    with machine_of(kind) as machine:
        seasoned = kind.make(machine.host)
        seasoned.probe()
        places = _places(machine.root)
        for number, (how, content) in changes:
            _damage(places[number % len(places)], how, content)
        for vendor in (seasoned, kind.make(machine.host)):
            try:
                check_inventory(vendor.probe(), driver=vendor.driver)
            except ProbeError as error:
                assert str(error)
            for state in vendor.health().values():
                assert state.state == "healthy" or (state.reason and state.message)


def _places(root: Path) -> list[Path]:
    """Every file and link, in an order of its own, real files first at their real place."""
    found = [Path(folder) / name for folder, folders, files in os.walk(root) for name in (*files, *folders)]
    return sorted(place for place in found if place.is_symlink() or place.is_file())


def _damage(place: Path, how: str, content: bytes) -> None:
    if not place.is_symlink() and not place.is_file():
        return
    if how == "write" and not place.is_symlink():
        place.write_bytes(content)
        return
    place.unlink()
    if how == "dangle":
        place.symlink_to("nowhere/at/all")
    elif how == "loop":
        place.symlink_to(place.name)
    elif how == "folder":
        place.mkdir()
