"""deploy/serving grants the rights to everything that serving follows and keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api import MODEL_ADAPTERS, MODEL_SERVICES, SERVING_RUNTIMES, TRAFFIC_REPORTS
from fairlead.kube.kinds import CONTROLLER_REVISIONS, DEVICE_TAINT_RULES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.resources import Resource
from fairlead.serving.adoption.workloads import WORKLOADS
from fairlead.serving.belongings import KINDS

_MANIFEST = Path(__file__).parents[2] / "deploy" / "serving" / "rbac.yaml"
_FOLLOWED = (
    MODEL_SERVICES, MODEL_ADAPTERS, SERVING_RUNTIMES, TRAFFIC_REPORTS, PODS, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES,
    CONTROLLER_REVISIONS, DEVICE_TAINT_RULES,
)  # fmt: skip


def _rights() -> set[tuple[str, str, str]]:
    (role,) = (each for each in yaml.safe_load_all(_MANIFEST.read_text()) if each["kind"] == "ClusterRole")
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _of(resource: Resource[Any], *verbs: str) -> set[tuple[str, str, str]]:
    group = resource.api_version.rpartition("/")[0]
    return {(group, resource.plural, verb) for verb in verbs}


@pytest.mark.parametrize("resource", _FOLLOWED, ids=str)
def test_what_is_looked_at_may_be_followed(resource: Resource[Any]) -> None:
    assert _of(resource, "list", "watch") <= _rights()


@pytest.mark.parametrize("resource", KINDS, ids=str)
def test_what_belongs_to_a_service_may_be_kept(resource: Resource[Any]) -> None:
    assert _of(resource, "list", "watch", "create", "patch", "delete") <= _rights()


@pytest.mark.parametrize("resource", WORKLOADS.values(), ids=str)
def test_foreign_workloads_may_be_followed_and_annotated(resource: Resource[Any]) -> None:
    assert _of(resource, "list", "watch", "patch") <= _rights()


def test_revisions_may_be_stored_and_adopted() -> None:
    assert _of(CONTROLLER_REVISIONS, "create", "patch", "delete") <= _rights()
