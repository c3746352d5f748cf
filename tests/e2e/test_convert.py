"""A service of KServe's, converted and applied, answers under the same name of its model."""

from __future__ import annotations

import subprocess
import time

import pytest
import yaml

from e2e.cluster import FAIRLEAD, Kubectl, Platform
from e2e.test_model_service import post, question
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")

MANIFEST = """
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: converted}
spec:
  model: {uri: "hf://org/converted-model", name: org/converted-model}
  replicas: 1
  router: {route: {}, gateway: {}, scheduler: {}}
  template:
    tolerations: [{operator: Exists}]
    containers:
      - name: main
        image: vllm/vllm-openai:v1
        args: [--enforce-eager]
        env: [{name: GREETING, value: hello}]
        livenessProbe: {failureThreshold: 7}
"""


def test_a_converted_service_is_deployed_and_answers(kubectl: Kubectl, platform: Platform) -> None:
    converted = subprocess.run(
        [*FAIRLEAD, "convert", "-", "--runtime", "simulated"],
        input=MANIFEST,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "lost: spec.template.containers[0].image = vllm/vllm-openai:v1" in converted.stderr
    kubectl.run("apply", "--validate=strict", "-f", "-", stdin=converted.stdout)
    kubectl.run("wait", "--for=condition=Ready", "modelservice/converted", f"--timeout={PATIENCE_S:.0f}s")
    (pod,) = kubectl.json("get", "pods", "-l", "fairlead.dev/model-service=converted")["items"]
    (engine,) = [each for each in pod["spec"]["containers"] if each["name"] == "engine"]
    assert {"name": "GREETING", "value": "hello"} in engine["env"]
    assert engine["livenessProbe"]["failureThreshold"] == 7 and "httpGet" in engine["livenessProbe"]
    assert {"operator": "Exists"} in pod["spec"]["tolerations"]
    name = yaml.safe_load(converted.stdout)["spec"]["model"]["name"]
    deadline = time.monotonic() + PATIENCE_S
    status, answer = post(platform.gateway, "/v1/chat/completions", question(name))
    while status != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
        status, answer = post(platform.gateway, "/v1/chat/completions", question(name))
    assert status == 200, answer
    assert answer["model"] == name and answer["choices"]
