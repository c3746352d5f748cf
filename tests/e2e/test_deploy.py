"""The manifests of deploy/ are what an API server takes, and name options that the commands have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from e2e.cluster import Kubectl

pytestmark = pytest.mark.xdist_group("platform")

DRIVER = Path(__file__).parents[2] / "deploy" / "driver"


def test_the_driver_is_accepted_without_warnings(kubectl: Kubectl) -> None:
    made = kubectl.run("kustomize", str(DRIVER))
    # On the server a namespace that is only made now would not be there for the rest.
    answer = kubectl.run("apply", "--dry-run=client", "--validate=strict", "-f", "-", stdin=made, check=False)
    kinds = [each["kind"] for each in yaml.safe_load_all(made)]
    assert len(answer.splitlines()) == len(kinds) and "Warning" not in answer, answer
    for kind in ("ClusterRole", "ClusterRoleBinding"):
        alone = yaml.safe_dump(next(each for each in yaml.safe_load_all(made) if each["kind"] == kind))
        answer = kubectl.run("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=alone, check=False)
        assert answer.endswith(" created (server dry run)\n") or answer.endswith("created (server dry run)"), answer


def test_its_options_are_the_commands(kubectl: Kubectl) -> None:
    made = list(yaml.safe_load_all(kubectl.run("kustomize", str(DRIVER))))
    (daemon_set,) = (each for each in made if each["kind"] == "DaemonSet")
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    command, *options = container["args"]
    known = subprocess.run(
        [sys.executable, "-m", "fairlead.cli.main", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {option.partition("=")[0] for option in options} <= set(known.replace("[", " ").split())
