"""A service that changes under load: no answer is refused, cut or incomplete, and the conditions tell the truth."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.cluster import FAIRLEAD, FOREIGN, Kubectl, Platform, start_up, stop_up

pytestmark = [
    pytest.mark.xdist_group("rollouts"),
    pytest.mark.skipif(bool(FOREIGN), reason="drains nodes and kills components of the embedded platform"),
]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("rollouts")
    yield start_up(data, "--nodes", "3")
    stop_up(data)


@pytest.fixture
def services(own: Platform) -> Iterator[Kubectl]:
    kubectl = Kubectl(own.kubeconfig)
    yield kubectl
    kubectl.run("delete", "modelservices,modeladapters", "--all", "--wait=false", check=False)


def manifest(name: str, replicas: int, **spec: Any) -> str:
    spec = {"model": {"name": name}, "runtime": "simulated", "replicas": replicas, "args": ["--itl-ms", "20"], **spec}
    body = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": name},
        "spec": {"drain": {"timeoutSeconds": 30}, **spec},
    }
    return json.dumps(body)


def deploy(kubectl: Kubectl, name: str, replicas: int, **spec: Any) -> None:
    kubectl.run("apply", "-f", "-", stdin=manifest(name, replicas, **spec))
    kubectl.wait_for("condition=Ready", f"modelservice/{name}")


def patch(kubectl: Kubectl, name: str, spec: Json) -> None:
    kubectl.run("patch", "modelservice", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def status(kubectl: Kubectl, name: str) -> Json:
    """Of the current generation; empty until the controller has seen it."""
    found = kubectl.json("get", "modelservice", name)
    said = found.get("status") or {}
    return said if said.get("observedGeneration") == found["metadata"]["generation"] else {}


def condition(said: Json, kind: str) -> Json:
    return next((c for c in said.get("conditions", ()) if c["type"] == kind), {})


def until(kubectl: Kubectl, name: str, is_so: Callable[[Json], bool], timeout_s: float = 60.0) -> Json:
    deadline = time.monotonic() + timeout_s
    while not is_so(said := status(kubectl, name)):
        assert time.monotonic() < deadline, json.dumps(said, indent=1)[:3000]
        time.sleep(0.2)
    return said


def rolled_out(said: Json) -> bool:
    return condition(said, "RolledOut").get("status") == "True" and not any(r.get("draining") for r in said["roles"])


def pods(kubectl: Kubectl, name: str) -> list[Json]:
    found = kubectl.json("get", "pods", "-l", f"fairlead.dev/model-service={name}")["items"]
    return [p for p in found if "deletionTimestamp" not in p["metadata"]]


class Load:
    """Streams that begin again as they end, each checked to be whole and to have the name of the model as it was asked
    for, whichever version has answered."""

    def __init__(self, platform: Platform, model: str, tokens: int) -> None:
        self.whole = 0
        self.failures: list[str] = []
        self._stop, self._model = threading.Event(), model
        self._url, self._tokens = f"{platform.gateway}/v1/completions", tokens
        body = {"model": model, "prompt": "w " * 20, "max_tokens": tokens, "stream": True, "ignore_eos": True}
        self._body = json.dumps(body).encode()

    def work(self) -> None:
        while not self._stop.is_set():
            request = urllib.request.Request(self._url, self._body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=40) as response:
                    text = response.read()
            except urllib.error.HTTPError as error:
                self.failures.append(f"{error.code}: {error.read()[:300]!r}")
            except OSError as error:
                self.failures.append(repr(error))
            else:
                told = set(re.findall(rb'"model": ?"([^"]*)"', text))
                if told != {self._model.encode()}:
                    self.failures.append(f"it says that it comes from {told}")
                elif b"[DONE]" in text and text.count(b"data: ") > self._tokens:
                    self.whole += 1
                else:
                    self.failures.append(f"cut: {text[-200:]!r}")

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def load(platform: Platform, model: str, streams: int = 8, tokens: int = 25) -> Iterator[Load]:
    """Afterwards every answer must have been whole."""
    under = Load(platform, model, tokens)
    deadline = time.monotonic() + 15
    while not _answers(platform, model) and time.monotonic() < deadline:
        time.sleep(0.1)
    threads = [threading.Thread(target=under.work) for _ in range(streams)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)
        yield under
    finally:
        under.stop()
        for thread in threads:
            thread.join(60)
    assert under.failures == [] and under.whole > streams


def _answers(platform: Platform, model: str) -> bool:
    body = json.dumps({"model": model, "prompt": "w", "max_tokens": 1}).encode()
    request = urllib.request.Request(f"{platform.gateway}/v1/completions", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_a_rolling_update_and_scaling_lose_nothing(own: Platform, services: Kubectl) -> None:
    deploy(services, "roll", 3)
    before = {p["metadata"]["uid"] for p in pods(services, "roll")}
    with load(own, "roll"):
        patch(services, "roll", {"args": ["--itl-ms", "21"]})
        said = until(services, "roll", rolled_out)
        assert said["revision"] == said["updateRevision"]
        services.run("scale", "modelservice/roll", "--replicas=1")
        until(services, "roll", lambda s: s.get("replicas") == 1 and rolled_out(s))
        services.run("scale", "modelservice/roll", "--replicas=3")
        until(services, "roll", lambda s: s.get("readyReplicas") == 3)
    assert not before & {p["metadata"]["uid"] for p in pods(services, "roll")}


def test_a_template_edited_in_the_middle_of_a_rollout(own: Platform, services: Kubectl) -> None:
    deploy(services, "edit", 3)
    with load(own, "edit", streams=4):
        for itl in ("21", "22", "23"):
            patch(services, "edit", {"args": ["--itl-ms", itl]})
            time.sleep(0.7)
        until(services, "edit", rolled_out)
    arguments = [p["spec"]["containers"][0] for p in pods(services, "edit")]
    assert len(arguments) == 3 and all("23" in json.dumps(c) for c in arguments)


def test_blue_green_switches_all_at_once(own: Platform, services: Kubectl) -> None:
    deploy(services, "blue", 2, rollout={"strategy": "BlueGreen"})
    with load(own, "blue", streams=4):
        patch(services, "blue", {"args": ["--itl-ms", "21"]})
        until(services, "blue", rolled_out)
    assert len(pods(services, "blue")) == 2


def test_a_canary_that_is_as_good_is_promoted(own: Platform, services: Kubectl) -> None:
    lax = {"criteria": [{"measure": "errorRate", "marginPercent": 25}], "minRequests": 10, "warmUpRequests": 1}
    rollout = {"strategy": "Canary", "canary": {"steps": [{"weight": 30}, {"weight": 60}]}, "analysis": lax}
    deploy(services, "good", 2, rollout=rollout)
    first = status(services, "good")["revision"]
    with load(own, "good"):
        patch(services, "good", {"args": ["--itl-ms", "21"]})
        said = until(services, "good", lambda s: rolled_out(s) and s["revision"] != first, 90)
    assert said["rollout"]["phase"] == "Stable"


def test_a_canary_that_is_worse_is_taken_back(own: Platform, services: Kubectl) -> None:
    strict = {"criteria": [{"measure": "itl", "marginPercent": 10}], "minRequests": 10, "warmUpRequests": 1}
    rollout = {"strategy": "Canary", "canary": {"steps": [{"weight": 50}]}, "analysis": strict}
    deploy(services, "bad", 2, rollout=rollout)
    first = status(services, "bad")["revision"]
    with load(own, "bad"):
        patch(services, "bad", {"args": ["--itl-ms", "40"]})
        said = until(services, "bad", lambda s: (s.get("rollout") or {}).get("phase") == "Reverted", 90)
        assert said["revision"] == first and said["rejectedRevision"] == said["updateRevision"]
        assert condition(said, "RolledOut")["reason"] == "Reverted" and condition(said, "Ready")["status"] == "True"
        said = until(services, "bad", lambda s: s["roles"][0]["replicas"] == 2 and not s["roles"][0].get("draining"))
    assert {p["metadata"]["labels"]["fairlead.dev/revision"] for p in pods(services, "bad")} == {first}


def test_undo_brings_the_former_version_back(own: Platform, services: Kubectl) -> None:
    deploy(services, "undo", 1)
    first = status(services, "undo")["revision"]
    patch(services, "undo", {"args": ["--itl-ms", "22"]})
    until(services, "undo", lambda s: rolled_out(s) and s["revision"] != first)
    cli = [*FAIRLEAD, "rollout"]
    where = ["--data", str(own.data)]
    history = subprocess.run([*cli, "history", "undo", *where], capture_output=True, text=True, timeout=60)
    assert history.returncode == 0 and first[:6] in history.stdout, history.stderr
    done = subprocess.run([*cli, "undo", "undo", *where], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    until(services, "undo", lambda s: rolled_out(s) and s["revision"] == first)


def test_a_drained_node_costs_nothing(own: Platform, services: Kubectl) -> None:
    deploy(services, "moves", 3)
    node = pods(services, "moves")[0]["spec"]["nodeName"]
    try:
        with load(own, "moves", streams=6):
            services.run("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s", timeout=80)
            until(services, "moves", lambda s: s.get("readyReplicas") == 3)
        assert node not in {p["spec"].get("nodeName") for p in pods(services, "moves")}
    finally:
        services.run("uncordon", node)


def test_the_controllers_killed_at_any_moment_of_a_rollout(own: Platform, services: Kubectl) -> None:
    deploy(services, "killed", 3)
    with load(own, "killed", streams=4):
        patch(services, "killed", {"args": ["--itl-ms", "21"]})
        for pause_s in (0.15, 0.9, 1.3):
            time.sleep(pause_s)
            os.kill(own.pid("controllers"), signal.SIGKILL)
        until(services, "killed", rolled_out, 90)
    assert len(pods(services, "killed")) == 3


def test_what_cannot_be_served_is_said_and_what_serves_stays(own: Platform, services: Kubectl) -> None:
    deploy(services, "wrong", 1)
    with load(own, "wrong", streams=2):
        patch(services, "wrong", {"runtime": "no-such-runtime"})
        said = until(services, "wrong", lambda s: condition(s, "Ready").get("status") == "False")
        assert "no-such-runtime" in condition(said, "Ready")["message"]
        assert condition(said, "EndpointsReady")["status"] == "True"
        patch(services, "wrong", {"runtime": "simulated"})
        until(services, "wrong", lambda s: condition(s, "Ready").get("status") == "True")


def test_a_deployment_keeps_the_pods_where_it_is_asked_to(own: Platform, services: Kubectl) -> None:
    deploy(services, "kept", 2, workload="Deployment")
    made = services.json("get", "deployment", "kept")
    assert made["spec"]["replicas"] == 2 and made["metadata"]["ownerReferences"][0]["kind"] == "ModelService"
    with load(own, "kept", streams=2):
        time.sleep(1.0)
    patch(services, "kept", {"args": ["--itl-ms", "21"]})
    said = until(services, "kept", lambda s: rolled_out(s) and s["roles"][0]["replicas"] == 2)
    assert said["revision"] == said["updateRevision"]
    services.run("scale", "modelservice/kept", "--replicas=3")
    until(services, "kept", lambda s: s.get("readyReplicas") == 3)


def test_prefill_and_decode_roll_together(own: Platform, services: Kubectl) -> None:
    roles = [{"name": "prefill", "replicas": 1}, {"name": "decode", "replicas": 2}]
    deploy(services, "split", 1, roles=roles)
    with load(own, "split", streams=4):
        patch(services, "split", {"args": ["--itl-ms", "21"]})
        said = until(services, "split", rolled_out)
    assert {r["name"]: r["ready"] for r in said["roles"]} == {"prefill": 1, "decode": 2}
    services.run("scale", "modelservice/split", "--replicas=2")
    said = until(services, "split", lambda s: s.get("readyReplicas") == 2)
    assert {r["name"]: r["ready"] for r in said["roles"]} == {"prefill": 2, "decode": 4}
    services.run("scale", "rolescale/split-decode", "--replicas=5")
    until(services, "split", lambda s: {r["name"]: r["ready"] for r in s["roles"]} == {"prefill": 2, "decode": 5})
