"""llm-d's Benchmark Report v0.2 of a run: one report a stage, as its schema has it.

What is not known is left out: nothing says tp 1 of a server that was only ever seen from outside.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import fmean, pstdev

import msgspec

from fairlead.bench.report.standard_schema import (
    STATISTIC_FIELDS,
    VERSION,
    Aggregate,
    Component,
    ComponentMetadata,
    Latency,
    Load,
    LoadMetadata,
    LoadStandardized,
    MultiTurn,
    Native,
    Report,
    RequestPerformance,
    Requests,
    Results,
    Run,
    RunTime,
    Scenario,
    SequenceLength,
    Statistics,
    Throughput,
)
from fairlead.bench.summary import Distribution, Metrics, RunSummary, Series, StageSummary

INCOMPLETE = ("ABORTED", "LOST")
"""Outcomes that are the client's doing, not the server's."""


def standard_reports(run: RunSummary) -> list[Report]:
    """A report for each stage."""
    return [_report(run, stage) for stage in run.stages]


def standard_yaml(report: Report) -> str:
    """As YAML; JSON's absent numbers do not occur."""
    import yaml

    return yaml.safe_dump(msgspec.to_builtins(report), sort_keys=False, allow_unicode=True)


def _report(run: RunSummary, stage: StageSummary) -> Report:
    return Report(
        version=VERSION,
        run=_run(run, stage),
        scenario=Scenario(stack=_stack(run.config), load=_load(run, stage)),
        results=Results(
            request_performance=RequestPerformance(aggregate=_aggregate(stage.metrics)),
            observability=_observability(run.server, stage),
            profiling={"fairlead": _own(stage)},
        ),
    )


def _run(run: RunSummary, stage: StageSummary) -> Run:
    time = None
    if run.began:
        began = datetime.fromisoformat(run.began)
        start, end = (began + timedelta(seconds=s) for s in (stage.begin_s, stage.end_s))
        time = RunTime(
            start=start.isoformat(), end=end.isoformat(), duration=f"PT{max(0.0, stage.end_s - stage.begin_s):.3f}S"
        )
    said = [str(run.config.get("description") or run.name or "")]
    if not stage.verdict.valid:
        said.insert(0, f"INVALID, the client and not the server was measured: {'; '.join(stage.verdict.reasons)}")
    if run.ended != "complete":
        said.append(f"The run was {run.ended}: {run.why_ended}")
    labels = run.config.get("labels")
    keywords = [f"{key}={value}" for key, value in labels.items()] if isinstance(labels, dict) else []
    return Run(
        uid=f"{run.id}-{stage.index}",
        eid=run.id,
        time=time,
        description=". ".join(s for s in said if s) or None,
        keywords=keywords or None,
    )


def _stack(config: Mapping[str, object]) -> list[Component] | None:
    targets = config.get("targets")
    if not isinstance(targets, list | tuple):
        return None
    stack = []
    server = config.get("server")
    for number, target in enumerate(targets):
        seen = {"url": target.get("url"), "model": {"name": target.get("model", "")}, "api": target.get("api", "chat")}
        if isinstance(server, dict) and server.get("accelerator"):
            seen["accelerator"] = {"model": server["accelerator"], "count": server.get("accelerators")}
        label = str(target.get("name") or f"target-{number}")
        stack.append(
            Component(
                metadata=ComponentMetadata(label=label, cfg_id=_hash(target)),
                standardized={"kind": "generic", "tool": "unknown", "tool_version": "unknown", **seen},
                native=Native(config=target),
            )
        )
    return stack


def _load(run: RunSummary, stage: StageSummary) -> Load:
    content = run.config.get("content")
    content = content if isinstance(content, dict) else {}
    kind = content.get("kind", "synthetic" if run.config else "")
    source = {"synthetic": "random", "": "unknown"}.get(str(kind), "sampled")
    metrics = stage.metrics
    workers = run.config.get("workers")
    standardized = LoadStandardized(
        tool="fairlead",
        tool_version=str(run.environment.get("fairlead", "unknown")),
        parallelism=workers if isinstance(workers, int) else 1,
        source=source,
        stage=stage.index,
        input_seq_len=_lengths(content.get("prompt_tokens"), metrics.prompt_tokens)
        or SequenceLength(distribution="other", value=0.0),
        output_seq_len=_lengths(content.get("output_tokens"), None),
        multi_turn=MultiTurn(enabled=True) if content.get("conversations") or content.get("tools") else None,
        rate_qps=stage.intended if stage.of == "rate" and stage.intended > 0 else None,
        concurrency=math.ceil(stage.intended) if stage.of == "users" and stage.intended >= 1 else None,
    )
    return Load(
        metadata=LoadMetadata(cfg_id=_hash(run.config), description=stage.name or None),
        standardized=standardized,
        native=Native(config=run.config),
    )


def _lengths(given: object, measured: Distribution | None) -> SequenceLength | None:
    """As configured; else as measured; None where there is neither."""
    if isinstance(given, dict):
        kind = given.get("kind")
        if kind == "fixed":
            return SequenceLength(distribution="fixed", value=given["tokens"])
        if kind == "uniform":
            low, high = given["low"], given["high"]
            return SequenceLength(distribution="uniform", value=(low + high) / 2, min=low, max=high)
        if "mean" in given:
            deviation = given["mean"] * given.get("cv", 1.0)
            return SequenceLength(distribution="other", value=given["mean"], std_dev=deviation)
    if measured is None:
        return None
    return SequenceLength(
        distribution="other",
        value=measured.mean,
        std_dev=_known(measured.stddev),
        min=int(measured.minimum),
        max=max(1, math.ceil(measured.maximum)),
    )


def _aggregate(metrics: Metrics) -> Aggregate:
    incomplete = sum(metrics.failures.get(name, 0) for name in INCOMPLETE)
    return Aggregate(
        requests=Requests(
            total=metrics.requests,
            failures=sum(metrics.failures.values()) - incomplete,
            incomplete=incomplete,
            input_length=_statistics(metrics.prompt_tokens, "count"),
            output_length=_statistics(metrics.output_tokens, "count"),
        ),
        latency=Latency(
            time_to_first_token=_statistics(metrics.ttft, "s"),
            normalized_time_per_output_token=_statistics(metrics.ntpot, "s/token"),
            time_per_output_token=_statistics(metrics.tpot, "s/token"),
            inter_token_latency=_statistics(metrics.itl, "s/token"),
            request_latency=_statistics(metrics.e2e, "s"),
        ),
        throughput=Throughput(
            input_token_rate=Statistics(units="tokens/s", mean=metrics.prompt_tokens_per_s),
            output_token_rate=Statistics(units="tokens/s", mean=metrics.output_tokens_per_s),
            total_token_rate=Statistics(
                units="tokens/s", mean=metrics.prompt_tokens_per_s + metrics.output_tokens_per_s
            ),
            request_rate=Statistics(units="queries/s", mean=metrics.requests_per_s),
        ),
    )


def _statistics(of: Distribution | None, units: str) -> Statistics | None:
    if of is None or not of.count:
        return None
    named = {STATISTIC_FIELDS[p]: v for p, v in of.percentiles.items() if p in STATISTIC_FIELDS and math.isfinite(v)}
    return Statistics(
        units=units,
        mean=of.mean,
        stddev=_known(of.stddev),
        min=_known(of.minimum),
        max=_known(of.maximum),
        **named,
    )


def _observability(server: tuple[Series, ...], stage: StageSummary) -> dict[str, object] | None:
    """What servers said during the stage, by the signal's name and who said it."""
    signals: dict[str, dict[str, list[object]]] = {}
    for series in server:
        pairs = zip(series.times_s, series.values, strict=True)
        values = [v for t, v in pairs if v is not None and stage.begin_s <= t <= stage.end_s]
        if values:
            statistics = {
                "units": series.unit, "mean": fmean(values), "stddev": pstdev(values), "min": min(values),
                "max": max(values),
            }  # fmt: skip
            entry = {"component_id": series.source, "statistics": statistics}
            signals.setdefault(series.name, {"components": []})["components"].append(entry)
    # `components` is a field of the schema, with a shape of its own.
    return {name if name != "components" else "signal_components": said for name, said in signals.items()} or None


def _own(stage: StageSummary) -> object:
    """What the schema has no place for: verdict, the client's own state, goodput, latencies from when a request was
    due."""
    metrics = stage.metrics
    from_due = {
        name: msgspec.to_builtins(_statistics(value, "s"))
        for name, value in (("time_to_first_token", metrics.ttft_from_due), ("request_latency", metrics.e2e_from_due))
        if value is not None
    }
    return {
        "verdict": msgspec.to_builtins(stage.verdict),
        "client": msgspec.to_builtins(stage.client),
        "goodput": msgspec.to_builtins(metrics.goodput),
        "failures": dict(metrics.failures),
        "achieved_rate": stage.achieved_rate_per_s,
        "tokens_counted_by": metrics.counted_by,
        "from_due": from_due,
    }


def _hash(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
