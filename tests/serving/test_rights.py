"""deploy/serving grants the rights to everything that serving follows and keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api import MODEL_ADAPTERS, MODEL_SERVICES, SERVING_RUNTIMES, TRAFFIC_REPORTS
from fairlead.api.inference_pool import INFERENCE_POOLS
from fairlead.kube.kinds import CONTROLLER_REVISIONS, DEVICE_TAINT_RULES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.resources import Resource
from fairlead.serving.adoption.workloads import WORKLOADS
from fairlead.serving.belongings import KINDS

_MANIFEST = Path(__file__).parents[2] / "deploy" / "serving" / "rbac.yaml"
_FOLLOWED = (
    MODEL_SERVICES, MODEL_ADAPTERS, SERVING_RUNTIMES, TRAFFIC_REPORTS, PODS, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES,
    CONTROLLER_REVISIONS, DEVICE_TAINT_RULES,
)  # fmt: skip


def _rights(manifest: Path = _MANIFEST, kind: str = "ClusterRole") -> set[tuple[str, str, str]]:
    (role,) = (each for each in yaml.safe_load_all(manifest.read_text()) if each["kind"] == kind)
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


def test_an_endpoint_picker_may_do_what_it_does() -> None:
    """`gateway/observe/reports.py`, `sources/ask_adapters.py`, `flow/scale_from_zero.py`."""
    manifest = _MANIFEST.parents[2] / "examples" / "gateway" / "epp.yaml"
    rights = _rights(manifest, "Role")
    assert _of(INFERENCE_POOLS, "list", "watch", "patch") <= rights
    assert _of(TRAFFIC_REPORTS, "create", "patch", "delete", "deletecollection") <= rights
    assert {("fairlead.dev", "modelservices", "get"), ("autoscaling", "horizontalpodautoscalers", "list")} <= rights
    assert {("fairlead.dev", "modelservices/scale", verb) for verb in ("get", "patch")} <= rights
