"""From one look at an engine to the next: since when it is idle, gets nowhere, or does not answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairlead.serving.drain.reading import Reading
from fairlead.serving.observed import EngineView

UNSEEN = EngineView()


@dataclass(frozen=True, slots=True)
class Silence:
    """A look without an answer."""

    problem: str
    accepts: bool
    """Whether the port took the connection."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of an engine after some looks."""

    view: EngineView = UNSEEN
    last: Reading | None = None
    """What it said when it answered last; None before that, and after it was another process."""

    @property
    def is_suspect(self) -> bool:
        """Whether it may hang or be out of reach, so that it is worth looking again soon."""
        return self.view.stalled_s is not None or self.view.unreachable_s is not None


def look(before: Sighting, found: Reading | Silence, at_s: float) -> Sighting:
    """The sighting after a look at wall time `at_s`."""
    if isinstance(found, Silence):
        return _not_answered(before, found, at_s)
    last = before.last
    if last is not None and _is_another_process(last, found):
        last = None
    view = EngineView(
        in_flight=found.in_flight,
        tokens_total=found.tokens_total,
        kv_usage=found.kv_usage,
        seen_s=at_s,
        idle_s=_idle_s(before.view, last, found, at_s),
        stalled_s=_stalled_s(before.view, last, found, at_s),
    )
    return Sighting(view, found)


def _not_answered(before: Sighting, silence: Silence, at_s: float) -> Sighting:
    since_s = before.view.unreachable_s if before.view.unreachable_s is not None else at_s
    # What it said before stays with its time: readers see how old it is. Idle looks in a row end here.
    view = replace(
        before.view, unreachable_s=since_s, problem=silence.problem, accepts=silence.accepts, idle_s=None,
        stalled_s=None,
    )  # fmt: skip
    return Sighting(view, before.last)


def _idle_s(view: EngineView, last: Reading | None, found: Reading, at_s: float) -> float | None:
    if found.in_flight != 0:
        return None
    if last is None or view.idle_s is None or view.unreachable_s is not None:
        return at_s
    # Work between two looks that both found nothing in flight, or a page that does not tell all of it.
    return view.idle_s if last.progress == found.progress else at_s


def _stalled_s(view: EngineView, last: Reading | None, found: Reading, at_s: float) -> float | None:
    """Counted from the second look that found the same: whatever lies between two looks that are far apart, the
    requests of the first need not be those of the second."""
    if not found.in_flight or found.progress is None or last is None or not last.in_flight:
        return None
    if last.progress != found.progress:
        return None
    return view.stalled_s if view.stalled_s is not None else at_s


def _is_another_process(last: Reading, found: Reading) -> bool:
    if last.started_s is not None and found.started_s is not None:
        return found.started_s > last.started_s + 0.5
    pairs = ((last.tokens_total, found.tokens_total), (last.succeeded_total, found.succeeded_total))
    return any(a is not None and b is not None and b < a for a, b in pairs)
