"""A platform with simulated devices, with the real kubectl: published, given to a pod, failed and healed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import FAIRLEAD, FOREIGN, Kubectl, Platform, start_up, stop_up
from fairlead.devices.vendors.simulated.fleet import read_fleet
from patience import PATIENCE_S

pytestmark = [
    pytest.mark.xdist_group("devices"),
    pytest.mark.skipif(bool(FOREIGN), reason="starts a platform with devices"),
]
EXAMPLES = Path(__file__).parents[2] / "examples" / "devices"
DRIVER = "npu.furiosa.ai"


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    # The drivers' sockets lie below it, and a socket's path is short.
    data = Path(tempfile.mkdtemp(dir="/tmp", prefix="fl-"))
    try:
        yield start_up(data, "--devices", "rngdx8")
        stop_up(data)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def kubectl(platform: Platform) -> Kubectl:
    return Kubectl(platform.kubeconfig)


def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"still not so after {timeout_s} s")


def fairlead(platform: Platform, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FAIRLEAD, *argv, "--data", str(platform.data)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def taints(kubectl: Kubectl, node: str, device: str) -> list[dict[str, str]]:
    for one in kubectl.json("get", "resourceslices", f"--field-selector=spec.nodeName={node}")["items"]:
        for found in one["spec"].get("devices") or ():
            if found["name"] == device:
                return found.get("taints") or []
    raise AssertionError(f"{device} is not published")


def test_ready_means_published(platform: Platform, kubectl: Kubectl) -> None:
    slices = kubectl.json("get", "resourceslices")["items"]
    devices = [d for one in slices for d in one["spec"].get("devices") or ()]
    assert len(devices) == 2 * 8 * 15
    assert {one["spec"]["nodeName"] for one in slices} == {"rngd-0", "rngd-1"}
    assert {one["metadata"]["name"] for one in kubectl.json("get", "deviceclasses")["items"]} >= {DRIVER}
    assert "tier-0" in json.dumps(kubectl.json("get", "node", "rngd-0")["metadata"]["labels"])
    assert platform.state()["devices"] == "rngdx8"
    assert "devices         rngdx8" in fairlead(platform, "status").stdout


def test_other_devices_are_refused_while_it_runs(platform: Platform) -> None:
    refused = fairlead(platform, "up", "--devices", "h100x8")
    assert refused.returncode == 1 and "cannot take --devices h100x8 (it has rngdx8)" in refused.stderr
    refused = fairlead(platform, "up", "--nodes", "3")
    assert refused.returncode == 1 and "cannot take --nodes 3" in refused.stderr
    again = fairlead(platform, "up", "--devices", "rngdx8")
    assert again.returncode == 0 and "already running" in again.stdout


def test_a_failure_is_tainted_and_heals(platform: Platform, kubectl: Kubectl) -> None:
    assert taints(kubectl, "rngd-0", "npu3") == []
    assert fairlead(platform, "device", "fail", "rngd-0", "npu3", "--taint", "--reason", "XidError").returncode == 0
    (taint,) = until(lambda: taints(kubectl, "rngd-0", "npu3"))
    assert (taint["key"], taint["value"], taint["effect"]) == (f"{DRIVER}/unhealthy", "XidError", "NoExecute")
    assert "DeviceUnhealthy" in until(lambda: fairlead(platform, "device", "describe", "rngd-0", "npu3").stdout)
    assert fairlead(platform, "device", "heal", "rngd-0").returncode == 0
    until(lambda: not taints(kubectl, "rngd-0", "npu3"))


def test_a_pod_gets_what_its_claim_was_allocated(platform: Platform, kubectl: Kubectl) -> None:
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "two"},
        "spec": {"devices": {"requests": [{"name": "npu", "exactly": {"deviceClassName": DRIVER, "count": 2}}]}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "uses"},
        "spec": {
            "restartPolicy": "Never",
            # No scheduler: the test allocates.
            "nodeName": "rngd-1",
            "resourceClaims": [{"name": "npus", "resourceClaimName": "two"}],
            "containers": [
                {
                    "name": "main",
                    "image": "busybox",
                    "command": ["sh", "-c", "env; sleep 300"],
                    "resources": {"claims": [{"name": "npus"}]},
                }
            ],
        },
    }
    kubectl.run("create", "-f", "-", stdin=json.dumps(claim))
    results = [{"request": "npu", "driver": DRIVER, "pool": "rngd-1", "device": device} for device in ("npu4", "npu5")]
    kubectl.run("create", "-f", "-", stdin=json.dumps(pod))
    uid = kubectl.json("get", "pod", "uses")["metadata"]["uid"]
    status = {
        "allocation": {"devices": {"results": results}},
        "reservedFor": [{"resource": "pods", "name": "uses", "uid": uid}],
    }
    kubectl.run(
        "patch", "resourceclaim", "two", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})
    )
    kubectl.wait_for("condition=Ready", "pod/uses")
    said = until(lambda: kubectl.run("logs", "uses"))
    assert "FURIOSA_DEVICES=npu:4,npu:5" in said
    assert f"FAIRLEAD_SIMULATED_DEVICES={DRIVER}/npu4,{DRIVER}/npu5" in said
    listed = fairlead(platform, "device", "list", "rngd-1").stdout
    assert [line.split()[-1] for line in listed.splitlines() if " npu4 " in line] == ["default/two"]
    kubectl.run("delete", "pod", "uses", "--grace-period=1")
    kubectl.run("delete", "resourceclaim", "two", "--wait=false")


def test_the_scheduler_gives_four_cards_under_one_socket(platform: Platform, kubectl: Kubectl) -> None:
    """Two nodes of two sockets of four cards: four pods fit, the fifth says why not until one of them goes."""
    example = (EXAMPLES / "one-socket.yaml").read_text()
    names = [f"s{number}" for number in range(5)]
    for name in names:
        kubectl.run("apply", "-f", "-", stdin=example.replace("name: one-socket", f"name: {name}"))

    def pods() -> dict[str, dict[str, Any]]:
        return {p["metadata"]["name"]: p for p in kubectl.json("get", "pods")["items"]}

    def running() -> list[str]:
        return [name for name, pod in pods().items() if name in names and pod["status"]["phase"] == "Running"]

    until(lambda: len(running()) == 4, timeout_s=60)
    sockets = {
        (one["spec"]["nodeName"], device["name"]): device["attributes"]["fairlead.dev/socket"]["int"]
        for one in kubectl.json("get", "resourceslices")["items"]
        for device in one["spec"].get("devices") or ()
    }
    given = {}
    for one in kubectl.json("get", "resourceclaims")["items"]:
        results = one.get("status", {}).get("allocation", {}).get("devices", {}).get("results") or ()
        places = {(r["pool"], sockets[r["pool"], r["device"]]) for r in results}
        assert len(places) <= 1, "all under one socket"
        for result in results:
            device = (result["pool"], result["device"])
            assert device not in given, "no device in two claims"
            given[device] = one["metadata"]["name"]
            (user,) = one["status"]["reservedFor"]
            assert pods()[user["name"]]["spec"]["nodeName"] == result["pool"]
    assert len(given) == 16
    (left,) = set(names) - set(running())
    (condition,) = until(lambda: [c for c in pods()[left]["status"].get("conditions") or () if c["status"] == "False"])
    assert "cannot allocate all claims" in condition["message"] and "8 in use" in condition["message"]
    kubectl.run("delete", "pod", running()[0], "--grace-period=1")
    until(lambda: left in running(), timeout_s=60)
    kubectl.run("delete", "pod", *running(), "--grace-period=1")
    until(lambda: not kubectl.json("get", "resourceclaims")["items"])
    kubectl.run("delete", "resourceclaimtemplate", "four-under-one-socket")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_of_devices_is_accepted(kubectl: Kubectl, path: Path) -> None:
    if path.stem == "fleet":
        assert {node.group.name for node in read_fleet(str(path)).nodes} == {"rngd", "h100"}
        return
    answer = kubectl.run("create", "--dry-run=server", "--validate=strict", "-f", str(path), check=False)
    assert answer and all(line.endswith(" created (server dry run)") for line in answer.splitlines()), answer
