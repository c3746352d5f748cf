from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.vendors.nvidia.nvml_machine import H100, NvidiaMachine, uuid
from fairlead.clock import VirtualClock
from fairlead.devices.health import HEALTHY
from fairlead.devices.vendors.nvidia.inventory import Offer
from fairlead.devices.vendors.nvidia.nvml import Code
from fairlead.devices.vendors.nvidia.vendor import NvidiaVendor

GPU = uuid(0)


class Watched:
    def __init__(self, root: Path, *, ignored: tuple[int, ...] = (), offer: Offer = Offer()) -> None:  # noqa: B008
        self.machine = NvidiaMachine(root, H100, 2)
        self.replay = self.machine.replay()
        self.clock = VirtualClock()
        self.looked = threading.Semaphore(0)
        self.vendor = NvidiaVendor(
            self.machine.host,
            open_nvml=lambda: self.replay,
            ignored_xids=ignored,
            offer=offer,
            clock=self.clock,
            state_folder=root / "state",
        )
        self.vendor.on_change(self.looked.release)
        self.vendor.probe()
        self.vendor.health()

    def xid(
        self, number: int, gpu_instance: int = 0xFFFFFFFF, compute_instance: int = 0xFFFFFFFF, kind: int = 8
    ) -> None:
        self.replay.emit(
            {
                "uuid": GPU,
                "type": kind,
                "data": number,
                "gpu_instance": gpu_instance,
                "compute_instance": compute_instance,
            }
        )

    def await_look(self) -> None:
        assert self.looked.acquire(timeout=20)

    def unwell(self) -> dict[str, tuple[str, str]]:
        states = self.vendor.health()
        return {name: (health.reason, health.effect) for name, health in states.items() if health != HEALTHY}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.vendor.close()


def test_an_xid_asks_for_a_look_and_is_told(watched: Watched) -> None:
    watched.xid(79)
    watched.await_look()
    assert watched.unwell() == {"gpu-1": ("XidError", "NoExecute")}
    assert "XID 79" in watched.vendor.health()["gpu-1"].message


def test_an_xid_after_which_programs_may_go_on(watched: Watched) -> None:
    watched.xid(74)
    watched.await_look()
    assert watched.unwell() == {"gpu-1": ("XidError", "NoSchedule")}


@pytest.mark.parametrize("number", [13, 31, 43, 45, 68, 109])
def test_a_programs_own_faults_do_not_count(watched: Watched, number: int) -> None:
    watched.xid(number)
    watched.xid(48)
    watched.await_look()
    assert "XID 48" in watched.vendor.health()["gpu-1"].message


def test_more_xids_may_be_ignored(tmp_path: Path) -> None:
    watched = Watched(tmp_path, ignored=(63,))
    watched.xid(63)
    watched.xid(62)
    watched.await_look()
    assert "XID 62" in watched.vendor.health()["gpu-1"].message
    watched.vendor.close()


def test_a_double_bit_error_counts_as_its_xid(watched: Watched) -> None:
    watched.xid(0, kind=2)
    watched.await_look()
    assert "XID 48" in watched.vendor.health()["gpu-1"].message


async def test_an_xid_is_over_when_the_driver_wants_no_repair(watched: Watched) -> None:
    watched.xid(74)
    watched.await_look()
    await watched.clock.advance(59)
    assert watched.unwell() != {}
    await watched.clock.advance(2)
    assert watched.unwell() == {}


async def test_an_xid_stays_where_the_driver_cannot_tell(watched: Watched) -> None:
    watched.replay.fail(Code.NOT_SUPPORTED, "recovery_action", GPU)
    watched.xid(74)
    watched.await_look()
    await watched.clock.advance(100_000)
    assert watched.unwell() == {"gpu-1": ("XidError", "NoSchedule")}


def test_an_xid_of_a_partition_is_its_own(tmp_path: Path) -> None:
    watched = Watched(tmp_path, offer=Offer(dynamic_mig=True))
    watched.xid(94, gpu_instance=3, compute_instance=0)
    watched.await_look()
    # The whole GPU would have it, too; partitions that do not exist are not concerned.
    assert watched.unwell() == {"gpu-1": ("XidError", "NoSchedule")}
    watched.vendor.close()


def test_a_gpu_without_events_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = NvidiaMachine(tmp_path, H100, 1)
    replay = machine.replay()
    replay.fail(Code.NOT_SUPPORTED, "supported_events", GPU)
    vendor = NvidiaVendor(machine.host, open_nvml=lambda: replay)
    vendor.probe()
    vendor.probe()
    said = [record.message for record in caplog.records if "XID errors will not be noticed" in record.message]
    assert len(said) == 1
    assert vendor.health() == {"gpu-0": HEALTHY}
    vendor.close()
