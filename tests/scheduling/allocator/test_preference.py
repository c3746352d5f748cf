"""The score of prioritized lists: upstream's cases, where they are at hand, and the rules by example."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.scheduling.allocator.preference import score_preferences
from scheduling.allocator.allocator_objects import claim, request, subrequest

_ROOT = Path(__file__).parents[3]
_FILE = Path(os.environ.get("FAIRLEAD_CONFORMANCE", _ROOT.parent / "shared" / "conformance")) / "score-cases.json"


def _cases() -> list[Any]:
    return json.loads(_FILE.read_text()) if _FILE.exists() else []


def test_the_cases_are_there() -> None:
    if not _FILE.exists():
        pytest.skip(f"{_FILE} is not there: set FAIRLEAD_CONFORMANCE to the folder with Kubernetes' cases")
    assert len(_cases()) >= 8


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case["name"])
def test_scores_as_upstream(case: dict[str, Any]) -> None:
    claims = msgspec.convert(case["claims"], list[ResourceClaim])
    allocations = msgspec.convert(case["allocations"] or [], list[AllocationResult])
    if case["expectError"]:
        with pytest.raises(ValueError, match="give one for each"):
            score_preferences(claims, allocations)
        return
    assert score_preferences(claims, allocations) == case["expectedScore"]


def test_later_choices_count_less_and_plain_requests_nothing() -> None:
    ways = {"name": "p", "firstAvailable": [subrequest("a"), subrequest("b")]}
    asked = msgspec.convert(claim(ways, request("plain")), ResourceClaim)

    def given(*names: str) -> AllocationResult:
        return msgspec.convert({"devices": {"results": [{"request": name} for name in names]}}, AllocationResult)

    assert score_preferences([asked], [given("p/a", "plain")]) == 8
    assert score_preferences([asked], [given("p/b", "plain")]) == 7
