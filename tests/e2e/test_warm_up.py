"""An engine gets traffic when it has answered its first requests, and at the latest when their time is over."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from e2e.cluster import Kubectl
from e2e.test_model_service import answered, model_service

pytestmark = pytest.mark.xdist_group("platform")

GATE = "fairlead.dev/warmed-up"


def applied(kubectl: Kubectl, **spec: Any) -> str:
    name = f"m-{kubectl.namespace}"
    kubectl.run("apply", "-f", "-", stdin=json.dumps(model_service(name, **spec)))
    kubectl.wait_for("condition=Ready", "modelservice/chat", timeout=90)
    return name


def pod(kubectl: Kubectl) -> tuple[Any, dict[str, Any]]:
    (found,) = kubectl.json("get", "pods")["items"]
    return found, {c["type"]: c for c in found["status"]["conditions"]}


def test_a_shared_beginning_is_in_the_cache_before_the_first_request(kubectl: Kubectl, gateway: str) -> None:
    prefix = "You are a helpful assistant of the harbour office. " * 20
    model = applied(kubectl, args=["--enable-prompt-tokens-details"], warmUp={"prompts": [prefix]})
    made, conditions = pod(kubectl)
    assert made["spec"]["readinessGates"] == [{"conditionType": GATE}]
    assert conditions[GATE]["reason"] == "WarmedUp"
    answered(gateway, model)
    body = json.dumps({"model": model, "prompt": f"{prefix}Where?", "max_tokens": 1}).encode()
    request = urllib.request.Request(f"{gateway}/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        usage = json.loads(response.read())["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 100, usage


def test_one_that_fails_serves_all_the_same_and_says_so(kubectl: Kubectl, gateway: str) -> None:
    model = applied(kubectl, args=["--max-model-len", "64"], warmUp={"prompts": ["word " * 200]})
    _, conditions = pod(kubectl)
    assert conditions[GATE]["reason"] == "WarmUpFailed" and "answered 400" in conditions[GATE]["message"]
    answered(gateway, model)
    about = "involvedObject.name=chat,reason=WarmUpFailed"
    (event,) = kubectl.json("get", "events", f"--field-selector={about}")["items"]
    assert "serves without having been warmed up" in event["message"]
