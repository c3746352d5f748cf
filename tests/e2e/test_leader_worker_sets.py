"""LeaderWorkerSets on the embedded platform: groups whose members find each other, and are replaced together."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import FOREIGN, Kubectl
from patience import PATIENCE_S

pytestmark = [
    pytest.mark.xdist_group("platform"),
    # A cluster has its own controller of them, and pods with a network of their own.
    pytest.mark.skipif(bool(FOREIGN), reason="about the embedded platform"),
]

LEADER = """
import os, socket
server = socket.create_server((os.environ["FAIRLEAD_POD_IP"], 5055))
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello from " + os.environ["LWS_WORKER_INDEX"].encode())
    connection.close()
"""
WORKER = """
import os, socket, time
while True:
    try:
        connection = socket.create_connection((os.environ["LWS_LEADER_ADDRESS"], 5055), 5)
        break
    except OSError:
        time.sleep(0.1)
print(connection.recv(100).decode(), flush=True)
time.sleep(100000)
"""
ENGINE = """
import http.server, socket, sys, time

def option(name):
    return sys.argv[sys.argv.index(name) + 1]

if "--headless" in sys.argv:
    while True:
        try:
            leader = socket.create_connection((option("--master-addr"), 29500), 5)
            break
        except OSError:
            time.sleep(0.1)
    leader.settimeout(None)
    sys.exit(leader.recv(1))

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

meeting = socket.create_server((option("--host"), 29500))
workers = [meeting.accept() for _ in range(int(option("--nnodes")) - 1)]
http.server.ThreadingHTTPServer((option("--host"), int(option("--port"))), Answer).serve_forever()
"""
"""As vLLM on several hosts: workers find the leader by the address that they are given, and it serves once all have."""


def container(program: str) -> dict[str, Any]:
    return {"name": "main", "image": "busybox", "command": [sys.executable, "-c", program]}


def leader_worker_set(**template: Any) -> dict[str, Any]:
    def pod(program: str) -> dict[str, Any]:
        return {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container(program)]}}

    template = {"size": 2, "leaderTemplate": pod(LEADER), "workerTemplate": pod(WORKER), **template}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "pair"},
        "spec": {"replicas": 1, "leaderWorkerTemplate": template},
    }


def until(check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return found


def uids(kubectl: Kubectl) -> dict[str, str]:
    """Of the pods that stay."""
    pods = kubectl.json("get", "pods")["items"]
    return {
        p["metadata"]["name"]: p["metadata"]["uid"] for p in pods if "deletionTimestamp" not in p["metadata"]
    }  # fmt: skip


def test_a_worker_reaches_its_leader_by_name_and_the_group_is_replaced_as_one(kubectl: Kubectl) -> None:
    kubectl.run("apply", "-f", "-", stdin=json.dumps(leader_worker_set()))
    kubectl.wait_for("condition=Available", "leaderworkerset/pair")
    until(lambda: kubectl.run("logs", "pair-0-1", check=False).strip() == "hello from 0")
    path = f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{kubectl.namespace}/leaderworkersets/pair/scale"
    scale = json.loads(kubectl.run("get", "--raw", path))
    assert scale["spec"]["replicas"] == scale["status"]["replicas"] == 1
    assert scale["status"]["selector"].endswith("/worker-index=0")
    before = uids(kubectl)
    kubectl.run("delete", "pod", "pair-0-1", "--wait=false")

    def replaced() -> bool:
        now = uids(kubectl)
        return now.keys() == before.keys() and not set(now.values()) & set(before.values())

    until(replaced)
    # The new leader is elsewhere: what was remembered of the old one must not be in the way.
    until(lambda: kubectl.run("logs", "pair-0-1", check=False).strip() == "hello from 0")
    kubectl.run("delete", "leaderworkerset", "pair")
    until(lambda: not kubectl.json("get", "pods,statefulsets,services,controllerrevisions")["items"])


@pytest.mark.parametrize("workload", ["Replicas", "LeaderWorkerSet"])
def test_an_engine_on_two_hosts_comes_together_by_its_leaders_name(
    kubectl: Kubectl, tmp_path: Path, workload: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    service = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": "chat"},
        "spec": {
            "model": {"name": f"m-{kubectl.namespace}", "source": f"file://{tmp_path}"},
            "runtime": "vllm",
            "command": [sys.executable, "-c", ENGINE],
            "workload": workload,
            "parallelism": {"tensor": 2, "hosts": 2},
            "drain": {"timeoutSeconds": 1, "settleSeconds": 0},
        },
    }
    kubectl.run("apply", "-f", "-", stdin=json.dumps(service))
    kubectl.wait_for("condition=Ready", "modelservice/chat")
    assert len(uids(kubectl)) == 2
