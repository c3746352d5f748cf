"""The classifiers of examples/onnx: trained here, deployed as a ModelService, asked through Envoy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import Kubectl
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, str(EXAMPLE / "train.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    accuracies = [float(a) for a in re.findall(r"accuracy ([0-9.]+)", done.stdout)]
    assert len(accuracies) == 2 and min(accuracies) > 0.9, done.stdout
    return folder


def _deployed(kubectl: Kubectl, models: Path, name: str) -> str:
    """The example's manifest with names of this test's own; returns the alias of the digits model."""
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLE / "service.yaml").read_text())
    for model in ("iris", "digits"):
        link = models / f"{model}-{kubectl.namespace}"
        if not link.exists():
            link.symlink_to(models / model)
    manifest["spec"]["model"] |= {
        "name": f"{name}-{kubectl.namespace}",
        "aliases": [f"digits-{kubectl.namespace}"],
        "source": models.as_uri(),
    }
    kubectl.run("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl.wait_for("condition=Ready", "modelservice/classifiers", timeout=90)
    return f"digits-{kubectl.namespace}"


def _post(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


def _infer(gateway: str, model: str, rows: list[list[float]]) -> dict[str, Any]:
    """Outputs by name; the picker may need a moment to see a new endpoint."""
    tensor = {"name": "X", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": rows}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status, answer = _post(f"{gateway}/v2/models/{model}/infer", {"inputs": [tensor]})
        if status == 200 or time.monotonic() > deadline:
            assert status == 200, answer
            return {output["name"]: output for output in answer["outputs"]}
        time.sleep(0.1)


def test_predictions_through_the_gateway_are_those_of_scikit_learn(
    kubectl: Kubectl, gateway: str, models: Path
) -> None:
    digits = _deployed(kubectl, models, "iris")
    for model, example in ((f"iris-{kubectl.namespace}", "iris"), (digits, "digits")):
        expected = json.loads((models / f"{example}.expected.json").read_text())
        outputs = _infer(gateway, model, expected["rows"])
        assert outputs["label"]["data"] == expected["labels"]
        flat = [value for row in expected["probabilities"] for value in row]
        assert outputs["probabilities"]["data"] == pytest.approx(flat, abs=1e-4)
        status, answer = _post(f"{gateway}/v1/models/{model}:predict", {"instances": expected["rows"]})
        assert status == 200
        assert [row["label"] for row in answer["predictions"]] == expected["labels"]
        with urllib.request.urlopen(f"{gateway}/v2/models/{model}", timeout=PATIENCE_S) as response:
            assert json.loads(response.read())["platform"] == "onnx_onnxruntime"
    row = kubectl.run("get", "ms", "classifiers", "--no-headers").split()
    assert row[2:5] == ["onnx", "2", "2"]


def test_a_name_that_is_no_model_is_said_in_the_pods_log(kubectl: Kubectl, models: Path) -> None:
    manifest: dict[str, Any] = yaml.safe_load((EXAMPLE / "service.yaml").read_text())
    manifest["spec"] |= {"replicas": 1, "model": {"name": f"no-{kubectl.namespace}", "source": str(models)}}
    kubectl.run("apply", "-f", "-", stdin=json.dumps(manifest))
    deadline = time.monotonic() + PATIENCE_S
    said = ""
    while "has no model" not in said and time.monotonic() < deadline:
        pods = kubectl.json("get", "pods")["items"]
        said = "".join(kubectl.run("logs", pod["metadata"]["name"], check=False) for pod in pods)
        time.sleep(0.2)
    assert f"has no model 'no-{kubectl.namespace}'" in said
