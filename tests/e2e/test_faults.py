"""kill -9 of any one process heals within seconds: no object is lost and requests on other engines are unharmed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from e2e.cluster import FAIRLEAD, FOREIGN, Kubectl, Platform, start_up, stop_up
from patience import PATIENCE_S

pytestmark = [
    pytest.mark.xdist_group("faults"),
    pytest.mark.skipif(bool(FOREIGN), reason="kills components of the embedded platform"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of its own with a model of three slow engines."""
    data = tmp_path_factory.mktemp("faults")
    platform = start_up(data)
    try:
        kubectl = Kubectl(platform.kubeconfig)
        service = {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "ModelService",
            "metadata": {"name": "tiny"},
            "spec": {"model": {"name": "tiny"}, "runtime": "simulated", "replicas": 3, "args": ["--itl-ms", "40"]},
        }
        kubectl.run("apply", "-f", "-", stdin=json.dumps(service))
        kubectl.wait_for("condition=Ready", "modelservice/tiny")
        wait_until(lambda: ask(platform, tokens=1) is not None)
        yield platform
    finally:
        stop_up(data)


def wait_until(condition, timeout_s: float = PATIENCE_S) -> float:
    """Seconds until the condition holds; fails after the timeout."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        try:
            if condition():
                return time.monotonic() - began
        except (OSError, AssertionError, subprocess.SubprocessError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"still not so after {timeout_s} s")


def ask(platform: Platform, tokens: int = 4, timeout_s: float = PATIENCE_S) -> str | None:
    """One streamed chat answer's raw text, or None when it was refused or cut."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens, "stream": True}
    request = urllib.request.Request(
        f"{platform.gateway}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    return text if "data: [DONE]" in text else None


class Streams:
    """Long streams in the background while something is killed."""

    def __init__(self, platform: Platform, count: int, tokens: int = 100) -> None:
        self.answers: list[str | None] = []
        self._threads = [
            threading.Thread(target=lambda: self.answers.append(ask(platform, tokens))) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()
        time.sleep(1.0)

    def finish(self) -> list[str | None]:
        for thread in self._threads:
            thread.join(PATIENCE_S)
        return self.answers


def restarted(platform: Platform, component: str, old: int) -> bool:
    return any(
        c["name"] == component and c["process"] and c["process"]["pid"] != old for c in platform.state()["components"]
    )


@pytest.mark.parametrize("component", ["apiserver", "controllers", "agent", "gateway"])
def test_a_killed_component_heals_and_streams_go_on(served: Platform, component: str) -> None:
    kubectl = Kubectl(served.kubeconfig)
    before = {p["metadata"]["uid"] for p in kubectl.json("get", "pods")["items"]}
    kubectl.run("create", "configmap", f"kept-{component}", "--from-literal=k=v")
    streams = Streams(served, 3)
    pid = served.pid(component)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: restarted(served, component, pid))
    wait_until(lambda: kubectl.run("get", "--raw", "/readyz") == "ok")
    assert all(streams.finish()), "streams on living engines must complete"
    wait_until(lambda: ask(served) is not None)
    assert kubectl.run("get", "cm", f"kept-{component}", "-o", "jsonpath={.data.k}") == "v"
    pods = kubectl.json("get", "pods")["items"]
    assert {p["metadata"]["uid"] for p in pods} == before
    assert all(s["restartCount"] == 0 for p in pods for s in p["status"]["containerStatuses"])


def test_a_killed_envoy_comes_back(served: Platform) -> None:
    pid = served.pid("envoy")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: restarted(served, "envoy", pid))
    wait_until(lambda: ask(served) is not None)


def test_a_killed_engine_is_restarted_and_only_its_streams_end(served: Platform) -> None:
    kubectl = Kubectl(served.kubeconfig)
    streams = Streams(served, 6)
    engines = subprocess.run(
        ["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    addresses = {p["status"]["podIP"]: p["metadata"]["name"] for p in kubectl.json("get", "pods")["items"]}
    victim, name = next(
        (int(line.split()[0]), addresses[ip])
        for line in engines
        for ip in addresses
        if "engine simulated" in line and f"--host {ip} " in line and "shim" not in line
    )
    os.kill(victim, signal.SIGKILL)
    answers = streams.finish()
    assert 1 <= answers.count(None) <= 3, "two engines of three go on"
    wait_until(lambda: ask(served) is not None)

    def healed() -> bool:
        status = kubectl.json("get", "pod", name)["status"]["containerStatuses"][0]
        return bool(status["restartCount"] >= 1 and status["ready"])

    wait_until(healed)


def test_requests_during_a_rolling_engine_loss_are_answered(served: Platform) -> None:
    kubectl = Kubectl(served.kubeconfig)
    wait_until(lambda: kubectl.json("get", "modelservice", "tiny")["status"]["readyReplicas"] == 3)
    answers: list[str | None] = []
    pod = kubectl.json("get", "pods")["items"][0]["metadata"]["name"]
    worker = threading.Thread(target=lambda: answers.extend(ask(served, 5) for _ in range(30)))
    worker.start()
    kubectl.run("delete", "pod", pod, "--wait=false")
    worker.join(90)
    assert len(answers) == 30 and None not in answers


def test_a_killed_supervisor_leaves_nothing_that_down_does_not_stop(tmp_path) -> None:
    platform = start_up(tmp_path, "--nodes", "1")
    kubectl = Kubectl(platform.kubeconfig)
    kubectl.run("run", "sleeper", "--image=busybox", "--command", "--", "sleep", "987654")
    kubectl.wait_for("condition=Ready", "pod/sleeper")
    os.kill(platform.state()["supervisor"]["pid"], signal.SIGKILL)
    stop_up(tmp_path)
    wait_until(lambda: str(tmp_path) not in processes() and "sleep 987654" not in processes())


def test_objects_survive_down_and_up(tmp_path) -> None:
    platform = start_up(tmp_path, "--nodes", "1")
    Kubectl(platform.kubeconfig).run("create", "configmap", "kept", "--from-literal=k=v")
    again = subprocess.run(
        [*FAIRLEAD, "up", "--data", str(tmp_path), "-d", "-o", "json"], capture_output=True, text=True
    )
    assert json.loads(again.stdout)["supervisorPid"] == platform.state()["supervisor"]["pid"], (
        "a second up finds the first"
    )
    other = subprocess.run(
        [*FAIRLEAD, "up", "--data", str(tmp_path), "-d", "--nodes", "5"], capture_output=True, text=True
    )
    assert other.returncode == 1 and "already runs" in other.stderr
    stop_up(tmp_path)
    assert str(tmp_path) not in processes()
    platform = start_up(tmp_path)
    try:
        kubectl = Kubectl(platform.kubeconfig)
        assert kubectl.run("get", "cm", "kept", "-o", "jsonpath={.data.k}") == "v"
    finally:
        stop_up(tmp_path)


def processes() -> str:
    return subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
