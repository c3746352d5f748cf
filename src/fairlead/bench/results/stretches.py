"""The parts of a run's stages that count: without warm-up, ramp, settling and cool-down."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from fairlead.bench.config.judging import Objective
from fairlead.bench.results.grid import Stretch
from fairlead.bench.summary import RunSummary, StageSummary


def stretches(run: RunSummary) -> list[Stretch]:
    """By stage; as long as what its figures are of."""
    cut, load = _part(run.config, "cut"), _part(run.config, "load")
    made = []
    for stage in run.stages:
        begin_s = stage.begin_s + _number(cut, "warm_up_s") + _begins_later(load, stage)
        seconds = stage.metrics.seconds
        end_s = begin_s + seconds if math.isfinite(seconds) else stage.end_s - _number(cut, "cool_down_s")
        made.append(Stretch(stage.index, begin_s, max(begin_s, min(end_s, stage.end_s))))
    return made


def whole_answers(run: RunSummary) -> list[int]:
    """Targets whose answers do not come token by token."""
    targets = run.config.get("targets")
    return [
        number
        for number, target in enumerate(targets if isinstance(targets, list | tuple) else ())
        if isinstance(target, Mapping) and (target.get("stream") is False or target.get("api") == "embeddings")
    ]


def objective_of(run: RunSummary) -> Objective | None:
    """What its requests were held to."""
    given = run.config.get("objective")
    try:
        return msgspec.convert(given, Objective) if isinstance(given, Mapping) else None
    except msgspec.ValidationError:
        return None


def _begins_later(load: Mapping[str, object], stage: StageSummary) -> float:
    """Until all users are there, or the server has settled."""
    if load.get("kind") == "search":
        settle_s = load.get("settle_s", 5.0)
        return float(settle_s) if isinstance(settle_s, int | float) else 0.0
    given = load.get("stages")
    if load.get("kind") == "closed" and isinstance(given, list | tuple) and 0 <= stage.index < len(given):
        return _number(given[stage.index], "ramp_s")
    return 0.0


def _part(of: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(of: Mapping[str, object], name: str) -> float:
    value = of.get(name, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0
