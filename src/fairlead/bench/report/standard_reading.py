"""Other tools' Benchmark Reports v0.2 as summaries, so that they can be shown and compared as our own are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from fairlead.bench.report.standard_schema import READ_VERSIONS, STATISTIC_FIELDS, Report, Statistics
from fairlead.bench.summary import ClientHealth, Distribution, Metrics, RunSummary, StageSummary, Verdict

NAN = math.nan
UNKNOWN_CLIENT = ClientHealth(NAN, NAN, NAN, NAN, NAN)
"""Another tool does not say what it was like itself."""


def is_standard(document: object) -> bool:
    """Whether this is a report of that kind, of any version."""
    return isinstance(document, Mapping) and "version" in document and "results" in document and "run" in document


def summary_of(document: Mapping[str, object]) -> RunSummary:
    """One stage; what the report does not say is absent. Raises ValueError."""
    version = str(document.get("version"))
    if version not in READ_VERSIONS:
        raise ValueError(f"version is {version!r}: Benchmark Reports of {' and '.join(READ_VERSIONS)} are read")
    try:
        report = msgspec.convert(document, Report, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a Benchmark Report v{version}: {error}") from error
    performance = report.results.request_performance
    if performance is None or performance.aggregate is None or performance.aggregate.requests is None:
        raise ValueError("results.request_performance.aggregate.requests is missing: there is nothing to read")
    load = report.scenario.load if report.scenario is not None else None
    asked = load.standardized if load is not None else None
    metrics = _metrics(report)
    of, intended = _asked(report)
    stage = StageSummary(
        asked.stage if asked is not None else 0,
        (load.metadata.description if load is not None else None) or "",
        of, intended, metrics.requests_per_s, 0.0, metrics.seconds, metrics, UNKNOWN_CLIENT, _verdict(report),
    )  # fmt: skip
    run = report.run
    began = str(run.time.start or "") if run.time is not None else ""
    config = load.native.config if load is not None and asked is not None and asked.tool == "fairlead" else None
    return RunSummary(
        run.eid or run.uid, run.description or run.uid, began, metrics.seconds,
        "complete", "", config if isinstance(config, dict) else {},
        {"tool": f"{asked.tool} {asked.tool_version}"} if asked is not None else {}, (stage,),
        notes=(f"read from a Benchmark Report v{version}: single requests and the client's state are not in it",),
    )  # fmt: skip


def summary_of_all(reports: Sequence[RunSummary]) -> RunSummary:
    """Reports of one experiment, a stage each, as one run; their order is that of their stages' numbers. Raises
    ValueError where they are not of one experiment."""
    first = reports[0]
    if others := sorted({each.id for each in reports} - {first.id}):
        raise ValueError(
            f"Benchmark Reports of {len(others) + 1} experiments, {first.id} and {others[0]}: give one of them"
        )
    stages = sorted((stage for each in reports for stage in each.stages), key=lambda stage: stage.index)
    if len({stage.index for stage in stages}) != len(stages):
        stages = [msgspec.structs.replace(stage, index=number) for number, stage in enumerate(stages)]
    # A sweep's stages were one after the other: the whole took as long as all of them.
    seconds = sum(stage.metrics.seconds for stage in stages)
    return msgspec.structs.replace(first, stages=tuple(stages), seconds=seconds)


def _asked(report: Report) -> tuple[str, float]:
    """What was asked, and of what: as Fairlead said it, else as the schema has it."""
    own = _own(report).get("load")
    if isinstance(own, Mapping) and own.get("of") in ("rate", "users", "trace"):
        intended = own.get("intended")
        return str(own["of"]), float(intended) if isinstance(intended, int | float) else NAN
    load = report.scenario.load if report.scenario is not None else None
    asked = load.standardized if load is not None else None
    if asked is not None and asked.rate_qps is not None and asked.rate_qps < math.inf:
        return "rate", asked.rate_qps
    if asked is not None and asked.concurrency is not None and asked.concurrency < math.inf:
        return "users", asked.concurrency
    return "trace", NAN


def _own(report: Report) -> Mapping[str, object]:
    """What Fairlead keeps in a report where the schema has no place for it."""
    found = report.results.profiling
    own = found.get("fairlead") if isinstance(found, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def _verdict(report: Report) -> Verdict:
    """Fairlead's own, where it wrote the report; others do not judge themselves."""
    verdict = _own(report).get("verdict")
    try:
        return msgspec.convert(verdict, Verdict) if isinstance(verdict, Mapping) else Verdict(True)
    except msgspec.ValidationError:
        return Verdict(True)


def _metrics(report: Report) -> Metrics:
    performance = report.results.request_performance
    assert performance is not None and performance.aggregate is not None
    requests, latency, throughput = (
        performance.aggregate.requests, performance.aggregate.latency, performance.aggregate.throughput,
    )  # fmt: skip
    assert requests is not None
    failed = {"FAILED": requests.failures or 0, "INCOMPLETE": requests.incomplete or 0}
    whole = requests.total - sum(failed.values())

    def of(field: str) -> Distribution | None:
        return _distribution(getattr(latency, field), whole) if latency is not None else None

    def rate(field: str) -> float:
        statistics = getattr(throughput, field) if throughput is not None else None
        return statistics.mean if statistics is not None else NAN

    per_s = rate("request_rate")
    return Metrics(
        requests.total, whole, {name: count for name, count in failed.items() if count},
        whole / per_s if per_s > 0 else NAN, per_s, rate("input_token_rate"), rate("output_token_rate"),
        ttft=of("time_to_first_token"), tpot=of("time_per_output_token"),
        ntpot=of("normalized_time_per_output_token"), itl=of("inter_token_latency"), e2e=of("request_latency"),
        prompt_tokens=_distribution(requests.input_length, whole),
        output_tokens=_distribution(requests.output_length, whole), counted_by=_counted_by(report),
    )  # fmt: skip


def _counted_by(report: Report) -> str:
    """Another tool does not say whose counts of tokens its figures are of."""
    said = _own(report).get("tokens_counted_by")
    return said if isinstance(said, str) else "unknown"


def _distribution(given: Statistics | None, count: int) -> Distribution | None:
    if given is None or count <= 0:
        return None
    # Milliseconds become the seconds that we keep.
    scale = 1e-3 if given.units in ("ms", "ms/token") else 1.0
    named = {p: getattr(given, field) for p, field in STATISTIC_FIELDS.items()}

    def scaled(value: float | None) -> float:
        return NAN if value is None else value * scale

    return Distribution(
        count, "s" if scale != 1.0 or given.units.startswith("s") else "tokens", given.mean * scale,
        scaled(given.stddev), scaled(given.min), scaled(given.max),
        {p: v * scale for p, v in named.items() if v is not None},
    )  # fmt: skip
