"""Published measurements of real engines, predicted with the defaults; docs/perf.md says the errors."""

import json
from pathlib import Path

import pytest

from fairlead.perf import Limits, Parallelism, Roofline, Workload, accelerator, model_geometry, precision, steady_state

DATA = Path(__file__).parents[1] / "data" / "perf"
MODELS = json.loads((DATA / "models.json").read_text())
TABLES = json.loads((DATA / "published.json").read_text())["tables"]
ROWS = [(table, row) for table in TABLES for row in table["rows"]]


def predicted(table, row):
    model = model_geometry(MODELS[table["model"]]["config"]).quantised(precision(table["precision"]))
    cost = Roofline(
        accelerator(table["accelerator"]), model, Parallelism(table["tp"]), kv_dtype=table.get("kv_dtype", "auto")
    )
    limits = Limits(kv_capacity_tokens=cost.footprint.kv_capacity_tokens(memory_fraction=0.9))
    return steady_state(cost, Workload(table["input_tokens"], table["output_tokens"], row["concurrency"]), limits)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda part: part.get("model") or f"c{part.get('concurrency')}")
def test_time_per_output_token_is_within_a_quarter(table, row):
    assert predicted(table, row).tpot_s * 1e3 == pytest.approx(row["tpot_ms"], rel=0.25)


@pytest.mark.parametrize("concurrency", [150, 200, 250])
def test_the_wait_for_a_full_cache_is_within_a_quarter(concurrency):
    """Where requests wait for KV cache, the wait dwarfs what a client adds."""
    table, row = next((t, r) for t, r in ROWS if r["concurrency"] == concurrency)
    assert predicted(table, row).ttft_s * 1e3 == pytest.approx(row["ttft_ms"], rel=0.25)


def test_every_table_says_its_source():
    assert all(table["source"] for table in TABLES)
    assert all(model["source"] for model in MODELS.values())
