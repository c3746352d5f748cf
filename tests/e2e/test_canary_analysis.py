"""Canaries under real streams through Envoy: one whose answers are 3 % shorter is taken back, one that is as good is
promoted, and no answer is lost. Lengths of answers do not depend on how busy the machine is."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.cluster import FOREIGN, Kubectl
from patience import PATIENCE_S

pytestmark = [
    pytest.mark.xdist_group("platform"),
    pytest.mark.skipif(bool(FOREIGN), reason="needs the way through the platform's own Envoy"),
]

ARGS = ["--itl-ms", "5", "--ttft-ms", "10"]
FIFTY = ["--answer-tokens", "48-52"]
THREE_PERCENT_SHORTER = ["--answer-tokens", "46-51"]


@contextmanager
def load(gateway: str, model: str, streams: int = 6) -> Iterator[list[str]]:
    """Streams whose answers end by themselves, begun again as they end; yields what was not whole."""
    lost: list[str] = []
    stop = threading.Event()
    body = json.dumps({"model": model, "prompt": "w " * 20, "max_tokens": 400, "stream": True}).encode()

    def work() -> None:
        while not stop.is_set():
            request = urllib.request.Request(
                f"{gateway}/v1/completions", body, {"Content-Type": "application/json"}
            )  # fmt: skip
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    text = response.read()
            except urllib.error.HTTPError as error:
                lost.append(f"{error.code}: {error.read()[:300]!r}")
            except OSError as error:
                lost.append(repr(error))
            else:
                if b"[DONE]" not in text:
                    lost.append(f"cut: {text[-200:]!r}")

    threads = [threading.Thread(target=work) for _ in range(streams)]
    for thread in threads:
        thread.start()
    try:
        yield lost
    finally:
        stop.set()
        for thread in threads:
            thread.join(90)


def roll_out(kubectl: Kubectl, gateway: str, name: str, changed: list[str], analysis: dict[str, Any]) -> dict[str, Any]:
    """Deploy, change the arguments under load, and wait until the canary is promoted or taken back; the status."""
    rollout = {"strategy": "Canary", "canary": {"steps": [{"weight": 50}]}, "analysis": analysis}
    spec = {"model": {"name": name}, "runtime": "simulated", "replicas": 2, "args": [*ARGS, *FIFTY], "rollout": rollout}
    made = {
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelService", "metadata": {"name": name}, "spec": spec,
    }  # fmt: skip
    kubectl.run("apply", "-f", "-", stdin=json.dumps(made))
    kubectl.wait_for("condition=Ready", f"modelservice/{name}", timeout=2 * PATIENCE_S)
    first = kubectl.json("get", "modelservice", name)["status"]["revision"]
    _answers(gateway, name)
    with load(gateway, name) as lost:
        kubectl.run(
            "patch", "modelservice", name, "--type=merge", "-p", json.dumps({"spec": {"args": [*ARGS, *changed]}})
        )  # fmt: skip
        deadline = time.monotonic() + 4 * PATIENCE_S
        while True:
            status: dict[str, Any] = kubectl.json("get", "modelservice", name)["status"]
            phase = (status.get("rollout") or {}).get("phase")
            if phase == "Reverted" or (phase == "Stable" and status["revision"] != first):
                break
            assert time.monotonic() < deadline, json.dumps(status.get("rollout"), indent=1)
            time.sleep(0.5)
    assert lost == []
    return status


def _answers(gateway: str, model: str) -> None:
    body = json.dumps({"model": model, "prompt": "w", "max_tokens": 1}).encode()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        request = urllib.request.Request(f"{gateway}/v1/completions", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_canary_whose_answers_are_three_percent_shorter_is_taken_back(kubectl: Kubectl, gateway: str) -> None:
    """With the analysis that is the default."""
    status = roll_out(kubectl, gateway, "shorter", THREE_PERCENT_SHORTER, {})
    assert status["rollout"]["phase"] == "Reverted", status["rollout"]
    assert status["rejectedRevision"] == status["updateRevision"] != status["revision"]
    verdicts = {c["measure"]: c["verdict"] for c in status["rollout"]["analysis"]}
    assert verdicts["outputLength"] == "Worse", status["rollout"]


def test_one_that_is_as_good_is_promoted(kubectl: Kubectl, gateway: str) -> None:
    analysis = {
        "criteria": [{"measure": "errorRate", "marginPercent": 3}, {"measure": "outputLength", "marginPercent": 3}]
    }
    status = roll_out(kubectl, gateway, "equal", [*FIFTY, "--seed", "7"], analysis)
    assert status["rollout"]["phase"] == "Stable", status["rollout"]
    assert {c["measure"]: c["verdict"] for c in status["rollout"]["analysis"]} == {
        "errorRate": "AsGood", "outputLength": "AsGood",
    }  # fmt: skip
