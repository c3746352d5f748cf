"""A Deployment that Fairlead did not write: adopted by label, asked through the gateway, and let go untouched."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.cluster import FAIRLEAD, Kubectl, Platform
from e2e.test_model_service import answered, post, question

pytestmark = pytest.mark.xdist_group("platform")


def deployment(model: str, replicas: int = 2) -> dict[str, Any]:
    """Simulated engines as somebody would write them, who does not know Fairlead: started by a script."""
    script = 'exec fairlead engine simulated --host "$POD_IP" --port ${PORT:-8123} --model $MODEL --itl-ms 5'
    container = {
        "name": "engine", "image": "fairlead/fairlead:latest", "command": ["sh", "-c", script],
        "env": [
            {"name": "MODEL", "value": model},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8123}, "periodSeconds": 1},
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mine"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "mine"}},
            "template": {"metadata": {"labels": {"app": "mine"}}, "spec": {"containers": [container]}},
        },
    }  # fmt: skip


def streamed(gateway: str, model: str) -> str:
    """What became of one streamed answer: `whole`, or what went wrong."""
    body = json.dumps(question(model, stream=True) | {"max_tokens": 20}).encode()
    request = urllib.request.Request(f"{gateway}/v1/chat/completions", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__ if not isinstance(error, urllib.error.HTTPError) else f"status {error.code}"
    return "whole" if text.rstrip().endswith("data: [DONE]") else "cut"


@contextmanager
def load(gateway: str, model: str, clients: int = 4) -> Iterator[Counter[str]]:
    """Clients that ask one streamed answer after the other, and what became of them."""
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen[streamed(gateway, model)] += 1

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def until(holds: Any, what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def pods_of(kubectl: Kubectl) -> dict[str, int]:
    """uid -> restarts of the pods that stay."""
    items = [p for p in kubectl.json("get", "pods")["items"] if "deletionTimestamp" not in p["metadata"]]
    return {p["metadata"]["uid"]: sum(c["restartCount"] for c in p["status"]["containerStatuses"]) for p in items}


def test_a_foreign_deployment_is_adopted_and_let_go(kubectl: Kubectl, platform: Platform, gateway: str) -> None:
    model = f"m-{kubectl.namespace}"
    kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(model)))
    kubectl.run("rollout", "status", "deployment/mine", "--timeout=90s", timeout=100)
    assert post(gateway, "/v1/chat/completions", question(model))[0] == 404
    before, template = pods_of(kubectl), kubectl.json("get", "deployment", "mine")["spec"]

    kubectl.run("label", "deployment", "mine", "fairlead.dev/adopt=true")
    answered(gateway, model, timeout_s=60)
    pool = kubectl.json("get", "inferencepool", "mine")
    assert pool["spec"]["targetPorts"] == [{"number": 8123}]
    assert pool["metadata"]["labels"]["fairlead.dev/runtime"] == "simulated"
    shown = subprocess.run(
        [*FAIRLEAD, "get", "--kubeconfig", str(platform.kubeconfig), "-n", kubectl.namespace],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    row = next(line for line in shown.splitlines() if line.startswith("Deployment/mine"))
    assert row.split()[1:5] == ["mine", "2/2", "True", "Adopted"]

    with load(gateway, model) as seen:
        until(lambda: seen.total() >= 40, "40 answers")
    assert set(seen) == {"whole"}, seen

    # A rolling update is its own controller's: new pods come to the pool by themselves.
    kubectl.run("rollout", "restart", "deployment/mine")
    kubectl.run("rollout", "status", "deployment/mine", "--timeout=120s", timeout=130)
    until(lambda: len(pods_of(kubectl)) == 2, "two pods after the restart")
    restarted = pods_of(kubectl)
    assert not set(restarted) & set(before)
    answered(gateway, model, timeout_s=60)
    with load(gateway, model) as seen:
        until(lambda: seen.total() >= 40, "40 answers of the new pods")
    assert set(seen) == {"whole"}, seen

    kubectl.run("label", "deployment", "mine", "fairlead.dev/adopt-")
    until(lambda: not kubectl.json("get", "inferencepools")["items"], "the pool is gone")
    until(lambda: post(gateway, "/v1/chat/completions", question(model))[0] == 404, "the name is gone")
    until(lambda: "fairlead.dev/adoption" not in left(kubectl)["metadata"]["annotations"], "the annotation is gone")
    assert pods_of(kubectl) == restarted, "its pods go on as they were"
    after = left(kubectl)["spec"]
    for spec in (after, template):
        spec["template"]["metadata"].pop("annotations", None)  # Where `kubectl rollout restart` writes its time.
    assert after == template


def left(kubectl: Kubectl) -> dict[str, Any]:
    return dict(kubectl.json("get", "deployment", "mine"))
