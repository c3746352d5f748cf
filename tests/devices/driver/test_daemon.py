"""`fairlead driver` as a process, and the vendors it can be started for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devices.driver.driver_rig import DRIVER, Result, WidgetVendor, create_claim, kubelet_of
from fairlead.devices.host import Host
from fairlead.devices.vendors.registry import VENDORS, UnknownVendor, create, find
from fairlead.kube import Client
from patience import PATIENCE_S

TESTS = Path(__file__).parents[2]


def create_widgets(host: Host, node: str, *, count: int = 4) -> list[WidgetVendor]:
    """As `--vendor devices.driver.test_daemon:create_widgets` calls it."""
    return [WidgetVendor()]


def start(kubeconfig: Path, root: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fairlead.cli.main", "driver", "--kubeconfig", str(kubeconfig),
         "--vendor", "devices.driver.test_daemon:create_widgets", "--node-name", "node-a",
         "--kubelet-root", str(root / "{node}"), "--cdi-root", str(root / "{node}" / "cdi"), *more],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready: 1 drivers on 1 nodes\n"


async def test_a_killed_process_is_succeeded_and_a_living_one_is_not(
    dra_kubeconfig: Path, dra_client: Client, dra_namespace: str, short_path: Path
) -> None:
    claim = await create_claim(dra_client, dra_namespace, "kept", [Result("widget-0")])
    socket = short_path / "node-a" / "plugins_registry" / f"{DRIVER}-reg.sock"
    first = start(dra_kubeconfig, short_path)
    try:
        await asyncio.to_thread(ready, first)
        async with kubelet_of(socket) as kubelet:
            assert (await kubelet.prepare(claim))[claim.uid].error == ""
        rival = start(dra_kubeconfig, short_path)
        _, said = await asyncio.to_thread(rival.communicate, None, 30)
        assert rival.returncode == 1
        assert f"fairlead driver: two drivers for one name: process {first.pid} serves" in said
    finally:
        first.kill()
        first.communicate()
    assert socket.is_socket(), "it was killed and left its sockets"
    second = start(dra_kubeconfig, short_path)
    try:
        await asyncio.to_thread(ready, second)
        async with kubelet_of(socket) as kubelet:
            assert (await kubelet.prepare(claim))[claim.uid].devices[0].device_name == "widget-0"
            assert (await kubelet.unprepare(claim))[claim.uid].error == ""
        second.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(second.communicate, None, 30)
        assert second.returncode == 0, said
        assert not socket.exists()
    finally:
        second.kill()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--vendor", "acme"], 'vendor "acme" is not known; known are furiosa'),
        (["--vendor", "devices.driver.test_daemon:nothing"], 'has no function "nothing"'),
        (["--vendor", "simulated"], "--vendor simulated needs --fleet"),
        (["--option", "partitions"], "[VENDOR.]KEY=VALUE is needed"),
        (["--option", "colour=red"], 'has no option "colour"; it has count'),
        (["--probe-period", "-1"], "seconds above zero are needed, got -1"),
        (["--vendor", "simulated", "--fleet", "h100x8", "--node-name", "", "--kubelet-root", "/tmp/k"], "{node}"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    dra_kubeconfig: Path, short_path: Path, arguments: list[str], says: str
) -> None:
    process = start(dra_kubeconfig, short_path, *arguments)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (1, 2)
    assert says in said.splitlines()[-1]
    assert "Traceback" not in said


def test_every_named_vendor_can_be_found() -> None:
    for name in VENDORS:
        assert callable(find(name))


def test_a_vendor_of_someone_else(tmp_path: Path) -> None:
    (vendor,) = create("devices.driver.test_daemon:create_widgets", Host(tmp_path), "node-a", count=2)
    assert vendor.driver == DRIVER
    with pytest.raises(UnknownVendor, match="cannot be loaded"):
        find("no_such_module.vendor:create")
