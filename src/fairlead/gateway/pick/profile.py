"""A profile: which filters, scorers and picker decide for a pool, in this order. Pure.

A filter gives the positions of the candidates it keeps, or None for all of them; one that would keep none is passed
over unless it is `strict`.
A scorer gives each candidate a number from 0 (worst) to 1 (best); the weighted sum decides. A picker orders the
candidates by that sum, best first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.gateway.pick.candidate import NoPick, Pick
from fairlead.gateway.pick.query import Context, Step

Filter = Callable[[Context], list[int] | None]
Scorer = Callable[[Context], Sequence[float]]
Picker = Callable[[Context, Sequence[float]], list[int]]
"""Positions in the context from best to worst; as many as are worth trying."""

PASSED_OVER = "none left; passed over"
"""Note of a filter that would have kept nobody."""

MAX_FALLBACKS = 2
"""Endpoints to try after the first; more would turn one dead pool into a storm of connections."""


@dataclass(frozen=True, slots=True)
class NamedFilter:
    name: str
    keep: Filter
    strict: bool = False


@dataclass(frozen=True, slots=True)
class NamedScorer:
    name: str
    score: Scorer
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class NamedPicker:
    name: str
    order: Picker


@dataclass(frozen=True, slots=True)
class Use:
    """A plugin in a profile: its type and parameters, the weight of its scores, and the name decisions give for it."""

    type: str
    weight: float = 1.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What decides for a pool."""

    name: str
    filters: tuple[NamedFilter, ...]
    scorers: tuple[NamedScorer, ...]
    picker: NamedPicker
    uses: tuple[Use, ...] = ()
    """What it was built of, all of it; empty for one that was put together by hand."""


def decide(profile: Profile, context: Context, steps: list[Step] | None = None) -> Pick | NoPick:
    """The endpoint by the profile. With `steps`, every plugin's part is added to it, for `explain`."""
    if not context.candidates:
        return NoPick("no_ready_endpoints", "no replica is ready")
    for named in profile.filters:
        kept = named.keep(context)
        if steps is not None:
            steps.append(_filter_step(named, context, kept))
        if kept is None:
            continue
        if kept:
            if len(kept) < len(context.candidates):
                context = context.only(kept)
        elif named.strict:
            return NoPick("no_ready_endpoints", f"{named.name} leaves none of {len(context.candidates)} endpoints")
    totals = [0.0] * len(context.candidates)
    for scorer in profile.scorers:
        scores, weight = scorer.score(context), scorer.weight
        totals = [total + weight * score for total, score in zip(totals, scores, strict=True)]
        if steps is not None:
            values = {c.address: float(s) for c, s in zip(context.candidates, scores, strict=True)}
            steps.append(Step(scorer.name, "scorer", weight, values))
    order = profile.picker.order(context, totals)
    best = context.candidates[order[0]]
    if steps is not None:
        values = {c.address: total for c, total in zip(context.candidates, totals, strict=True)}
        steps.append(Step(profile.picker.name, "picker", 1.0, values, f"picked {best.address}"))
    fallbacks = tuple([context.candidates[i].address for i in order[1 : 1 + MAX_FALLBACKS]])
    return Pick(best.address, fallbacks, f"{profile.name}: best of {len(order)} endpoints, {totals[order[0]]:.3f}")


def _filter_step(named: NamedFilter, context: Context, kept: list[int] | None) -> Step:
    inside = set(range(len(context.candidates)) if kept is None else kept)
    values = {c.address: float(i in inside) for i, c in enumerate(context.candidates)}
    note = "" if inside else ("none left" if named.strict else PASSED_OVER)
    return Step(named.name, "filter", 1.0, values, note)
