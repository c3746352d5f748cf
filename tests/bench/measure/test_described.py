"""The page on measures has every figure, limit and column that there is, with the words of the code."""

from __future__ import annotations

from pathlib import Path

from fairlead.bench.config import ClientLimits
from fairlead.bench.measure.formulas import FORMULAS
from fairlead.bench.records.parquet import COLUMNS
from fairlead.bench.summary import Metrics

PAGE = (Path(__file__).parents[3] / "docs" / "bench-measures.md").read_text()


def test_every_figure_limit_and_column_is_described() -> None:
    named = [*FORMULAS, *(f"client.{name}" for name in ClientLimits.__struct_fields__)]
    assert [name for name in named if f"`{name}`" not in PAGE] == []
    for column in COLUMNS:
        (row,) = [
            line for line in PAGE.splitlines() if line.startswith(f"| `{column.name}` | ") and line.count("|") == 5
        ]
        assert row.endswith(f"| {column.unit} | {column.says} |")


def test_every_distribution_has_its_formula() -> None:
    """Counts of tokens are what they say."""
    given = {name for name in Metrics.__struct_fields__ if "Distribution" in str(Metrics.__annotations__[name])}
    assert given - set(FORMULAS) == {"prompt_tokens", "output_tokens"}
