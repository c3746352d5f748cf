"""The public traces themselves, where they are: read whole, and simulated without losing a request."""

import os
from pathlib import Path

import pytest

from fairlead.simulator.fleet import ListedRecords, PoolSpec, Scenario, TraceSpec, run_study
from fairlead.workload import TraceFile

TRACES = Path(os.environ.get("FAIRLEAD_TRACES", Path(__file__).resolve().parents[4] / "shared" / "traces"))


def trace(name):
    path = TRACES / name
    if not path.exists():
        pytest.skip(f"no trace {path}; FAIRLEAD_TRACES names the folder")
    return path


@pytest.mark.parametrize(
    ("name", "format_name", "requests", "prompt", "output"),
    [
        ("azure_llm_2023_conv.csv", "azure", 19_366, 1155, 211),
        ("azure_llm_2023_code.csv", "azure", 8_819, 2048, 28),
        ("mooncake_conversation.jsonl", "mooncake", 12_031, 12_035, 343),
    ],
)
def test_reading(name, format_name, requests, prompt, output):
    file = TraceFile(trace(name))
    read = list(file)
    assert file.format.name == format_name
    assert len(read) == requests
    assert round(sum(r.prompt_tokens for r in read) / requests) == prompt
    assert round(sum(r.output_tokens for r in read) / requests) == output
    assert 3400 < read[-1].time_s < 3600


def test_ten_minutes_of_mooncake_on_small_caches():
    spec = TraceSpec(path=str(trace("mooncake_conversation.jsonl")), duration_s=600, speed=4)
    sink = ListedRecords()
    summary = run_study(Scenario(trace=spec, pools=(PoolSpec(replicas=4, accelerator="L40S"),)), records=sink)
    given = {(r.prompt_tokens, r.output_tokens) for r in TraceFile(Path(spec.path)) if r.time_s < 600}
    assert {(r[9], r[10]) for r in sink.records} == given
    assert summary.finished == summary.arrived == len(sink.records)
    assert sum(r[11] for r in sink.records) == summary.output_tokens
    assert 0 < summary.prefix_hit_rate < 0.5
    assert summary.preemptions > 0
