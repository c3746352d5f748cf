"""A ModelService from apply to a streamed answer through Envoy, and its life afterwards."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from e2e.cluster import FAIRLEAD, Kubectl, Platform
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")


def model_service(name: str, replicas: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelService",
        "metadata": {"name": "chat"},
        "spec": {"model": {"name": name}, "runtime": "simulated", "replicas": replicas, **spec},
    }


def post(gateway: str, path: str, body: Any, timeout_s: float = 20.0) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(gateway + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


def question(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, **more}


def deployed(kubectl: Kubectl, replicas: int = 1, **spec: Any) -> str:
    """A ready service under a model name that no other test has."""
    name = f"m-{kubectl.namespace}"
    kubectl.run("apply", "-f", "-", stdin=json.dumps(model_service(name, replicas, **spec)))
    kubectl.wait_for("condition=Ready", "modelservice/chat")
    return name


def answered(gateway: str, model: str, timeout_s: float = PATIENCE_S) -> Any:
    """The first good answer; the picker may need a moment to see a new endpoint."""
    deadline = time.monotonic() + timeout_s
    while True:
        status, answer = post(gateway, "/v1/chat/completions", question(model))
        if status == 200 or time.monotonic() > deadline:
            assert status == 200, answer
            return answer
        time.sleep(0.1)


def staying(kubectl: Kubectl) -> set[str]:
    """Names of the pods that are not being deleted."""
    found = kubectl.json("get", "pods")["items"]
    return {p["metadata"]["name"] for p in found if "deletionTimestamp" not in p["metadata"]}


def test_apply_wait_and_chat(kubectl: Kubectl, gateway: str) -> None:
    model = deployed(kubectl, 2, **{"model": {"name": f"m-{kubectl.namespace}", "aliases": [f"a-{kubectl.namespace}"]}})
    answer = answered(gateway, model)
    assert answer["choices"][0]["message"]["content"] and answer["usage"]["completion_tokens"] == 4
    assert answered(gateway, f"a-{kubectl.namespace}")["object"] == "chat.completion"
    row = kubectl.run("get", "ms", "chat", "--no-headers").split()
    assert row[:5] == ["chat", model, "simulated", "2", "2"]
    with urllib.request.urlopen(f"{gateway}/v1/models", timeout=PATIENCE_S) as response:
        assert model in {m["id"] for m in json.loads(response.read())["data"]}
    pool = kubectl.json("get", "inferencepool", "chat")
    assert pool["spec"]["targetPorts"] == [{"number": 8000}]
    assert kubectl.json("get", "pods")["items"][0]["metadata"]["ownerReferences"][0]["kind"] == "ModelService"


def test_tokens_arrive_one_by_one(kubectl: Kubectl, gateway: str) -> None:
    model = deployed(kubectl, args=["--itl-ms", "60"])
    answered(gateway, model)
    body = json.dumps(question(model, stream=True) | {"max_tokens": 12}).encode()
    request = urllib.request.Request(f"{gateway}/v1/chat/completions", body, {"Content-Type": "application/json"})
    arrivals = []
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response:
            if line.startswith(b"data:"):
                arrivals.append(time.monotonic())
    assert len(arrivals) >= 12
    assert arrivals[-1] - arrivals[0] > 0.3, "the answer must not arrive in one piece"


def test_scale_and_roll(kubectl: Kubectl, gateway: str) -> None:
    model = deployed(kubectl)
    kubectl.run("scale", "modelservice/chat", "--replicas=3")
    kubectl.wait_for("jsonpath={.status.readyReplicas}=3", "modelservice/chat")
    before = {p["metadata"]["name"] for p in kubectl.json("get", "pods")["items"]}
    kubectl.run("patch", "modelservice", "chat", "--type=merge", "-p", '{"spec":{"args":["--ttft-ms","5"]}}')
    kubectl.wait_for("jsonpath={.status.observedGeneration}=3", "modelservice/chat")
    kubectl.wait_for("condition=RolledOut", "modelservice/chat", timeout=90)
    # The last ones of the old template still end their requests.
    deadline = time.monotonic() + PATIENCE_S
    while len(after := staying(kubectl)) > 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(after) == 3 and not after & before
    answered(gateway, model)
    kubectl.run("scale", "modelservice/chat", "--replicas=0")
    kubectl.wait_for("jsonpath={.status.replicas}=0", "modelservice/chat")


def test_deleting_the_service_takes_everything_with_it(kubectl: Kubectl, gateway: str) -> None:
    model = deployed(kubectl)
    answered(gateway, model)
    kubectl.run("delete", "modelservice", "chat")
    kubectl.run("wait", "--for=delete", "pods", "--all", "--timeout=60s", check=False)
    assert kubectl.run("get", "pods,inferencepools", "-o", "name").strip() == ""
    deadline = time.monotonic() + PATIENCE_S
    while post(gateway, "/v1/chat/completions", question(model))[0] != 404 and time.monotonic() < deadline:
        time.sleep(0.1)
    status, answer = post(gateway, "/v1/chat/completions", question(model))
    assert status == 404 and model in answer["error"]["message"]


def test_bad_requests_get_openai_shaped_errors(kubectl: Kubectl, gateway: str) -> None:
    model = deployed(kubectl)
    answered(gateway, model)
    for body, code in ((b"{not json", 400), (b"{}", 400), (question("no-such-model"), 404)):
        status, answer = post(gateway, "/v1/chat/completions", body)
        assert status == code and answer["error"]["message"]
    big = question(model, messages=[{"role": "user", "content": "x " * 400_000}])
    status, _ = post(gateway, "/v1/chat/completions", big)
    assert status in (200, 400)


def test_the_cli_deploys_chats_and_reports(platform: Platform, kubectl: Kubectl) -> None:
    if platform.data is None:
        pytest.skip("the CLI's platform commands belong to `fairlead up`")
    data = ["--data", str(platform.data)]

    def fairlead(*args: str) -> str:
        done = subprocess.run([*FAIRLEAD, *args, *data], capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stdout

    name = f"cli-{kubectl.namespace}"
    fairlead("deploy", name, "--replicas", "1", "--wait", "-n", kubectl.namespace)
    deadline = time.monotonic() + PATIENCE_S
    while name not in fairlead("status") and time.monotonic() < deadline:
        time.sleep(0.2)
    answered(str(platform.gateway), name)
    assert fairlead("chat", name, "Hello?", "--max-tokens", "5").strip()
    status = json.loads(fairlead("status", "-o", "json"))
    assert status["phase"] == "ready" and {c["name"] for c in status["components"]} >= {"apiserver", "envoy"}
    assert fairlead("logs", name, "-n", kubectl.namespace)
    assert fairlead("logs", "apiserver")
    fairlead("delete", name, "-n", kubectl.namespace)
