"""A service that scales under load: the report has the replicas that an independent watch has seen, what they cost, and
every request."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import FAIRLEAD, Kubectl
from e2e.test_model_service import model_service
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")

PER_REPLICA = 2
LOOSE = {"lag_ms": 60_000, "cpu_share": 1, "loop_lag_ms": 60_000, "rate_error": 1}
"""Not what is tested here, and not what a shared machine can keep."""


class Witness:
    """Pods as kubectl tells of them, and when it does."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.told: list[tuple[float, str, dict[str, Any]]] = []
        command = [*kubectl.command, "get", "pods", "--watch", "--output-watch-events", "-o", "json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        decoder, text = json.JSONDecoder(), ""
        while chunk := os.read(self.process.stdout.fileno(), 65536).decode():
            text += chunk
            while text := text.lstrip():
                try:
                    event, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                self.told.append((time.monotonic(), event["type"], event["object"]))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)

    def counts(self) -> Iterator[tuple[float, int, int]]:
        """When, how many had a node, how many served."""
        pods: dict[str, tuple[bool, bool]] = {}
        for at_s, kind, pod in self.told:
            if kind == "DELETED":
                pods.pop(pod["metadata"]["uid"], None)
            else:
                ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
                going = "deletionTimestamp" in pod["metadata"]
                draining = "fairlead.dev/draining" in pod["metadata"].get("annotations", {})
                pods[pod["metadata"]["uid"]] = bool(pod["spec"].get("nodeName")), ready and not going and not draining
            yield at_s, sum(held for held, _ in pods.values()), sum(serves for _, serves in pods.values())


@contextmanager
def witness(kubectl: Kubectl) -> Iterator[Witness]:
    found = Witness(kubectl)
    try:
        yield found
    finally:
        found.stop()


def course(values: list[float | None]) -> list[float]:
    """Without what is not known, and what has not changed."""
    known = [value for value in values if value is not None]
    return [value for at, value in enumerate(known) if at == 0 or value != known[at - 1]]


def area(points: list[tuple[float, float]], end_s: float) -> float:
    times = [*(at_s for at_s, _ in points), end_s]
    return sum(value * (times[at + 1] - at_s) for at, (at_s, value) in enumerate(points))


def replicas(kubectl: Kubectl, wanted: int) -> None:
    kubectl.run("scale", "modelservice/chat", f"--replicas={wanted}")


def until_serving(kubectl: Kubectl, wanted: int, seen: Witness) -> None:
    """By what the watch has told: asking again and again costs more."""
    deadline = time.monotonic() + PATIENCE_S
    while (list(seen.counts()) or [(0.0, 0, 0)])[-1][1:] != (wanted, wanted):
        assert time.monotonic() < deadline, list(seen.counts())
        time.sleep(0.1)


def test_the_report_has_the_replicas_that_there_were_and_every_request(
    kubectl: Kubectl, gateway: str, tmp_path: Path
) -> None:
    model = f"scaled-{kubectl.namespace}"
    service = model_service(model, args=["--itl-ms", "10"], drain={"timeoutSeconds": 20})
    kubectl.run("apply", "-f", "-", stdin=json.dumps(service))
    kubectl.wait_for("condition=Ready", "modelservice/chat")
    config = {
        "targets": [{"url": gateway, "model": model, "api": "completions"}],
        "content": {"kind": "synthetic", "prompt_tokens": 16, "output_tokens": 20},
        "load": {"kind": "open", "stages": [{"name": "load", "rate_per_s": 10, "seconds": 600}]},
        "objective": {"ttft_ms": 30_000}, "client": LOOSE,
        "scaling": {
            "watch": [f"ModelService/{kubectl.namespace}/chat"], "kubeconfig": str(kubectl.kubeconfig),
            "accelerators_per_replica": PER_REPLICA,
        },
    }  # fmt: skip
    (tmp_path / "bench.yaml").write_text(json.dumps(config))
    command = [*FAIRLEAD, "bench", str(tmp_path / "bench.yaml"), "--json", "--results", str(tmp_path / "runs")]
    with witness(kubectl) as seen:
        until_serving(kubectl, 1, seen)
        bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        _until_running(tmp_path / "runs", bench)
        for wanted in (3, 1):
            replicas(kubectl, wanted)
            until_serving(kubectl, wanted, seen)
        bench.terminate()  # the load has no other end: how long this takes is the machine's affair
        out, err = bench.communicate(timeout=PATIENCE_S)
    summary = json.loads(out)
    assert summary["ended"] == "interrupted", err
    scaling = summary["scaling"]
    (workload,) = scaling["workloads"]
    (stage,) = summary["stages"]

    # Replicas, and when: by another watch of the same API server.
    told = list(seen.counts())
    assert course(workload["desired"]) == [1, 3, 1]
    assert course(workload["allocated"]) == course([held for _, held, _ in told]) == [1, 2, 3, 2, 1]
    assert course(workload["ready"]) == course([serving for *_, serving in told])
    assert [(step["before"], step["after"]) for step in workload["steps"]] == [(1, 3), (3, 1)]
    up, down = workload["steps"]
    assert up["at_s"] < up["scheduled_s"] <= up["ready_s"] < down["at_s"] < down["gone_s"]
    changed = [at_s for (_, before, _), (at_s, held, _) in pairwise(told) if held != before]
    allocated = list(zip(workload["times_s"], workload["allocated"], strict=True))
    ours = [at_s for (_, before), (at_s, held) in pairwise(allocated) if held != before]
    apart = [(theirs - changed[0]) - (mine - ours[0]) for theirs, mine in zip(changed, ours, strict=True)]
    assert max(apart) - min(apart) < 2.0, apart

    # What it cost: each replica for as long as it had a node.
    end_s = scaling["all"]["end_s"]
    origin_s = changed[0] - ours[0]
    held = [(max(0.0, at_s - origin_s), float(count)) for at_s, count, _ in told]
    expected = PER_REPLICA * area(held, end_s)
    assert scaling["efficiency"]["paid_s"] == pytest.approx(expected, rel=0.1)
    assert scaling["efficiency"]["fixed_s"] == pytest.approx(3 * PER_REPLICA * end_s)
    assert scaling["all"]["unsure_s"] == 0

    # Not a request is lost, as replicas are drained, and none is forgotten.
    metrics = stage["metrics"]
    lost = {name: count for name, count in metrics["failures"].items() if name != "ABORTED"}
    assert lost == {} and scaling["failed"] == 0, "what the end of the run cut off was not lost by the service"
    assert sum(round(s["due_per_s"] * (s["end_s"] - s["begin_s"])) for s in scaling["slices"]) == metrics["requests"]
    starts = {start["to"]: start["count"] for start in workload["starts"]}
    # A replica that goes as soon as it has come need not have been asked.
    assert 0 <= starts.pop("served", 0) <= 2
    assert starts == {"scheduled": 2, "started": 2, "ready": 2}
    (folder,) = (tmp_path / "runs").iterdir()
    assert "steps of the wanted number" in (folder / "report.html").read_text()


def _until_running(folder: Path, bench: subprocess.Popen[str]) -> None:
    """Until its first requests have been recorded."""
    deadline = time.monotonic() + PATIENCE_S
    while not any(spool.stat().st_size > 0 for spool in folder.glob("*/records/*.spool")):
        assert bench.poll() is None and time.monotonic() < deadline, bench.poll()
        time.sleep(0.05)
