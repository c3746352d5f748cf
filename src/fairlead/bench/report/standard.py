"""llm-d's Benchmark Report of a run: one report a stage, as its schema v0.2 or v0.2.1 has it.

What is not known is left out: nothing says tp 1 of a server that was only ever seen from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.bench.report.standard_health import component_health
from fairlead.bench.report.standard_load import scenario
from fairlead.bench.report.standard_observed import observability
from fairlead.bench.report.standard_schema import (
    VERSION,
    Aggregate,
    Latency,
    Report,
    RequestPerformance,
    Requests,
    Results,
    Run,
    RunTime,
    SessionPerformance,
    Throughput,
)
from fairlead.bench.report.standard_series import session_performance, stamp, time_series, when
from fairlead.bench.report.standard_server import server_said
from fairlead.bench.report.standard_statistics import numbers_only, rate, statistics_of
from fairlead.bench.results.grid import Grid
from fairlead.bench.results.sessions import Sessions
from fairlead.bench.summary import Metrics, RunSummary, StageSummary

INCOMPLETE = ("ABORTED", "LOST")
"""Outcomes that are the client's doing, not the server's."""


def standard_reports(
    run: RunSummary,
    grids: Mapping[int, Grid] | None = None,
    sessions: Mapping[int, Sessions] | None = None,
    version: str = VERSION,
) -> list[Report]:
    """A report for each stage. `grids` and `sessions`, by stage, are of the run's records: without them there are no
    time series and no sessions."""
    return [_report(run, stage, (grids or {}).get(stage.index), (sessions or {}).get(stage.index), version)
            for stage in run.stages]  # fmt: skip


def standard_document(report: Report) -> dict[str, Any]:
    """As plain data, of which JSON and YAML are made: nothing in it is infinite, or no number."""
    document = numbers_only(msgspec.to_builtins(report))
    assert isinstance(document, dict)
    return document


def standard_yaml(report: Report) -> str:
    import yaml

    # The same in C, where it is there: a report has thousands of numbers.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(standard_document(report), Dumper=dumper, sort_keys=False, allow_unicode=True))


def _report(run: RunSummary, stage: StageSummary, grid: Grid | None, sessions: Sessions | None, version: str) -> Report:
    by_session = session_performance(sessions)
    return Report(
        version=version,
        run=_run(run, stage),
        scenario=scenario(run, stage),
        results=Results(
            request_performance=RequestPerformance(
                aggregate=_aggregate(stage.metrics), time_series=time_series(run, grid)
            ),
            session_performance=by_session if version != "0.2" else None,
            observability=observability(run, stage, version),
            component_health=component_health(run, stage),
            profiling={"fairlead": _own(run, stage) | _of_sessions(by_session, version)},
        ),
    )


def _run(run: RunSummary, stage: StageSummary) -> Run:
    time = None
    if (began := when(run.began)) is not None:
        time = RunTime(
            start=stamp(began, stage.begin_s),
            end=stamp(began, stage.end_s),
            duration=f"PT{max(0.0, stage.end_s - stage.begin_s):.3f}S",
        )
    said = [str(run.config.get("description") or run.name or "")]
    if not stage.verdict.valid:
        said.insert(0, f"INVALID, the client and not the server was measured: {'; '.join(stage.verdict.reasons)}")
    if run.ended != "complete":
        said.append(f"The run was {run.ended}: {run.why_ended}")
    labels = run.config.get("labels")
    keywords = [f"{key}={value}" for key, value in labels.items()] if isinstance(labels, Mapping) else []
    host = run.environment.get("host")
    return Run(
        uid=f"{run.id}-{stage.index}",
        eid=run.id,
        pid=str(host) if host else None,
        time=time,
        description=". ".join(s for s in said if s) or None,
        keywords=[*([] if stage.verdict.valid else ["INVALID"]), *keywords] or None,
    )


def _aggregate(metrics: Metrics) -> Aggregate:
    incomplete = sum(metrics.failures.get(name, 0) for name in INCOMPLETE)
    return Aggregate(
        requests=Requests(
            total=metrics.requests,
            failures=sum(metrics.failures.values()) - incomplete,
            incomplete=incomplete,
            input_length=statistics_of(metrics.prompt_tokens, "count"),
            output_length=statistics_of(metrics.output_tokens, "count"),
        ),
        latency=Latency(
            time_to_first_token=statistics_of(metrics.ttft, "s"),
            normalized_time_per_output_token=statistics_of(metrics.ntpot, "s/token"),
            time_per_output_token=statistics_of(metrics.tpot, "s/token"),
            inter_token_latency=statistics_of(metrics.itl, "s/token"),
            request_latency=statistics_of(metrics.e2e, "s"),
        ),
        throughput=Throughput(
            input_token_rate=rate(metrics.prompt_tokens_per_s, "tokens/s"),
            output_token_rate=rate(metrics.output_tokens_per_s, "tokens/s"),
            total_token_rate=rate(metrics.prompt_tokens_per_s + metrics.output_tokens_per_s, "tokens/s"),
            request_rate=rate(metrics.requests_per_s, "queries/s"),
        ),
    )


def _own(run: RunSummary, stage: StageSummary) -> dict[str, object]:
    """What the schema has no place for: verdict, the client's own state, goodput, what makes figures differ from what
    they seem to say, latencies from when a request was due, and each target, adapter and turn by itself."""
    metrics = stage.metrics
    return {
        "load": {"of": stage.of, "intended": stage.intended},
        "verdict": msgspec.to_builtins(stage.verdict),
        "client": msgspec.to_builtins(stage.client),
        "goodput": msgspec.to_builtins(metrics.goodput),
        "failures": dict(metrics.failures),
        "answers": msgspec.to_builtins(metrics.answers),
        "drift": msgspec.to_builtins(stage.drift),
        "achieved_rate": stage.achieved_rate_per_s,
        "tokens_counted_by": metrics.counted_by,
        "from_due": _seconds(metrics, {"time_to_first_token": "ttft_from_due", "request_latency": "e2e_from_due"}),
        "at_least": _seconds(metrics, {"request_latency": "e2e_at_least"}),
        **{
            name: {str(key): msgspec.to_builtins(_aggregate(of)) for key, of in parts.items()}
            for name, parts in (
                ("by_target", stage.by_target), ("by_adapter", stage.by_adapter), ("by_turn", stage.by_turn),
            )
            if parts
        },
        **({"search": _searched(run)} if run.search is not None else {}),
        **server_said(run, stage),
    }  # fmt: skip


def _seconds(metrics: Metrics, fields: Mapping[str, str]) -> dict[str, object]:
    found = {name: statistics_of(getattr(metrics, field), "s") for name, field in fields.items()}
    return {name: msgspec.to_builtins(value) for name, value in found.items() if value is not None}


def _of_sessions(of: SessionPerformance | None, version: str) -> dict[str, object]:
    """The published JSON Schema of v0.2 has no place for sessions, its models and v0.2.1 have one."""
    return {"session_performance": msgspec.to_builtins(of)} if of is not None and version == "0.2" else {}


def _searched(run: RunSummary) -> dict[str, object]:
    found = run.search
    assert found is not None
    return {"of": found.of, "best": found.best, "failed": found.failed, "why_ended": found.why_ended}
