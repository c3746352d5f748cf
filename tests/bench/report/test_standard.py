"""The Benchmark Report against the shape that its schema publishes: names, nesting, what is required, units."""

from __future__ import annotations

import math

import msgspec
import pytest
import yaml
from hypothesis import given, settings

from bench.report.made import one_run, runs
from fairlead.bench.report.standard import standard_reports, standard_yaml
from fairlead.bench.report.standard_reading import summary_of
from fairlead.bench.report.standard_schema import STATISTIC_FIELDS
from fairlead.bench.summary import RunSummary

STATISTICS = {"mean", "mode", "stddev", "min", "max", "units", *STATISTIC_FIELDS.values()}
COUNT, SECONDS, PER_TOKEN, TOKENS_S = {"count"}, {"s", "ms"}, {"s/token", "ms/token"}, {"tokens/s"}
SHAPE = {
    # A struct -> its fields (required with "!"); what follows ":" are the units of a statistic.
    "": "version! run! scenario results!",
    "run": "uid! eid cid pid time user description keywords",
    "run.time": "start end duration",
    "scenario": "stack load",
    "scenario.load": "metadata! standardized! native!",
    "scenario.load.metadata": "schema_version cfg_id description",
    "scenario.load.standardized": "tool! tool_version! parallelism source! stage input_seq_len! output_seq_len prefix "
    "multi_turn rate_qps concurrency",
    "scenario.load.standardized.input_seq_len": "distribution! value! std_dev min max",
    "scenario.load.standardized.output_seq_len": "distribution! value! std_dev min max",
    "scenario.load.native": "args envars config",
    "results": "request_performance session_performance observability profiling component_health",
    "results.request_performance": "aggregate time_series",
    "results.request_performance.aggregate": "requests latency throughput",
    "results.request_performance.aggregate.requests": "total! failures incomplete input_length output_length",
    "results.request_performance.aggregate.latency": "time_to_first_token normalized_time_per_output_token "
    "time_per_output_token inter_token_latency request_latency",
    "results.request_performance.aggregate.throughput": "input_token_rate output_token_rate total_token_rate "
    "request_rate",
}
UNITS = {
    "input_length": COUNT, "output_length": COUNT, "time_to_first_token": SECONDS, "request_latency": SECONDS,
    "normalized_time_per_output_token": PER_TOKEN, "time_per_output_token": PER_TOKEN,
    "inter_token_latency": PER_TOKEN, "input_token_rate": TOKENS_S, "output_token_rate": TOKENS_S,
    "total_token_rate": TOKENS_S, "request_rate": {"queries/s"},
}  # fmt: skip
OPEN = ("scenario.load.native.config", "results.profiling", "results.observability", "scenario.stack")


def problems(value: object, path: str = "") -> list[str]:
    found: list[str] = []
    if path in OPEN or not isinstance(value, dict):
        return found
    leaf = path.rpartition(".")[2]
    if leaf in UNITS:
        found += [f"{path}.{field} is not of a statistic" for field in value if field not in STATISTICS]
        found += [f"{path}: units {value.get('units')}"] if value.get("units") not in UNITS[leaf] else []
        return found + ([f"{path}.mean"] if not math.isfinite(value["mean"]) else [])
    if path not in SHAPE:
        return found
    fields = {field.rstrip("!"): field.endswith("!") for field in SHAPE[path].split()}
    found += [f"{path}.{field} is not in the schema" for field in value if field not in fields]
    found += [f"{path}.{field} is required" for field, required in fields.items() if required and field not in value]
    for field, inner in value.items():
        found += problems(inner, f"{path}.{field}".lstrip("."))
    return found


@settings(max_examples=10, deadline=None)
@given(runs())
def test_every_report_has_the_published_shape(run: RunSummary) -> None:
    for report in standard_reports(run):
        document = yaml.safe_load(standard_yaml(report))
        assert problems(document) == []
        load = document["scenario"]["load"]["standardized"]
        assert load.get("rate_qps", 1) > 0 and load.get("concurrency", 1) >= 1
        assert load["input_seq_len"]["distribution"] in ("fixed", "gaussian", "uniform", "other")
        for component in document["scenario"]["stack"]:
            assert set(component) == {"metadata", "standardized", "native"}
            assert {"label", "cfg_id"} <= set(component["metadata"])
            assert {"kind", "tool", "tool_version"} <= set(component["standardized"])


def test_the_check_of_shapes_finds_what_is_wrong() -> None:
    document = msgspec.to_builtins(standard_reports(one_run())[0])
    document["run"].pop("uid")
    document["results"]["request_performance"]["aggregate"]["latency"]["time_to_first_token"]["units"] = "count"
    document["scenario"]["load"]["extra"] = 1
    assert len(problems(document)) == 3


@settings(max_examples=10, deadline=None)
@given(runs())
def test_what_is_written_is_read_back(run: RunSummary) -> None:
    for stage, report in zip(run.stages, standard_reports(run), strict=True):
        read = summary_of(yaml.safe_load(standard_yaml(report))).stages[0]
        assert (read.of, read.verdict) == (stage.of, stage.verdict)
        assert (read.metrics.requests, read.metrics.whole) == (stage.metrics.requests, stage.metrics.whole)
        if stage.metrics.ttft is not None and read.metrics.ttft is not None:
            assert read.metrics.ttft.percentiles == pytest.approx(stage.metrics.ttft.percentiles)


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
