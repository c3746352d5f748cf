"""deploy/scheduler grants the right to follow every kind that the scheduler follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.kube.kinds import NODES, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.resources import Resource
from fairlead.scheduling.sources import OPTIONAL

_MANIFEST = Path(__file__).parents[2] / "deploy" / "scheduler" / "rbac.yaml"
_CORE = (PODS, NODES, PERSISTENT_VOLUME_CLAIMS, RESOURCE_CLAIMS, RESOURCE_SLICES)


def _rights() -> set[tuple[str, str, str]]:
    (role,) = (each for each in yaml.safe_load_all(_MANIFEST.read_text()) if each["kind"] == "ClusterRole")
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("resource", [*_CORE, *(each for versions in OPTIONAL for each in versions)], ids=str)
def test_the_scheduler_may_follow_what_it_looks_at(resource: Resource[Any]) -> None:
    group = resource.api_version.rpartition("/")[0]
    assert {(group, resource.plural, verb) for verb in ("list", "watch")} <= _rights()
