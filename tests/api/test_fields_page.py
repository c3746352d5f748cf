"""docs/model-service.md is made of the definition, and as it is now."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fairlead.api.fields_page import fields_page
from fairlead.api.model_service import ModelServiceSpec

PAGE = Path(__file__).parents[2] / "docs" / "model-service.md"


def test_the_page_of_fields_is_that_of_the_definition() -> None:
    assert PAGE.read_text() == fields_page(), (
        "fields have changed: python -m fairlead.api.fields_page > docs/model-service.md"
    )


def test_no_field_is_missing_or_without_a_meaning() -> None:
    rows = [line.split(" | ") for line in fields_page().splitlines() if line.startswith("| `")]
    fields = {row[0].strip("| `").partition("[")[0].partition(".")[0] for row in rows}
    assert fields == {field.encode_name for field in msgspec.structs.fields(ModelServiceSpec)}
    silent = [row[0] for row in rows if len(row) < 4 or not row[3].strip(" |")]
    assert silent == []
