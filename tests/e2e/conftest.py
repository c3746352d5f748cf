"""The platform under test: one `fairlead up` for the group, or the API server that FAIRLEAD_TEST_KUBECONFIG names.

Against a foreign API server, Fairlead brings its node agent, its gateway and its controllers (those of a controller
manager and a scheduler too, where none holds a lease there); every test works in a namespace of its own. The agent's
kubelet API takes calls from anybody, or with FAIRLEAD_TEST_KUBELET_CLIENT_CA from bearers of that CA's certificates;
FAIRLEAD_TEST_AGENT_DATA is its folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import FAIRLEAD, FOREIGN, Kubectl, Platform, start_up, stop_up
from fairlead.embedded.supervisor.launch import free_port
from patience import PATIENCE_S


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if FOREIGN:
        folder = os.environ.get("FAIRLEAD_TEST_AGENT_DATA")
        yield from _foreign(Path(FOREIGN), Path(folder) if folder else tmp_path_factory.mktemp("agent"))
        return
    data = tmp_path_factory.mktemp("up")
    started = start_up(data)
    yield started
    stop_up(data)


def _foreign(kubeconfig: Path, data: Path) -> Iterator[Platform]:
    kubectl = Kubectl(kubeconfig, "kube-system")
    leases = {item["metadata"]["name"] for item in kubectl.json("get", "leases")["items"]}
    only = ["--only", "platform"] if "kube-controller-manager" in leases else []
    names = ["--scheduler-names", "fairlead"] if "kube-scheduler" in leases else []
    authority = os.environ.get("FAIRLEAD_TEST_KUBELET_CLIENT_CA")
    ca = ["--client-ca-file", authority] if authority else ["--anonymous-auth"]
    config, gateway, port = ["--kubeconfig", str(kubeconfig)], data / "gateway", free_port()
    commands = [
        ["agent", *config, "--data", str(data), "--nodes", "2", *ca],
        ["controllers", *config, *only, *names],
        ["gateway", *config, "--data", str(gateway)],
        ["envoy", "--data", str(gateway), "--port", str(port)],
    ]
    children = [subprocess.Popen([*FAIRLEAD, *command]) for command in commands]
    try:
        deadline = time.monotonic() + PATIENCE_S
        while len(kubectl.json("get", "nodes")["items"]) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        yield Platform(kubeconfig, gateway=f"http://127.0.0.1:{port}")
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait(PATIENCE_S)
        subprocess.run([*FAIRLEAD, "agent", "--data", str(data), "--stop-pods"], timeout=PATIENCE_S, check=False)


@pytest.fixture
def kubectl(platform: Platform) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace, which is deleted afterwards."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    namespace = f"e2e-{uuid.uuid4().hex[:8]}"
    client = Kubectl(platform.kubeconfig, namespace)
    client.run("create", "namespace", namespace)
    deadline = time.monotonic() + PATIENCE_S
    # Pods are refused until the namespace has its default service account.
    while "default" not in client.run("get", "serviceaccounts", "-o", "name") and time.monotonic() < deadline:
        time.sleep(0.05)
    yield client
    client.run("delete", "namespace", namespace, "--wait=false", check=False)


@pytest.fixture
def gateway(platform: Platform) -> str:
    return platform.gateway
