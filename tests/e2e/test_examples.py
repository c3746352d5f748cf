"""Every file in examples/ is accepted as it stands, by the API server's own validation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.cluster import Kubectl
from patience import PATIENCE_S

pytestmark = pytest.mark.xdist_group("platform")

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {"tiny", "vllm", "deployment", "job", "claims"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted_without_warnings(kubectl: Kubectl, path: Path) -> None:
    answer = kubectl.run("create", "--dry-run=server", "--validate=strict", "-f", str(path), check=False)
    lines = answer.splitlines()
    assert lines and all(line.endswith(" created (server dry run)") for line in lines), answer
    assert len(lines) == path.read_text().count("\nkind: ")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert re.search(rf"# .*(kubectl apply|fairlead deploy) -f examples/{path.name}", first), first


def test_the_operator_of_the_docs_keeps_its_config_maps(kubectl: Kubectl) -> None:
    program = ROOT / "examples" / "greeter.py"
    shown = (ROOT / "docs" / "kube.md").read_text().split("```python\n")[1].split("```")[0]
    assert shown in program.read_text()

    kubectl.run("apply", "-f", str(ROOT / "examples" / "greeter-crd.yaml"))
    kubectl.wait_for("condition=Established", "crd/greetings.example.com")
    environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    operator = subprocess.Popen([sys.executable, str(program)], env=environment)
    try:
        greeting = {"apiVersion": "example.com/v1", "kind": "Greeting", "metadata": {"name": "hi"}}
        kubectl.run("create", "-f", "-", stdin=json.dumps(greeting | {"spec": {"text": "Hello"}}))
        kubectl.wait_for("jsonpath={.status.written}=true", "greeting/hi")
        assert kubectl.json("get", "configmap", "hi")["data"] == {"text": "Hello"}
    finally:
        operator.terminate()
        operator.wait(PATIENCE_S)
    kubectl.run("delete", "greeting", "hi")
    kubectl.wait_for("delete", "configmap/hi")
