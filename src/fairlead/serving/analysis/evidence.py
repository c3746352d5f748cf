"""What was seen of two versions so far, gathered from traffic reports read time and again. Pure.

The difference of two reads is what happened between them. These differences are kept in *batches*, spans of time in
which both versions had requests: within one, what changes with the time of day or with the load of the whole fleet is
the same for both, and how the batches differ shows how much less the requests tell than as many independent ones would.
There are never more than `MOST_BATCHES`: when there are, neighbours become one, so that batches get as long as whatever
lasts in the traffic.

A reader that has started anew has the sums of the present reports as its first batch. They are of one share of the
traffic, as every step of a rollout asks for reports of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from fairlead.api.traffic_report import TrafficGroup, TrafficReport
from fairlead.serving.analysis.sums import MEANS, NOTHING, Counts, Mean, counts_of

MOST_BATCHES: Final = 64
FIRST_BATCH_S: Final = 1.0
LEAST_REQUESTS: Final = 3
"""Of each version in a batch."""
LONELY_S: Final = 10.0
"""After so long without the other version, what one alone has had is left out: it may be of another time of day."""

Side = Literal["new", "stable"]


@dataclass(frozen=True, slots=True)
class Arm:
    """Which requests are those of a version. Empty = any."""

    revision: str = ""
    models: frozenset[str] = frozenset()
    """Names under which the engines were asked."""

    def has(self, group: TrafficGroup) -> bool:
        return (not self.revision or group.revision == self.revision) and (
            not self.models or group.model in self.models
        )


@dataclass(frozen=True, slots=True)
class Arms:
    """The two versions that are compared."""

    new: Arm
    stable: Arm

    def side_of(self, group: TrafficGroup) -> Side | None:
        if self.new.has(group):
            return "new"
        return "stable" if self.stable.has(group) else None


class Batch(NamedTuple):
    """What both versions had in one span of time."""

    new: Counts
    stable: Counts

    def plus(self, other: Batch) -> Batch:
        return Batch(self.new.plus(other.new), self.stable.plus(other.stable))


NO_BATCH: Final = Batch(NOTHING, NOTHING)


class Lean(NamedTuple):
    """How one engine's requests differ from those of its version at the same time: their number, and the sums of x, of
    y and of z less the version's means."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


Engine = tuple[Side, str]
"""Side and ip:port."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a comparison is made from. Start with `Evidence(arms)`."""

    arms: Arms
    asked: str = ""
    asked_s: float | None = None
    """Since when that is asked for."""
    seen: Mapping[str, Mapping[tuple[str, str, str], Counts]] = field(default_factory=dict)
    """Name of a report -> (revision, model, endpoint) -> what it said last."""
    batches: tuple[Batch, ...] = ()
    """Whole ones, the oldest first."""
    batch_s: float = FIRST_BATCH_S
    """How long a batch is at least."""
    open: Mapping[Engine, Counts] = field(default_factory=dict)
    """The batch that is being filled, by engine."""
    open_s: float | None = None
    """Since when."""
    leans: Mapping[Mean, Mapping[Engine, Lean]] = field(default_factory=dict)
    settled: Mapping[str, str] = field(default_factory=dict)
    """Measure -> verdict that it has reached: a sequential test ends when it first decides."""
    total: Batch = NO_BATCH
    """All requests, those outside batches too."""
    step_requests: int = 0
    """Of the new version since `asked` changed."""


def gather(evidence: Evidence, reports: Iterable[TrafficReport], asked: str, now_s: float) -> Evidence:
    """The evidence with what the reports say that was not known yet. `asked` is what the pools ask for now; reports of
    anything else are passed over, whoever wrote them."""
    if asked != evidence.asked:
        evidence = replace(evidence, asked=asked, asked_s=now_s, seen={}, step_requests=0)
    seen = dict(evidence.seen)
    more: dict[Engine, Counts] = {}
    for report in reports:
        if report.asked == asked:
            name = str(report.metadata.get("name", f"{report.pool}.{report.picker}"))
            seen[name] = _read(report, seen.get(name, {}), evidence.arms, more)
    return add(replace(evidence, seen=seen), more, now_s)


def add(evidence: Evidence, more: Mapping[Engine, Counts], now_s: float) -> Evidence:
    """The evidence with what has happened since the last look, by engine."""
    filling = dict(evidence.open)
    for engine, counts in more.items():
        filling[engine] = filling.get(engine, NOTHING).plus(counts)
    gain = Batch(_side(more, "new"), _side(more, "stable"))
    found = replace(
        evidence, open=filling, open_s=now_s if evidence.open_s is None else evidence.open_s,
        total=evidence.total.plus(gain), step_requests=evidence.step_requests + gain.new.requests,
    )  # fmt: skip
    return _closed(found, now_s)


def _read(
    report: TrafficReport,
    before: Mapping[tuple[str, str, str], Counts],
    arms: Arms,
    more: dict[Engine, Counts],
) -> dict[tuple[str, str, str], Counts]:
    """Add to `more` what is new in a report; returns what it says, with what it has said of engines that are gone."""
    said = dict(before)
    for group in report.groups:
        side = arms.side_of(group)
        if side is None:
            continue
        key = (group.revision, group.model, group.endpoint)
        counts, known = counts_of(group), said.get(key, NOTHING)
        gain = counts.minus(known) if counts.goes_on_from(known) else counts
        said[key] = counts
        if gain.requests:
            engine = (side, group.endpoint)
            more[engine] = more.get(engine, NOTHING).plus(gain)
    return said


def _closed(evidence: Evidence, now_s: float) -> Evidence:
    """The open batch is put to the others once it is one."""
    batch = Batch(_side(evidence.open, "new"), _side(evidence.open, "stable"))
    age_s = now_s - (evidence.open_s if evidence.open_s is not None else now_s)
    if age_s < 0.0:
        # The clock was set back: nobody knows how old the batch is, but it is not to stay open until that is made up.
        return replace(evidence, open_s=now_s)
    few = min(batch.new.requests, batch.stable.requests)
    # At the first read nobody knows how long the sums took: they are a batch of their own.
    is_first = not evidence.batches and age_s <= 0.0
    if few < LEAST_REQUESTS or (age_s < evidence.batch_s and not is_first):
        if few == 0 and age_s >= max(LONELY_S, evidence.batch_s):
            return replace(evidence, open={}, open_s=now_s)
        return evidence
    batches, batch_s = (*evidence.batches, batch), evidence.batch_s
    if len(batches) >= MOST_BATCHES:
        batches, batch_s = _halved(batches), batch_s * 2.0
    leans = {m: _leaning(evidence.leans.get(m, {}), evidence.open, batch, m) for m in MEANS}
    return replace(evidence, batches=batches, batch_s=batch_s, open={}, open_s=now_s, leans=leans)


def _halved(batches: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """Neighbours made one; the first may be of a long time before and stays alone where their number is odd."""
    alone = len(batches) % 2
    pairs = list(pairwise(batches[alone:]))[::2]
    return (*batches[:alone], *[a.plus(b) for a, b in pairs])


def _leaning(
    leans: Mapping[Engine, Lean], engines: Mapping[Engine, Counts], batch: Batch, measure: Mean
) -> dict[Engine, Lean]:
    found = dict(leans)
    for engine, counts in engines.items():
        sums, whole = counts.of(measure), (batch.new if engine[0] == "new" else batch.stable).of(measure)
        if sums.n:
            before = found.get(engine, Lean())
            part = sums.n / whole.n
            found[engine] = Lean(
                before.n + sums.n,
                before.x + sums.x - part * whole.x,
                before.y + sums.y - part * whole.y,
                before.z + sums.z - part * whole.z,
            )
    return found


def _side(engines: Mapping[Engine, Counts], side: Side) -> Counts:
    whole = NOTHING
    for (of, _), counts in engines.items():
        if of == side:
            whole = whole.plus(counts)
    return whole
