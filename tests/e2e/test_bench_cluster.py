"""Benchmarks that pods carry out: by kubectl and by `fairlead bench --in-cluster`, with pods that are killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.hostile import GOOD, Hostile, hostile
from e2e.cluster import FAIRLEAD, FOREIGN, Kubectl, Platform
from patience import PATIENCE_S

pytestmark = [
    pytest.mark.xdist_group("platform"),
    pytest.mark.skipif(bool(FOREIGN), reason="pods find each other by the embedded platform's DNS"),
]

LOOSE = {"lag_ms": 60_000, "loop_lag_ms": 60_000, "cpu_share": 1, "rate_error": 1}
"""Not what is tested here, and not what a shared machine can keep."""
Json = dict[str, Any]


@pytest.fixture
def server() -> Iterator[Hostile]:
    with hostile(lambda _: (GOOD, False)) as started:
        yield started


def benchmark(url: str, rate_per_s: float, seconds: float, **spec: Any) -> Json:
    config = {
        "targets": [{"url": url, "model": "m"}],
        "load": {"stages": [{"rate_per_s": rate_per_s, "seconds": seconds}], "process": "constant"},
        "content": {"prompt_tokens": 8, "output_tokens": 3},
        "client": LOOSE,
        "drain_s": 2,
        **spec.pop("config", {}),
    }
    kind = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Benchmark", "metadata": {"name": "b"}}
    return {**kind, "spec": {"workers": 2, "config": config, **spec}}


def apply(kubectl: Kubectl, obj: Json) -> None:
    kubectl.run("apply", "-f", "-", stdin=json.dumps(obj))


def ended(kubectl: Kubectl) -> Json:
    """The status, when it is over."""
    kubectl.wait_for("condition=Finished", "benchmark/b", timeout=2 * PATIENCE_S)
    status: Json = kubectl.json("get", "benchmark", "b")["status"]
    return status


def conditions(status: Json) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c.get("message", "")) for c in status["conditions"]}


def waited(what: Callable[[], Any]) -> Any:
    until = time.monotonic() + 2 * PATIENCE_S
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it never came")


def pids(platform: Platform, kubectl: Kubectl, host: str) -> list[int]:
    """Processes of the pod of that host name, shims left out."""
    pod = next(p for p in kubectl.json("get", "pods")["items"] if p["spec"].get("hostname") == host)
    found = []
    for folder in Path("/proc").iterdir():
        try:
            env = (folder / "environ").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if f"FAIRLEAD_POD_IP={pod['status'].get('podIP')}\0".encode() in env and b"FAIRLEAD_BENCH_TOKEN=" in env:
            found.append(int(folder.name))
    return found


def test_a_benchmark_runs_to_its_end_and_tells(kubectl: Kubectl, server: Hostile, tmp_path: Path) -> None:
    spec = {"objective": {"ttft_ms": 30_000}}
    apply(kubectl, benchmark(server.url, 20, 3, config=spec, results={"url": f"file://{tmp_path}/kept"}))
    status = ended(kubectl)
    told = conditions(status)
    assert told["Complete"][:2] == ("True", "Complete") and told["Valid"][0] == "True", told
    assert told["ObjectiveKept"][0] != "False", told
    (stage,) = status["stages"]
    assert stage["requests"] == 60 and stage["failed"] == 0 and stage["ttftP99Ms"] > 0
    assert 60 < server.requests <= 65  # and those of the preflight
    columns = kubectl.run("get", "benchmarks").splitlines()
    assert columns[0].split() == ["NAME", "WORKERS", "STATE", "RATE", "TTFT-P99", "GOODPUT", "VALID", "AGE"]
    assert columns[1].split()[:4] == ["b", "2", "Complete", "20/s"]
    # All of the folder is where it was to be sent, with both workers' records.
    from bench.run.runs import records_of

    folder = tmp_path / "kept" / status["run"]
    assert status["results"] == f"file://{folder}"
    assert {r.worker for r in records_of(folder)} == {0, 1}
    summary = json.loads((folder / "summary.json").read_text())
    assert [clock["worker"] for clock in summary["environment"]["clocks"]] == [0, 1]
    # It is one run: nothing of it is changed afterwards, and all of it goes with it.
    refused = kubectl.run("patch", "bm", "b", "--type=merge", "-p", '{"spec":{"workers":3}}', check=False)
    assert "workers cannot be changed once the run has begun" in refused
    kubectl.run("delete", "bm", "b", "--wait=false")
    waited(lambda: not kubectl.json("get", "jobs,services,secrets,pods")["items"])


def test_what_is_written_wrongly_is_told_with_its_remedy_and_can_be_corrected(
    kubectl: Kubectl, server: Hostile
) -> None:
    wrong = benchmark(server.url, 20, 1, workers=1)
    wrong["spec"]["config"]["load"]["stages"][0]["rate_per_second"] = 3
    apply(kubectl, wrong)
    kubectl.wait_for("condition=Accepted=false", "benchmark/b")
    accepted = conditions(kubectl.json("get", "bm", "b")["status"])["Accepted"]
    assert accepted[1] == "ConfigInvalid"
    assert "spec.config: load.stages[0].rate_per_second is no field: did you mean rate_per_s?" in accepted[2]
    assert not kubectl.json("get", "jobs,secrets")["items"]
    del wrong["spec"]["config"]["load"]["stages"][0]["rate_per_second"]
    wrong["spec"]["config"]["targets"][0]["url"] = "http://127.0.0.1:1"
    apply(kubectl, wrong)
    told = conditions(ended(kubectl))
    assert told["Failed"][1] == "Failed" and "nothing listens at 127.0.0.1:1" in told["Failed"][2], told


def test_killed_pods_are_told_of_and_never_made_again(platform: Platform, kubectl: Kubectl, server: Hostile) -> None:
    apply(kubectl, benchmark(server.url, 20, 6))
    waited(lambda: server.requests > 20)
    (worker,) = pids(platform, kubectl, "bench-b-2")
    os.kill(worker, signal.SIGKILL)
    status = ended(kubectl)
    told = conditions(status)
    assert told["Complete"][0] == "True" and told["Valid"][:2] == ("False", "ClientTooSlow"), told
    assert "bench-b-2" in told["Valid"][2] + " ".join(status["notes"]), (told, status["notes"])
    assert status["state"] == "Invalid" and status["stages"][0]["requests"] == 120
    kubectl.run("delete", "bm", "b")
    # Without its coordinator a run has failed, and its workers end.
    before = server.requests
    apply(kubectl, benchmark(server.url, 20, 600))
    waited(lambda: server.requests > before + 20)
    address = kubectl.json("get", "pods", "-l", "batch.kubernetes.io/job-completion-index=0")["items"][0]["status"][
        "podIP"
    ]
    with socket.create_connection((address, 7450), 10) as stranger:
        stranger.sendall(b"x" * 200)
        stranger.settimeout(PATIENCE_S)
        assert len(stranger.recv(4096)) == 40  # the greeting, and nothing else
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(4096) == b""
    for pid in pids(platform, kubectl, "bench-b-0"):
        os.kill(pid, signal.SIGKILL)
    status = ended(kubectl)
    assert status["state"] == "Failed"
    assert "the coordinator's pod bench-b-0" in conditions(status)["Failed"][2]
    waited(lambda: not [p for p in kubectl.json("get", "pods")["items"] if p["status"]["phase"] == "Running"])
    assert len(kubectl.json("get", "pods", "-l", "batch.kubernetes.io/job-completion-index=0")["items"]) == 1


def test_the_command_line_reports_as_after_a_run_of_its_own(
    platform: Platform, kubectl: Kubectl, server: Hostile, tmp_path: Path
) -> None:
    sets = [word for field, value in LOOSE.items() for word in ("--set", f"client.{field}={value}")]
    command = [*FAIRLEAD, "bench", server.url, "--model", "m", "--rate", "20", "--seconds", "600", "--name", "Mine!"]
    where = ["--in-cluster", "--namespace", kubectl.namespace, "--kubeconfig", str(platform.kubeconfig)]
    rest = ["--workers", "1", "--results", str(tmp_path), "--json", "--prompt-tokens", "8", "--output-tokens", "3"]
    process = subprocess.Popen(
        [*command, *where, *rest, *sets], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    waited(lambda: server.requests > 20 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 130, errors
    summary = json.loads(out)
    assert (summary["ended"], summary["why_ended"]) == ("interrupted", "spec.stop"), errors
    assert summary["stages"][0]["metrics"]["whole"] >= 15
    assert {"config.yaml", "summary.json", "report.html"} <= {f.name for f in (tmp_path / summary["id"]).iterdir()}
    (name,) = [b["metadata"]["name"] for b in kubectl.json("get", "bm")["items"]]
    assert name.startswith("mine-")
    attached = subprocess.run(
        [*FAIRLEAD, "bench", "attach", name, *where[1:], "--results", str(tmp_path / "again"), "--json"],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert attached.returncode == 1 and json.loads(attached.stdout) == summary, attached.stderr
