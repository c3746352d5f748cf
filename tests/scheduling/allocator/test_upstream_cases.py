"""Kubernetes' own table of allocator cases, where the folder with it is at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fairlead.scheduling.conformance import allocate

_FOLDER = Path(os.environ.get("FAIRLEAD_CONFORMANCE", "../shared/conformance"))
_FILE = _FOLDER / "allocator-cases.json"
_CASES: list[dict[str, Any]] = json.loads(_FILE.read_text()) if _FILE.exists() else []

pytestmark = pytest.mark.skipif(not _CASES, reason=f"no cases at {_FILE}: set FAIRLEAD_CONFORMANCE to their folder")


def test_the_table_is_whole() -> None:
    assert len(_CASES) == 219


@pytest.mark.parametrize("case", _CASES, ids=lambda case: f"{case['suite']}/{case['name']}")
def test_answers_as_upstream(case: dict[str, Any]) -> None:
    expected = case["expect"]
    answer = allocate({key: value for key, value in case.items() if key != "expect"})
    if expected["error"]:
        assert answer["error"] is not None
        assert expected.get("errorSubstring", "") in answer["error"]
    else:
        assert answer["error"] is None
    assert answer["allocated"] == bool(expected.get("allocated"))
    if expected.get("allocated"):
        wanted = expected["results"]
        assert [_comparable(result, want["match"]) for result, want in zip(answer["results"], wanted, strict=True)] == [
            _comparable(want["allocation"], want["match"]) for want in wanted
        ]


def _comparable(allocation: dict[str, Any], match: str) -> dict[str, Any]:
    """Share ids are compared by presence; results without order and configuration where the case says so."""
    allocation = json.loads(json.dumps(allocation))
    devices = allocation["devices"]
    for result in devices.get("results", ()):
        if "shareID" in result:
            result["shareID"] = "present"
    if match == "unordered":
        devices.pop("config", None)
        devices["results"] = sorted(devices.get("results", ()), key=lambda result: json.dumps(result, sort_keys=True))
    return allocation
