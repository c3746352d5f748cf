import json
import os
from pathlib import Path
from typing import Any

import pytest

from fairlead.scheduling.allocator.selector_cases import compile_case, select

ROOT = Path(__file__).parents[3]
FILE = Path(os.environ.get("FAIRLEAD_CONFORMANCE", ROOT / "../shared/conformance")) / "cel-cases.json"


def _cases() -> list[Any]:
    if not FILE.exists():
        reason = pytest.mark.skip(reason=f"no upstream cases at {FILE}; set FAIRLEAD_CONFORMANCE to their folder")
        return [pytest.param({}, marks=reason)]
    return [pytest.param(case, id=case["name"]) for case in json.loads(FILE.read_text())]


@pytest.mark.parametrize("case", _cases())
def test_answers_as_upstream(case: dict[str, Any]) -> None:
    expected = case["expect"]
    question = {key: value for key, value in case.items() if key != "expect"}
    answer = select(question)
    assert answer["match"] == expected["match"]
    for error in ("compileError", "matchError"):
        assert (answer[error] is None) == (error not in expected), answer[error]
        assert expected.get(error, "") in (answer[error] or "")
    if "compileError" not in expected:
        assert compile_case(question).max_cost == expected["cost"]
