"""`fairlead device` against a real API server and a real driver of a simulated fleet."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.apiserver.server_process import ServerProcess
from fairlead.cli.app import run
from fairlead.devices.vendors.simulated.failures import ANNOTATION
from fairlead.kube.client import Client
from fairlead.kube.kinds import NAMESPACES, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.resources import Unstructured
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("device-cli")

FLEET = """
nodes:
  - name: rngd
    count: 2
    sockets: 2
    pcieSwitches: 4
    devices: [{model: rngd, count: 8}]
  - name: amd
    sockets: 2
    devices: [{model: mi300x, count: 4}]
"""


def wait_until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"still not so after {timeout_s} s")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a server whose nodes' devices a driver publishes."""
    folder = tmp_path_factory.mktemp("device-cli")
    (folder / "fleet.yaml").write_text(FLEET)
    with ServerProcess(folder / "api") as server:
        kubeconfig = server.data / "kubeconfig"

        async def prepare() -> None:
            async with Client.load(kubeconfig) as client:
                for name in ("rngd-0", "rngd-1", "amd", "bare"):
                    await client.create(NODES.as_unstructured(), {"metadata": {"name": name}})

        asyncio.run(prepare())
        with (folder / "driver.log").open("wb") as log:
            driver = subprocess.Popen(
                [sys.executable, "-m", "fairlead.cli.main", "driver", "--kubeconfig", str(kubeconfig),
                 "--vendor", "simulated", "--fleet", str(folder / "fleet.yaml"), "--publish-only",
                 "--cdi-root", str(folder / "{node}"), "--recovery", "0.2"],
                stdout=log, stderr=log, env={**os.environ, "NODE_NAME": ""},
            )  # fmt: skip
        try:
            wait_until(lambda: len(devices(kubeconfig, parts=True)) == 2 * 120 + 4)
            yield kubeconfig
        finally:
            driver.send_signal(signal.SIGTERM)
            driver.wait(PATIENCE_S)


def devices(kubeconfig: Path, *, parts: bool = False) -> list[str]:
    async def names() -> list[str]:
        async with Client.load(kubeconfig) as client:
            found = (await client.list(RESOURCE_SLICES)).items
        return [device.name for one in found for device in one.spec.devices if parts or "pe" not in device.name]

    return asyncio.run(names())


class Told:
    """What a command printed."""

    def __init__(self, kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._kubeconfig, self._capsys = kubeconfig, capsys

    def __call__(self, *argv: str, status: int = 0) -> str:
        self._capsys.readouterr()
        ended = run(["device", *argv, "--kubeconfig", str(self._kubeconfig)])
        out, err = self._capsys.readouterr()
        assert ended == status, out + err
        return err if status else out

    def json(self, *argv: str) -> Any:
        return json.loads(self(*argv, "-o", "json"))

    def state(self, node: str, device: str) -> str:
        return next((line.split()[5] for line in self("list", node).splitlines() if line.split()[1] == device), "gone")


@pytest.fixture
def told(cluster: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(cluster, capsys)


def test_all_devices_are_listed_without_their_parts(told: Told) -> None:
    lines = told("list").splitlines()
    assert lines[0].split()[:6] == ["NODE", "DEVICE", "DRIVER", "MODEL", "MEMORY", "STATE"]
    assert len(lines) == 1 + 16 + 4
    assert lines[1].split() == [
        "amd", "gpu-1-128", "gpu.amd.com", "AMD_Instinct_MI300X_OAM", "192Gi", "untainted", "-",
    ]  # fmt: skip
    assert len(told("list", "rngd-1", "--parts").splitlines()) == 1 + 120


def test_a_driver_narrows_the_list(told: Told) -> None:
    assert len(told("list", "--driver", "gpu.amd.com").splitlines()) == 5
    assert "did you mean npu.furiosa.ai?" in told("list", "--driver", "npu.furiosa.io", status=1)


def test_wide_tells_where_devices_sit(told: Told) -> None:
    header, first, *_ = told("list", "rngd-0", "-o", "wide").splitlines()
    assert {"BUS", "ROOT", "SWITCH", "NUMA", "SOCKET", "UUID"} <= set(header.split())
    assert "0000:13:00.0" in first and "pci0000:10" in first


def test_json_holds_everything(told: Told) -> None:
    found = told.json("list", "rngd-0")
    assert len(found) == 120
    part = next(one for one in found if one["name"] == "npu0pe4-7")
    assert part["partOf"] == "npu0" and part["attributes"]["peCount"] == 4 and part["capacity"]["memory"] == "24Gi"


def test_a_node_without_devices_is_said_to_have_none(told: Told) -> None:
    assert "no devices on node bare" in told("list", "bare")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["list", "rngd-2"], 'there is no node "rngd-2"; did you mean rngd-1 or rngd-0?'),
        (["describe", "rngd-0", "npu8"], 'node rngd-0 has no device "npu8"; did you mean npu'),
        (["describe", "bare", "npu0"], 'node bare has no device "npu0"; there are none'),
        (["fail", "rngd-0", "npu99"], 'node rngd-0 has no device "npu99"'),
        (["fail", "rngd-0", "npu0", "--for", "soon"], '--for: expected a time such as 30s, 5m or 1h, got "soon"'),
        (["fail", "rngd-0", "npu0", "--taint", "--vanish"], "one kind of failure at a time, not --taint and --vanish"),
        (["fail", "bare", "*"], "node bare has no simulated devices"),
        (["heal", "rngd-2"], 'there is no node "rngd-2"'),
        (["heal", "rngd-0", "npu99"], 'no failure of "npu99" is ordered on rngd-0; none is ordered'),
        (["links", "bare"], "node bare has no devices"),
        (["fail", "amd", "gpu-1-128", "--period", "3s"], "--period goes with --flap, not with --taint"),
        (["fail", "amd", "gpu-1-128", "--flap", "--delay", "3s"], "--delay goes with --slow, not with --flap"),
        (
            ["fail", "amd", "gpu-1-128", "--vanish", "--effect", "NoExecute"],
            "--effect goes with --taint or --throttle or --flap, not with --vanish",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_a_hint(told: Told, argv: list[str], said: str) -> None:
    assert said in told(*argv, status=1)


def test_a_failure_shows_as_a_taint_and_goes_when_healed(told: Told) -> None:
    assert "npu.furiosa.ai/npu5 on rngd-0: taint" in told("fail", "rngd-0", "npu5", "--reason", "XidError")
    wait_until(lambda: told.state("rngd-0", "npu5") == "unhealthy")
    assert told.state("rngd-0", "npu4") == "untainted" == told.state("rngd-1", "npu5")
    described = told("describe", "rngd-0", "npu5")
    assert "npu.furiosa.ai/unhealthy=XidError:NoExecute" in described and "Ordered:   taint since" in described
    assert wait_until(lambda: "DeviceUnhealthy" in told("describe", "rngd-0", "npu5"))
    part = told.json("describe", "rngd-0", "npu5pe0-3")
    assert part["taints"][0]["value"] == "XidError" and part["partOf"] == "npu5"
    assert "healed on rngd-0: npu.furiosa.ai/npu5" in told("heal", "rngd-0", "npu5")
    wait_until(lambda: told.state("rngd-0", "npu5") == "untainted")


def test_what_vanished_can_be_healed_though_it_is_not_there(told: Told) -> None:
    told("fail", "rngd-1", "npu6", "--vanish")
    wait_until(lambda: told.state("rngd-1", "npu6") == "gone")
    told("fail", "rngd-1", "npu.furiosa.ai/npu6", "--vanish", "--for", "1h")
    told("heal", "rngd-1")
    wait_until(lambda: told.state("rngd-1", "npu6") == "untainted")
    assert "nothing was ordered on rngd-1" in told("heal", "rngd-1")


def test_failures_add_up_and_end_one_by_one(told: Told) -> None:
    for device in ("npu1", "npu2"):
        told("fail", "rngd-0", device, "--slow")
    assert "nothing was ordered" in told("heal", "rngd-0", "--driver", "gpu.amd.com")
    assert told("heal", "rngd-0", "npu2") == "healed on rngd-0: npu.furiosa.ai/npu2\n"
    assert "Ordered:   slow since" in told("describe", "rngd-0", "npu1")
    assert "Ordered:" not in told("describe", "rngd-0", "npu2")
    assert told("heal", "rngd-0", "--driver", "npu.furiosa.ai") == "healed on rngd-0: npu.furiosa.ai/npu1\n"


def test_a_failure_of_limited_time_ends_by_itself(told: Told) -> None:
    told("fail", "amd", "*", "--throttle", "--for", "1s")
    # The taint may have come and gone by the time that anybody looks: Events stay.
    wait_until(lambda: "SimulatedThrottling" in told("describe", "amd", "gpu-1-128"))
    wait_until(lambda: "DeviceRecovered" in told("describe", "amd", "gpu-1-128"))
    assert "NoSchedule" not in told("list", "amd")


def test_a_wrong_annotation_is_told_on_the_node_and_changes_nothing(told: Told, cluster: Path) -> None:
    told("fail", "rngd-1", "npu0")
    wait_until(lambda: told.state("rngd-1", "npu0") == "unhealthy")

    async def spoil() -> None:
        async with Client.load(cluster) as client:
            await client.patch(NODES, "rngd-1", {"metadata": {"annotations": {ANNOTATION: '{"npu0": {"mode": "x"}}'}}})

    asyncio.run(spoil())

    async def told_so() -> bool:
        async with Client.load(cluster) as client:
            answer = await client.request("GET", "/api/v1/events")
        return any(event["reason"] == "InvalidFailures" for event in answer.json()["items"])

    wait_until(lambda: asyncio.run(told_so()))
    assert told.state("rngd-1", "npu0") == "unhealthy"
    told("heal", "rngd-1")
    wait_until(lambda: told.state("rngd-1", "npu0") == "untainted")


def test_who_holds_a_device_is_named(told: Told, cluster: Path) -> None:
    async def hold() -> None:
        claim: Unstructured = {
            "metadata": {"name": "half", "namespace": "held"},
            "spec": {"devices": {"requests": [{"name": "npu", "exactly": {"deviceClassName": "npu.furiosa.ai"}}]}},
        }
        results = [{"request": "npu", "driver": "npu.furiosa.ai", "pool": "rngd-0", "device": "npu7pe0-3"}]
        status = {
            "allocation": {"devices": {"results": results}},
            "reservedFor": [{"resource": "pods", "name": "engine-0", "uid": "u"}],
        }
        async with Client.load(cluster) as client:
            await client.create(NAMESPACES.as_unstructured(), {"metadata": {"name": "held"}})
            claims = RESOURCE_CLAIMS.as_unstructured()
            made = await client.create(claims, claim)
            await client.replace(claims, {**made, "status": status}, subresource="status")

    asyncio.run(hold())
    line = next(line for line in told("list", "rngd-0").splitlines() if " npu7 " in line)
    assert line.endswith("1 claim of its parts")
    assert next(line for line in told("list", "rngd-0", "--parts").splitlines() if " npu7pe0-3 " in line).endswith(
        "held/half"
    )
    described = told("describe", "rngd-0", "npu7")
    assert "held/half has npu7pe0-3, request npu, pods engine-0" in described
    assert "memory  48Gi, 24Gi of 48Gi" in described and "pe0     1, 0 of 1" in described
    counters = told.json("describe", "rngd-0", "npu7pe4-7")["counters"]["npu7"]
    assert counters["pe4"] == {"used": "1", "left": "1", "total": "1"}


def test_links_are_scored(told: Told) -> None:
    found = told.json("links", "rngd-0")
    assert found["devices"] == [f"npu{n}" for n in range(8)]
    assert found["scores"][0] == [70, 30, 20, 20, 10, 10, 10, 10]
    assert told.json("links", "amd")["kinds"][0][1:] == ["XGMI"] * 3
    assert "PIX 30" in told("links", "rngd-0")


def test_fleets_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["device", "fleets"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} >= {"rngdx8", "h100x8", "gb200"}
    assert run(["device", "fleets", "rngdx8"]) == 0
    assert "model: rngd" in capsys.readouterr().out
    assert run(["device", "fleets", "rngdx9"]) == 1
    assert "did you mean rngdx8" in capsys.readouterr().err
