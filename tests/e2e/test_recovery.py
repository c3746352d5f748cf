"""What replicas run on fails under a whole platform with simulated devices: a card, an engine, all engines alike, and
the controllers while they are at it. Capacity comes back, and the status tells what broke."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import FAIRLEAD, FOREIGN, Kubectl, Platform, start_up, stop_up
from patience import PATIENCE_S

pytestmark = [
    pytest.mark.xdist_group("recovery"),
    pytest.mark.skipif(bool(FOREIGN), reason="breaks nodes, devices and processes of the embedded platform"),
]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def own() -> Iterator[Platform]:
    # The drivers' sockets lie below it, and a socket's path is short.
    data = Path(tempfile.mkdtemp(dir="/tmp", prefix="fl-"))
    try:
        yield start_up(data, "--devices", "rngdx8")
        stop_up(data)
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def services(own: Platform) -> Iterator[Kubectl]:
    kubectl = Kubectl(own.kubeconfig)
    yield kubectl
    kubectl.run("delete", "modelservices", "--all", check=False)
    kubectl.run("wait", "pods", "--all", "--for=delete", "--timeout=60s", check=False)


def deploy(kubectl: Kubectl, name: str, replicas: int, **spec: Any) -> None:
    cards = {
        "parallelism": {"tensor": 2},
        "accelerators": [{"name": "rngd", "deviceClass": "npu.furiosa.ai", "count": 2}],
    }
    body = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": name},
        "spec": {"model": {"name": name}, "runtime": "simulated", "replicas": replicas, **cards, **spec},
    }
    kubectl.run("apply", "-f", "-", stdin=json.dumps(body))


def status(kubectl: Kubectl, name: str) -> Json:
    return dict(kubectl.json("get", "modelservice", name).get("status") or {})


def recoveries(kubectl: Kubectl, name: str) -> list[tuple[str, str]]:
    return [(r["cause"], r["action"]) for r in status(kubectl, name).get("recoveries", ())]


def pods(kubectl: Kubectl, name: str) -> list[Json]:
    return list(kubectl.json("get", "pods", "-l", f"fairlead.dev/model-service={name}")["items"])


def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "still not so"
        time.sleep(0.1)
    return found


def ready_pods(kubectl: Kubectl, name: str) -> list[Json]:
    return [
        pod
        for pod in pods(kubectl, name)
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    ]


def whole(kubectl: Kubectl, name: str, replicas: int) -> list[Json]:
    """Its pods, once as many as wanted are ready and no others are there."""
    return until(lambda: len(found := ready_pods(kubectl, name)) == replicas == len(pods(kubectl, name)) and found)


def card_of(kubectl: Kubectl, pod: Json) -> str:
    for claim in kubectl.json("get", "resourceclaims")["items"]:
        if any(user["uid"] == pod["metadata"]["uid"] for user in claim["status"].get("reservedFor", ())):
            return str(claim["status"]["allocation"]["devices"]["results"][0]["device"])
    raise AssertionError("no claim")


def device(platform: Platform, *words: str) -> None:
    subprocess.run([*FAIRLEAD, "device", *words, "--data", str(platform.data)], check=True, timeout=PATIENCE_S)


def processes(pod: Json) -> list[int]:
    """Of the pod's engine, by the address that it listens on."""
    address = f"--host\0{pod['status']['podIP']}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and address in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_failed_card_costs_its_replica_which_is_made_anew_elsewhere(own: Platform, services: Kubectl) -> None:
    deploy(services, "cards", 2)
    victim = whole(services, "cards", 2)[0]
    node = victim["spec"]["nodeName"]
    device(own, "fail", node, card_of(services, victim), "--taint", "--reason", "DeadCard")
    until(lambda: ("DeviceFailed", "Replaced") in recoveries(services, "cards"))
    left = whole(services, "cards", 2)
    assert victim["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in left}
    assert "DeadCard" in status(services, "cards")["recoveries"][0]["message"]
    device(own, "heal", node)


def test_a_card_that_serves_on_is_replaced_before_its_replica_leaves(own: Platform, services: Kubectl) -> None:
    deploy(services, "slow-card", 2)
    victim = whole(services, "slow-card", 2)[0]
    node = victim["spec"]["nodeName"]
    device(own, "fail", node, card_of(services, victim), "--throttle")
    fewest = 2

    def is_replaced() -> bool:
        nonlocal fewest
        found = ready_pods(services, "slow-card")
        fewest = min(fewest, len(found))
        return len(found) == 2 and victim["metadata"]["uid"] not in {p["metadata"]["uid"] for p in found}

    until(is_replaced)
    assert fewest == 2
    assert [action for _, action in recoveries(services, "slow-card")] == ["Draining"]
    device(own, "heal", node)


def test_an_engine_that_is_stopped_is_found_out_by_its_silence(services: Kubectl) -> None:
    deploy(services, "stopped", 1, recovery={"hangSeconds": 3})
    victim = whole(services, "stopped", 1)[0]
    # It has to have answered once: before that it may just be starting.
    time.sleep(6.0)
    for pid in processes(victim):
        os.kill(pid, signal.SIGSTOP)
    until(lambda: ("EngineHung", "Restarted") in recoveries(services, "stopped"))
    assert whole(services, "stopped", 1)[0]["metadata"]["uid"] != victim["metadata"]["uid"]


def test_what_all_replicas_have_in_common_is_said_and_not_replaced(services: Kubectl) -> None:
    deploy(services, "broken", 2, args=["--no-such-flag"], recovery={"maxRestarts": 1})

    def said() -> str:
        ready = next((c for c in status(services, "broken").get("conditions", ()) if c["type"] == "Ready"), {})
        message = str(ready.get("message", ""))
        return message if "it lies in what they share" in message else ""

    message = until(said)
    assert "2 of 2 replicas" in message and "--no-such-flag" in message
    made = {pod["metadata"]["uid"] for pod in pods(services, "broken")}
    time.sleep(3.0)
    assert {pod["metadata"]["uid"] for pod in pods(services, "broken")} == made
    assert not recoveries(services, "broken")


def test_controllers_that_are_killed_meanwhile_go_on_where_they_were(own: Platform, services: Kubectl) -> None:
    deploy(services, "killed", 2)
    victim = whole(services, "killed", 2)[0]
    node, card = victim["spec"]["nodeName"], card_of(services, victim)
    os.kill(own.pid("controllers"), signal.SIGKILL)
    device(own, "fail", node, card, "--taint")
    time.sleep(1.0)
    os.kill(own.pid("controllers"), signal.SIGKILL)
    until(lambda: victim["metadata"]["uid"] not in {p["metadata"]["uid"] for p in pods(services, "killed")})
    whole(services, "killed", 2)
    # The scheduler may have evicted it before anybody else looked; more than once it is not replaced.
    assert recoveries(services, "killed") in ([], [("DeviceFailed", "Replaced")])
    device(own, "heal", node)
