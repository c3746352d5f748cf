"""Shipped runtimes: one of each engine, replaced when Fairlead changes and left alone when somebody else has."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fairlead.engines import ENGINES
from fairlead.serving.resolve import DIGEST, is_outdated, resolve_service, runtime_objects, shipped_runtimes
from serving.resolve.services import service

SOURCES = {"simulated": ""}


def test_there_is_one_of_each_engine() -> None:
    assert {r.metadata["name"]: r.spec.engine for r in shipped_runtimes()} == {name: name for name in ENGINES}
    assert all(r.spec.formats for r in shipped_runtimes())


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_each_runs_a_model(name: str) -> None:
    made = resolve_service(service(runtime=name, model={"name": "m", "source": SOURCES.get(name, "/models/m")}), ())
    (container,) = made.roles["unified"].ways[0].leader["spec"]["containers"]
    assert container["name"] == "engine" and container["command"] and container["image"]


def test_as_an_api_server_stores_them_they_are_ours_and_new() -> None:
    for wanted in runtime_objects():
        stored = copy.deepcopy(wanted)
        stored["spec"] |= {"requiredArgs": [], "disabled": False, "resources": {}}
        assert not is_outdated(stored, wanted), "defaults that are filled in change nothing"


def changed(wanted: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**wanted, "spec": {**wanted["spec"], **spec}}


def test_one_of_an_older_version_is_outdated_unless_somebody_changed_it() -> None:
    wanted = runtime_objects()[1]
    new = copy.deepcopy(wanted)
    new["metadata"]["annotations"][DIGEST] = "0123456789abcdef"
    assert is_outdated(wanted, new)
    assert not is_outdated(changed(wanted, image="mine:1"), new), "a person's change stays"
    bare = copy.deepcopy(wanted)
    del bare["metadata"]["annotations"]
    assert not is_outdated(bare, new), "one that is not ours stays"
