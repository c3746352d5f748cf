"""Benchmark: what an API server makes of one, and what of it can be changed when."""

from __future__ import annotations

from typing import Any

import pytest

from api.served import obj, schema_of, stored, updated

CONFIG = {"targets": [{"url": "http://sim:8000", "anything": 1}], "load": {"stages": []}}


def begun(spec: dict[str, Any]) -> dict[str, Any]:
    made, problems = stored(obj("Benchmark", {"config": CONFIG, **spec}))
    assert not problems, problems
    made["status"] = {"startTime": "2026-01-01T00:00:00Z"}
    return made


def test_the_configuration_is_kept_whole_and_the_rest_has_defaults() -> None:
    made, problems = stored(obj("Benchmark", {"config": CONFIG}))
    assert not problems
    assert made["spec"]["config"] == CONFIG
    assert made["spec"]["startDeadlineSeconds"] == 600 and made["spec"]["stop"] is False


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "spec.config"),
        ({"config": CONFIG, "workers": 0}, "spec.workers"),
        ({"config": CONFIG, "wokers": 2}, "spec.wokers"),
        ({"config": CONFIG, "template": {"containers": []}}, "spec.template.containers"),
        ({"config": CONFIG, "results": {"url": "s3://b", "claim": "c"}}, "give url or claim, not both"),
    ],
)
def test_what_is_wrong_is_named(spec: dict[str, Any], problem: str) -> None:
    _, problems = stored(obj("Benchmark", spec))
    assert any(problem in each for each in problems), problems


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ({"workers": 2}, {"workers": 3}, "spec.workers: .*workers cannot be changed once the run has begun"),
        ({}, {"workers": 3}, "workers cannot be changed"),
        ({"image": "a"}, {"image": "b"}, "image cannot be changed"),
        ({}, {"results": {"url": "s3://b"}}, "results cannot be changed"),
        ({}, {"suspend": True}, "a run that has begun is not suspended: set stop"),
        ({"stop": True}, {"stop": False}, "does not go on: make another"),
        ({}, {"stop": True}, ""),
        ({}, {"ttlSecondsAfterFinished": 5}, ""),
        ({"suspend": True}, {"suspend": False}, ""),
    ],
)
def test_a_run_is_not_changed_under_its_pods(before: dict[str, Any], after: dict[str, Any], problem: str) -> None:
    import re

    old = begun(before)
    new = {**old, "spec": {**old["spec"], **after}}
    found = updated(old, new)
    assert (not found) if not problem else any(re.search(problem, each) for each in found), found
    # Before it has begun all of this may be corrected, but for a stop that was asked for.
    if "stop" not in before:
        del old["status"], new["status"]
        assert not updated(old, new)


def test_every_field_that_people_read_or_write_is_described() -> None:
    def undescribed(schema: dict[str, Any], path: str) -> list[str]:
        below = [*schema.get("properties", {}).items(), *([("[]", schema["items"])] if "items" in schema else [])]
        mine = [] if schema.get("description") or path.endswith("[]") else [path]
        return mine + [each for name, inner in below for each in undescribed(inner, f"{path}.{name}")]

    found = undescribed(schema_of("Benchmark"), "benchmark")
    assert [each for each in found if ".metadata" not in each and ".conditions" not in each] == []
