"""The Benchmark Report against the shape that its schema publishes: names, nesting, what is required, units."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings

from bench.report.made import one_run, records, runs
from bench.report.standard_shape import MORE_UNITS, UNITS, problems, structs
from fairlead.bench.records.parquet import write_parquet
from fairlead.bench.report.files import write_report
from fairlead.bench.report.standard import standard_reports, standard_yaml
from fairlead.bench.report.standard_reading import summary_of
from fairlead.bench.results.store import Kept, load
from fairlead.bench.summary import RunSummary, Series

VERSIONS = ("0.2", "0.2.1")
ROOT = Path(__file__).parents[4]
PUBLISHED = Path(os.environ.get("FAIRLEAD_CONFORMANCE", ROOT / "shared" / "conformance")) / "benchmark-report"


def documents(run: RunSummary, version: str = "0.2") -> list[dict[str, Any]]:
    """As a reader has them: of the text, which JSON could have too."""
    found = [yaml.safe_load(standard_yaml(report)) for report in standard_reports(run, version=version)]
    return [json.loads(json.dumps(document, allow_nan=False)) for document in found]


@settings(max_examples=15, deadline=None)
@given(runs())
def test_every_report_has_the_published_shape(run: RunSummary) -> None:
    for version in VERSIONS:
        for document in documents(run, version):
            assert problems(document, version) == []
            load = document["scenario"]["load"]["standardized"]
            assert load.get("rate_qps", 1) > 0 and load.get("concurrency", 1) >= 1
            labels = [component["metadata"]["label"] for component in document["scenario"].get("stack", [])]
            assert len(set(labels)) == len(labels)
            for component in document["results"].get("observability", {}).get("components", []):
                assert component["component_label"] in labels


def test_the_check_of_shapes_finds_what_is_wrong() -> None:
    document = documents(one_run())[0]
    assert problems(document, "0.2") == []
    document["run"].pop("uid")
    document["results"]["request_performance"]["aggregate"]["latency"]["time_to_first_token"]["units"] = "count"
    document["scenario"]["load"]["extra"] = 1
    document["results"]["session_performance"] = {"sessions": {"total": -1}}
    assert len(problems(document, "0.2")) == 4 and len(problems(document, "0.2.1")) == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shape_is_the_published_one(version: str) -> None:
    file = PUBLISHED / f"br_v{version.replace('.', '_')}_json_schema.json"
    if not file.is_file():
        pytest.skip(f"{file} is not there: set FAIRLEAD_CONFORMANCE to the folder with llm-d-benchmark's schemas")
    published = json.loads(file.read_text())
    known = structs(version)
    for name, struct in {"Report": published, **published["$defs"]}.items():
        if struct.get("type") != "object":
            continue
        fields, required = set(struct["properties"]), set(struct.get("required", []))
        assert fields == set(known[name]) - {"*"}, name
        assert required == {field for field, kind in known[name].items() if kind.endswith("!")}, name
        assert ("*" in known[name]) == (struct.get("additionalProperties") is not False), name
    assert published["$defs"]["Units"]["enum"] is not None
    assert {*UNITS, *(MORE_UNITS if version != "0.2" else ())} == set(published["$defs"]["Units"]["enum"])


@settings(max_examples=15, deadline=None)
@given(runs())
def test_what_is_written_is_read_back(run: RunSummary) -> None:
    for stage, document in zip(run.stages, documents(run), strict=True):
        read = summary_of(document).stages[0]
        assert (read.of, read.verdict) == (stage.of, stage.verdict)
        assert read.intended == stage.intended or math.isnan(stage.intended)
        assert (read.metrics.requests, read.metrics.whole) == (stage.metrics.requests, stage.metrics.whole)
        if stage.metrics.ttft is not None and read.metrics.ttft is not None:
            assert read.metrics.ttft.percentiles == pytest.approx(stage.metrics.ttft.percentiles)


def test_what_a_prompt_has_besides_its_new_part_is_in_its_length() -> None:
    def fixed(tokens: int) -> dict[str, object]:
        return {"kind": "fixed", "tokens": tokens}

    levels = [{"count": 8, "tokens": fixed(500)}, {"count": 3, "tokens": fixed(20)}]
    prefixes = {"kind": "synthetic", "prompt_tokens": fixed(64), "prefixes": levels}
    of = documents(one_run(config={"content": prefixes}))[0]["scenario"]["load"]["standardized"]
    assert of["prefix"] == {
        "prefix_len": {"distribution": "other", "value": 520.0},
        "num_groups": 8,
        "num_users_per_group": 125,
        "num_prefixes": 3,
    }
    # There are no measured lengths in this run, and 64 would be wrong.
    assert of["input_seq_len"] == {"distribution": "other", "value": 0.0}


def test_signals_are_fields_of_components_where_the_schema_has_them() -> None:
    series = (
        Series("e", "kv_cache_usage", "fraction", (1.0, 40.0), (0.5, 0.9)),
        Series("e", "running_requests", "count", (1.0,), (3.0,)),
        Series("e", "speed", "1/s", (1.0,), (7.0,)),
    )
    for version in VERSIONS:
        seen = documents(one_run(server=series), version)[0]["results"]["observability"]
        (component,) = seen["components"]
        # What was seen after the stage is not of it.
        assert component["aggregate"]["kv_cache_usage"]["mean"] == 0.5
        assert (
            component["aggregate"]["running_requests"] | {"units": "count", "mean": 3.0}
            == (component["aggregate"]["running_requests"])
        )
        assert [p["ts"] for p in component["time_series"]["kv_cache_usage"]["series"]] == ["2026-11-29T10:00:01+00:00"]
        assert ("num_requests_running" in component["time_series"]) == (version == "0.2.1")
        assert seen["speed"]["components"][0]["statistics"]["mean"] == 7.0


def test_many_engines_make_no_report_of_many_megabytes() -> None:
    times = tuple(k * 0.05 for k in range(600))
    series = tuple(Series(f"e-{k}", "kv_cache_usage", "fraction", times, (0.5,) * 600) for k in range(64))
    (report,) = standard_reports(one_run(server=series))
    document = yaml.safe_load(text := standard_yaml(report))
    assert len(text) < 500_000 and problems(document, "0.2") == []
    shown = document["results"]["observability"]["components"][0]["time_series"]["kv_cache_usage"]["series"]
    assert (shown[0]["ts"][-14:-6], shown[-1]["ts"][-15:-6]) == ("10:00:00", "29.950000")


def test_records_make_time_series_and_sessions(tmp_path: Path) -> None:
    made = [
        msgspec.structs.replace(r, number=r.number // 2, turn=r.number % 2) for r in records(200, 3) if r.due_s < 15
    ]
    (tmp_path / "records").mkdir()
    write_parquet(tmp_path / "records" / "records.parquet", [made])
    one = one_run("a")
    both = {0: one.stages[0].metrics, 1: one.stages[0].metrics}
    run = msgspec.structs.replace(one, stages=(msgspec.structs.replace(one.stages[0], by_turn=both),))
    kept = Kept(run, tmp_path, tmp_path / "records")
    for version, form in (("0.2", "v0.2"), ("0.2.1", "v0.2.1")):
        (file,) = write_report(kept, form, tmp_path)  # type: ignore[arg-type]
        document = json.loads(json.dumps(yaml.safe_load(file.read_text()), allow_nan=False))
        assert problems(document, version) == []
        results = document["results"]
        series = results["request_performance"]["time_series"]["throughput"]["request_rate"]["series"]
        whole = [r for r in made if r.status == 200]
        assert sum(point["value"] for point in series) * 30 / len(series) == pytest.approx(len(whole))
        sessions = (results if version == "0.2.1" else results["profiling"]["fairlead"])["session_performance"][
            "sessions"
        ]
        by_number = {number: [r for r in made if r.number == number] for number in {r.number for r in made}}
        good = [all(r.status == 200 for r in turns) for turns in by_number.values()]
        assert (sessions["total"], sessions["succeeded"]) == (len(good), sum(good))
        assert sessions["total_events"] == len(made) and sessions["total_events_completed"] == len(whole)
        assert sessions["output_tokens_per_session"]["mean"] == pytest.approx(8 * len(whole) / len(good))
        longest = max(max(r.end_s for r in turns) - min(r.due_s for r in turns) for turns in by_number.values())
        assert sessions["session_duration"]["max"] == pytest.approx(longest)


def test_a_folder_of_reports_is_one_run(tmp_path: Path) -> None:
    stage = one_run().stages[0]
    two = tuple(msgspec.structs.replace(stage, index=k, intended=10.0 * (k + 1), name=f"{k}") for k in range(2))
    run = one_run("a", stages=two)
    assert len(write_report(Kept(run, tmp_path), "v0.2", tmp_path)) == 2
    read = load(tmp_path).run
    assert [(s.index, s.intended, s.metrics.requests) for s in read.stages] == [(0, 10.0, 1000), (1, 20.0, 1000)]
    other = tmp_path / "other.yaml"
    other.write_text(standard_yaml(standard_reports(one_run("b"))[0]))
    with pytest.raises(ValueError, match="2 experiments"):
        load(tmp_path)


def test_times_that_yaml_has_made_times_of_are_read() -> None:
    text = """
version: '0.2'
run: {uid: x, time: {start: 2025-11-05T18:00:42Z}}
scenario:
  load:
    metadata: {description: sweep}
    standardized: {tool: inference-perf, tool_version: 0.3.0, source: sampled, rate_qps: 10, concurrency: .inf,
      stage: 3, input_seq_len: {distribution: fixed, value: 2148}}
    native: {config: {}}
results:
  request_performance:
    aggregate: {requests: {total: 500, failures: 0}, latency: {request_latency: {units: s, mean: 0.03}}}
    time_series: {throughput: {request_rate: {units: queries/s, series: [{ts: 2025-11-05T18:01:00Z, value: 204}]}}}
"""
    run = summary_of(yaml.safe_load(text))
    (stage,) = run.stages
    assert (stage.index, stage.of, stage.intended, stage.metrics.counted_by) == (3, "rate", 10.0, "unknown")
    assert run.began.startswith("2025-11-05 18:00:42")


def test_another_tools_milliseconds_become_seconds() -> None:
    ms = {"units": "ms", "mean": 120.0, "p50": 100.0}
    document = {
        "version": "0.2.1",
        "run": {"uid": "x"},
        "results": {
            "request_performance": {"aggregate": {"requests": {"total": 9}, "latency": {"time_to_first_token": ms}}}
        },
    }
    ttft = summary_of(document).stages[0].metrics.ttft
    assert ttft is not None and ttft.percentiles == {50.0: pytest.approx(0.1)} and math.isnan(ttft.stddev)


def test_an_invalid_stage_says_so_where_every_reader_sees_it() -> None:
    from fairlead.bench.summary import Verdict

    run = one_run()
    stage = msgspec.structs.replace(run.stages[0], verdict=Verdict(False, ("client lag",)))
    report = standard_reports(msgspec.structs.replace(run, stages=(stage,)))[0]
    assert report.run.description is not None and report.run.description.startswith("INVALID")


@pytest.mark.parametrize("document", [{"version": "0.1"}, {"version": "0.2", "run": {"uid": "x"}, "results": {}}])
def test_what_cannot_be_read_is_said(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"version is|nothing to read|not a Benchmark"):
        summary_of(document)
