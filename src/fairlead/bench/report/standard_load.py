"""The scenario of a Benchmark Report: who was asked, and what, as far as it is known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import msgspec

from fairlead.bench.report.standard_schema import (
    Component,
    ComponentMetadata,
    Load,
    LoadMetadata,
    LoadStandardized,
    MultiTurn,
    Native,
    Prefix,
    Scenario,
    SequenceLength,
)
from fairlead.bench.summary import Distribution, RunSummary, StageSummary

UNKNOWN = "unknown"


def scenario(run: RunSummary, stage: StageSummary) -> Scenario:
    return Scenario(stack=_stack(run) or None, load=_load(run, stage))


def target_labels(config: Mapping[str, object]) -> list[str]:
    """The name of each target, by which results refer to it; each of its own."""
    targets = config.get("targets")
    given = targets if isinstance(targets, list | tuple) else []
    labels: list[str] = []
    for number, target in enumerate(given):
        label = str((target.get("name") if isinstance(target, Mapping) else "") or f"target-{number}")
        labels.append(label if label not in labels else f"{label}-{number}")
    return labels


def is_multi_turn(run: RunSummary) -> bool:
    """Whether requests follow each other: as asked for, or as it was."""
    content = _part(run.config, "content")
    asked = bool(content.get("conversations") or content.get("tools"))
    return asked or any(turn > 0 for stage in run.stages for turn in stage.by_turn)


def _stack(run: RunSummary) -> list[Component]:
    """Targets, and whatever else said something of itself: of a server that was only seen from outside nothing is
    claimed."""
    config = run.config
    server = _part(config, "server")
    targets = config.get("targets")
    stack = []
    for label, target in zip(target_labels(config), targets if isinstance(targets, list | tuple) else (), strict=True):
        seen: dict[str, object] = {"url": target.get("url"), "api": target.get("api", "chat")}
        seen["model"] = {"name": target.get("model", "")}
        if server.get("accelerator"):
            seen["accelerator"] = {"model": server["accelerator"], "count": server.get("accelerators")}
        stack.append(_component(label, seen, target))
    labels = {component.metadata.label for component in stack}
    engines = [label for seen in (run.server_side.stages if run.server_side else ()) for label in seen.by_engine]
    for source in dict.fromkeys([*(series.source for series in run.server), *engines]):
        if source not in labels:
            stack.append(_component(source, {}, {"source": source}))
    return stack


def _component(label: str, seen: Mapping[str, object], config: object) -> Component:
    return Component(
        metadata=ComponentMetadata(label=label, cfg_id=_hash(config)),
        standardized={"kind": "generic", "tool": UNKNOWN, "tool_version": UNKNOWN, **seen},
        native=Native(config=config),
    )


def _load(run: RunSummary, stage: StageSummary) -> Load:
    config, metrics = run.config, stage.metrics
    content = _part(config, "content")
    kind = content.get("kind", "synthetic" if config else "")
    source = {"synthetic": "random", "": UNKNOWN}.get(str(kind), "sampled")
    # What is configured is the new part of a prompt: beginnings and former turns come on top.
    plain = not (content.get("prefixes") or is_multi_turn(run))
    workers = config.get("workers")
    standardized = LoadStandardized(
        tool=str(run.environment.get("tool", "fairlead")).partition(" ")[0],
        tool_version=str(run.environment.get("fairlead", UNKNOWN)),
        parallelism=workers if isinstance(workers, int) and workers >= 1 else 1,
        source=source,
        stage=max(0, stage.index),
        input_seq_len=lengths(content.get("prompt_tokens") if plain else None, metrics.prompt_tokens)
        or SequenceLength(distribution="other", value=0.0),
        output_seq_len=lengths(content.get("output_tokens"), None),
        prefix=_prefix(content, stage),
        multi_turn=_multi_turn(content) if is_multi_turn(run) else None,
        rate_qps=_rate(run, stage),
        concurrency=math.ceil(stage.intended) if stage.of == "users" and 1 <= stage.intended < math.inf else None,
    )
    return Load(
        metadata=LoadMetadata(cfg_id=_hash(config), description=_said(run, stage) or None),
        standardized=standardized,
        native=Native(args=_arguments(run), config=config),
    )


def _rate(run: RunSummary, stage: StageSummary) -> float | None:
    """Requests per second as asked for. Of sessions the rate is theirs, and of requests it is not known beforehand."""
    if stage.of not in ("rate", "trace") or is_multi_turn(run) or not 0 < stage.intended < math.inf:
        return None
    asked = _open_stage(run, stage)
    to = asked.get("to_rate_per_s")
    return (stage.intended + to) / 2 if isinstance(to, int | float) else stage.intended


def _open_stage(run: RunSummary, stage: StageSummary) -> Mapping[str, object]:
    load = _part(run.config, "load")
    given = load.get("stages") if load.get("kind") == "open" else None
    if isinstance(given, list | tuple) and 0 <= stage.index < len(given) and isinstance(given[stage.index], Mapping):
        found: Mapping[str, object] = given[stage.index]
        return found
    return {}


def _said(run: RunSummary, stage: StageSummary) -> str:
    """The stage in words: its name, what its rate is of, and what a search made of it."""
    said = [stage.name]
    if stage.of == "rate" and is_multi_turn(run):
        said.append(f"{stage.intended:g} sessions/s")
    if stage.of == "trace":
        said.append("at the times of a trace, rate_qps is the mean")
    for step in run.search.steps if run.search is not None else ():
        if step.stage == stage.index:
            said.append(f"search for the highest {run.search.of if run.search else ''}: {step.decision}, {step.why}")
    return "; ".join(s for s in said if s)


def _arguments(run: RunSummary) -> dict[str, object] | None:
    command = run.environment.get("command")
    return {"command": command} if isinstance(command, str) and command else None


def _multi_turn(content: Mapping[str, object]) -> MultiTurn:
    turns = _part(content, "conversations").get("turns")
    return MultiTurn(enabled=True, max_turns=lengths(turns, None))


def _prefix(content: Mapping[str, object], stage: StageSummary) -> Prefix | None:
    """The first level of shared beginnings are groups, those under one of them its prefixes. Users of a group: of
    requests at a rate each has a user of its own."""
    levels = [level for level in _list(content.get("prefixes")) if isinstance(level, Mapping)]
    found = [lengths(level.get("tokens"), None) for level in levels]
    if not levels or any(each is None for each in found):
        return None
    counts = [count if isinstance(count := level.get("count"), int) else 1 for level in levels]
    users = stage.intended if stage.of == "users" else float(stage.metrics.requests)
    whole = [each for each in found if each is not None]
    length = whole[0] if len(whole) == 1 else SequenceLength(distribution="other", value=sum(w.value for w in whole))
    return Prefix(
        prefix_len=length,
        num_groups=max(1, counts[0]),
        num_users_per_group=max(1, round(users / max(1, counts[0]))) if math.isfinite(users) else 1,
        num_prefixes=max(1, math.prod(counts[1:])),
    )


def lengths(given: object, measured: Distribution | None) -> SequenceLength | None:
    """As configured; else as measured; None where there is neither."""
    if isinstance(given, int | float):
        return SequenceLength(distribution="fixed", value=float(given))
    if isinstance(given, Mapping):
        kind = given.get("kind")
        if kind == "fixed":
            return SequenceLength(distribution="fixed", value=given["tokens"])
        if kind == "uniform":
            low, high = given["low"], given["high"]
            return SequenceLength(distribution="uniform", value=(low + high) / 2, min=low, max=max(1, high))
        if "mean" in given:
            deviation = given["mean"] * given.get("cv", 1.0)
            return SequenceLength(distribution="other", value=given["mean"], std_dev=deviation)
    if measured is None or not 0 <= measured.mean < math.inf:
        return None
    return SequenceLength(
        distribution="other",
        value=measured.mean,
        std_dev=measured.stddev if 0 <= measured.stddev < math.inf else None,
        min=math.floor(measured.minimum) if 0 <= measured.minimum < math.inf else None,
        max=max(1, math.ceil(measured.maximum)) if measured.maximum < math.inf else None,
    )


def _part(of: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _hash(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]
