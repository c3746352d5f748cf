"""Whether two runs may be compared at all: what must be the same, and what merely is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.bench.summary import RunSummary


@dataclass(frozen=True, slots=True)
class Comparable:
    """`refusals` make a comparison meaningless; `notes` are what a reader should know of it."""

    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    same_objective: bool


def comparable(base: RunSummary, other: RunSummary) -> Comparable:
    """Content, tokenizers, API and streaming must be the same. Other models and addresses are what one compares."""
    refusals: list[str] = []
    notes: list[str] = []
    if not base.config or not other.config:
        without = base.id if not base.config else other.id
        notes.append(f"what was asked in {without} is not known: whether it is the same is for you to say")
        return Comparable(tuple(refusals), tuple(notes), False)
    if content := _differences(base.config.get("content"), other.config.get("content"), "content"):
        refusals.append(f"other content: {'; '.join(content[:3])}")
    for field in ("tokenizer", "api", "stream", "force_length"):
        one, two = _of_targets(base, field), _of_targets(other, field)
        if one != two:
            refusals.append(f"targets.{field} is {_said(one)} in {base.id} and {_said(two)} in {other.id}")
    for field in ("model", "url", "parameters"):
        one, two = _of_targets(base, field), _of_targets(other, field)
        if one != two:
            notes.append(f"targets.{field} is {_said(one)} in {base.id} and {_said(two)} in {other.id}")
    same_objective = base.config.get("objective") == other.config.get("objective")
    if not same_objective:
        notes.append("other objective: goodput is not compared")
    if base.config.get("cut") != other.config.get("cut"):
        notes.append("other warm-up or cool-down: cut.* differs")
    hosts = [run.environment.get("host") for run in (base, other)]
    if hosts[0] != hosts[1]:
        notes.append(f"the load came from other machines: {hosts[0]} and {hosts[1]}")
    notes += [f"{run.id} was {run.ended}: {run.why_ended}" for run in (base, other) if run.ended != "complete"]
    return Comparable(tuple(refusals), tuple(notes), same_objective)


def _of_targets(run: RunSummary, field: str) -> list[object]:
    targets = run.config.get("targets")
    return [target.get(field) for target in targets] if isinstance(targets, list | tuple) else []


def _said(values: list[object]) -> str:
    return ", ".join("the default" if value is None else str(value) for value in values) or "absent"


def _differences(one: object, two: object, path: str) -> list[str]:
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        fields = sorted({*one, *two}, key=str)
        return [d for field in fields for d in _differences(one.get(field), two.get(field), f"{path}.{field}")]
    return [] if one == two else [f"{path} is {_said([one])} and {_said([two])}"]
