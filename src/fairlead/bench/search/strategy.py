"""Which load to try next: upwards by doubling until one fails, then bisection of the bracket.

The bracket is halved by ratio (geometric mean), as its precision is a ratio too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import msgspec

from fairlead.bench.config.load import Search
from fairlead.bench.summary import SearchResult, SearchStep

GIVE_UP_BELOW = 1 / 64
"""Of `low`: a server that fails there too keeps the objective under no load worth the name."""
INVALID_IN_A_ROW = 2


class Tried(msgspec.Struct, frozen=True):
    """A load and what it has shown. `decision`: kept, failed, saturated, undecided or invalid; `attainment` settles the
    undecided: above or below what was asked for is all that can be told of them. None: nothing was judged."""

    load: float
    decision: str
    why: str
    attainment: float | None
    asked: float

    @property
    def is_kept(self) -> bool | None:
        """None: it says nothing about the server."""
        if self.decision == "kept":
            return True
        if self.decision in ("failed", "saturated"):
            return False
        if self.decision == "undecided" and self.attainment is not None:
            return self.attainment >= self.asked
        return None


class Try(msgspec.Struct, frozen=True):
    """The next load."""

    load: float


class Done(msgspec.Struct, frozen=True):
    """The search has ended. `best`: the highest load that kept the objective; `failed`: the lowest above it that did
    not; None: there was none."""

    best: float | None
    failed: float | None
    why: str


def next_step(history: Sequence[Tried], search: Search) -> Try | Done:
    """From all that has been tried, in order."""
    best, failed = bracket(history)
    if len(history) >= search.max_steps:
        return Done(best, failed, f"max_steps is {search.max_steps}: the bracket is as narrow as that allows")
    if (stuck := _client_is_the_limit(history, best, failed)) is not None:
        return stuck
    if history and history[-1].decision == "undecided" and history[-1].attainment is None:
        return Done(best, failed, f"{history[-1].why} at {history[-1].load:g}: raise max_step_s, or low")
    if best is None and failed is None:
        return Try(_rounded(search.low, search))
    if failed is None:
        assert best is not None
        return _up(best, search)
    if best is None:
        return _down(failed, search)
    if _is_narrow(best, failed, search):
        doubt = _doubt(history, best, failed, search)
        return Done(best, failed, f"the bracket is within {search.precision:.0%}{doubt}")
    middle = _rounded(sqrt(best * failed), search)
    if not best < middle < failed:
        return Done(best, failed, "there is no whole number of users in between")
    return Try(middle)


def bracket(history: Sequence[Tried]) -> tuple[float | None, float | None]:
    """The highest load kept below every one that failed, and the lowest that failed.

    Where noise has it that a load failed and a higher one kept, the failure counts: nobody is promised more than was
    kept at each load tried below.
    """
    failed = min((tried.load for tried in history if tried.is_kept is False), default=None)
    kept = [tried.load for tried in history if tried.is_kept and (failed is None or tried.load < failed)]
    return max(kept, default=None), failed


def result(history: Sequence[Tried], done: Done, search: Search) -> SearchResult:
    """What reports say; a step is the stage of its number."""
    steps = tuple(SearchStep(stage, t.load, t.decision, t.why) for stage, t in enumerate(history))
    return SearchResult(search.of, done.best, done.failed, steps, done.why)


def _up(best: float, search: Search) -> Try | Done:
    high = float("inf") if search.high is None else search.high
    high = float(max(1, int(high))) if search.of == "users" and search.high is not None else high
    if best >= high:
        return Done(best, None, f"the highest load to try (high {search.high:g}) was kept")
    return Try(min(high, _rounded(best * 2, search)))


def _down(failed: float, search: Search) -> Try | Done:
    floor = 1.0 if search.of == "users" else search.low * GIVE_UP_BELOW
    if failed <= floor:
        return Done(None, failed, f"the objective is not kept even at {failed:g}")
    return Try(max(floor, _rounded(failed / 2, search)))


def _is_narrow(best: float, failed: float, search: Search) -> bool:
    # The lower end is what is promised: the true capacity is at most this much above it.
    return failed / best - 1 <= search.precision or (search.of == "users" and failed - best <= 1)


def _doubt(history: Sequence[Tried], best: float, failed: float, search: Search) -> str:
    ends = [t.load for t in history if t.load in (best, failed) and t.decision == "undecided"]
    if not ends:
        return ""
    said = " and ".join(f"{load:g}" for load in sorted(ends))
    return f", but {said} could not be told from the objective within {search.max_step_s:g} s: raise max_step_s"


def _rounded(load: float, search: Search) -> float:
    return float(max(1, ceil(load - 0.5))) if search.of == "users" else load


def _client_is_the_limit(history: Sequence[Tried], best: float | None, failed: float | None) -> Done | None:
    last = history[-INVALID_IN_A_ROW:]
    if len(last) < INVALID_IN_A_ROW or any(tried.decision != "invalid" for tried in last):
        return None
    return Done(best, failed, f"the client could not send {last[-1].load:g} as asked: {last[-1].why}")
