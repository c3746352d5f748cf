"""Minutes of churn (`make test-soak`): rollouts, scaling, requests and kills at random; then all is in order."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import FOREIGN, Kubectl, start_up, stop_up
from e2e.test_faults import ask, processes, wait_until
from e2e.test_kubectl import deployment

MINUTES = float(os.environ.get("FAIRLEAD_SOAK_MINUTES", "3"))

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(MINUTES * 60 + 300),
    pytest.mark.skipif(bool(FOREIGN), reason="kills components of the embedded platform"),
]

MODEL = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "ModelService",
    "metadata": {"name": "tiny"},
    "spec": {"model": {"name": "tiny"}, "runtime": "simulated", "replicas": 2},
}


def test_churn_leaves_everything_in_order(tmp_path: Path) -> None:
    chance = random.Random(7)
    platform = start_up(tmp_path, "--nodes", "3")
    kubectl = Kubectl(platform.kubeconfig)
    try:
        kubectl.run("apply", "-f", "-", stdin=json.dumps(MODEL))
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(replicas=4)))
        kubectl.wait_for("condition=Ready", "modelservice/tiny", timeout=60)
        before = {c: resident_mib(platform.pid(c)) for c in ("apiserver", "controllers", "agent", "gateway")}
        end = time.monotonic() + MINUTES * 60
        answered = asked = turn = 0
        while time.monotonic() < end:
            turn += 1
            disturb(chance, kubectl, platform, turn)
            pause = time.monotonic() + 2.0
            while time.monotonic() < pause:
                asked += 1
                answered += ask(platform, 8) is not None
                time.sleep(0.05)
        assert answered >= 0.9 * asked, f"{answered} of {asked} requests were answered"
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(replicas=3, marker="last")))
        kubectl.run("scale", "modelservice/tiny", "--replicas=2")
        kubectl.run("rollout", "status", "deploy/web", "--timeout=120s", timeout=150)
        kubectl.wait_for("condition=RolledOut", "modelservice/tiny", timeout=120)
        wait_until(lambda: len(kubectl.json("get", "pods")["items"]) == 5, 60)
        after = {c: resident_mib(platform.pid(c)) for c in before}
        assert all(after[c] < before[c] + 60 for c in before), (before, after)
    finally:
        stop_up(tmp_path)
    wait_until(lambda: str(tmp_path) not in processes())


def disturb(chance: random.Random, kubectl: Kubectl, platform: Any, turn: int) -> None:
    """One thing that happens to a cluster."""
    what = chance.choice(["roll", "scale", "model", "pod", "kill", "nothing"])
    if what == "roll":
        kubectl.run("apply", "-f", "-", stdin=json.dumps(deployment(replicas=chance.randint(1, 5), marker=str(turn))))
    elif what == "scale":
        kubectl.run("scale", "deploy/web", f"--replicas={chance.randint(0, 6)}")
    elif what == "model":
        kubectl.run("scale", "modelservice/tiny", f"--replicas={chance.randint(2, 4)}")
    elif what == "pod":
        for name in chance.sample(kubectl.run("get", "pods", "-o", "name").split(), 1):
            kubectl.run("delete", name, "--wait=false", check=False)
    elif what == "kill":
        os.kill(platform.pid(chance.choice(["controllers", "agent", "gateway", "apiserver"])), signal.SIGKILL)
        wait_until(lambda: kubectl.run("get", "--raw", "/readyz") == "ok", 30)


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
