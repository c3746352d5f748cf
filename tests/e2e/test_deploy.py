"""The manifests of deploy/ are what an API server takes, and name options that the commands have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import Kubectl

pytestmark = [
    pytest.mark.xdist_group("platform"),
    pytest.mark.parametrize("base", ["bench", "driver", "scheduler", "serving"]),
]

DEPLOY = Path(__file__).parents[2] / "deploy"
_CLUSTER_SCOPED = ("ClusterRole", "ClusterRoleBinding")


def _rendered(kubectl: Kubectl, base: str) -> str:
    return kubectl.run("kustomize", str(DEPLOY / base))


def _objects(kubectl: Kubectl, base: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(_rendered(kubectl, base)))


def test_everything_is_accepted_without_warnings(kubectl: Kubectl, base: str) -> None:
    made = _rendered(kubectl, base)
    # On the server a namespace that is only made now would not be there for the rest.
    answer = kubectl.run("apply", "--dry-run=client", "--validate=strict", "-f", "-", stdin=made, check=False)
    objects = list(yaml.safe_load_all(made))
    assert len(answer.splitlines()) == len(objects) and "Warning" not in answer, answer
    for each in objects:
        if each["kind"] in _CLUSTER_SCOPED:
            alone = yaml.safe_dump(each)
            answer = kubectl.run("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=alone, check=False)
            assert answer.strip().endswith("created (server dry run)"), answer


def test_options_are_the_commands(kubectl: Kubectl, base: str) -> None:
    (workload,) = (each for each in _objects(kubectl, base) if "template" in each.get("spec", {}))
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    command, *options = container["args"]
    known = subprocess.run(
        [sys.executable, "-m", "fairlead.cli.main", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {option.partition("=")[0] for option in options} <= set(known.replace("[", " ").split())


def test_rights_are_bound_to_the_account_that_the_pods_run_under(kubectl: Kubectl, base: str) -> None:
    objects = _objects(kubectl, base)
    (workload,) = (each for each in objects if "template" in each.get("spec", {}))
    account = (workload["metadata"]["namespace"], workload["spec"]["template"]["spec"]["serviceAccountName"])
    assert ("ServiceAccount", *account) in {_key(each) for each in objects}
    bindings = [each for each in objects if each["kind"].endswith("RoleBinding")]
    assert bindings
    for binding in bindings:
        assert [(each["namespace"], each["name"]) for each in binding["subjects"]] == [account]
        role = binding["roleRef"]
        assert (role["kind"], binding["metadata"].get("namespace", ""), role["name"]) in {
            _key(each) for each in objects
        }


def test_the_namespace_is_the_same_in_all_bases(kubectl: Kubectl, base: str) -> None:
    def namespaces(folder: str) -> Iterator[dict[str, Any]]:
        return (each for each in _objects(kubectl, folder) if each["kind"] == "Namespace")

    assert list(namespaces(base)) == list(namespaces("driver"))


def _key(each: dict[str, Any]) -> tuple[str, str, str]:
    return each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]
