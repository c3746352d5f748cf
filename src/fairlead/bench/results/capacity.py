"""Two searches against each other: the highest load that each server bore, as far as each search has come.

A search leaves a bracket: the highest load that kept the objective, and the lowest that did not. The capacity is in
between, so two searches differ where their brackets lie apart; how wide they are is how much could have been missed.
"""

from __future__ import annotations

import math

from fairlead.bench.results.changes import Figure
from fairlead.bench.results.significance import Test
from fairlead.bench.summary import RunSummary, SearchResult

BASIS = "brackets of the searches"
NAME = "highest load kept"


def capacity(base: RunSummary, other: RunSummary) -> tuple[list[Figure], list[str]]:
    """The figure, and what is to be said; neither where one of the runs is no search."""
    one, two = base.search, other.search
    if one is None or two is None:
        without = [run.id for run in (base, other) if run.search is None]
        return [], (
            [f"{without[0]} is no search: only loads that both runs had are compared"] if len(without) == 1 else []
        )
    if one.of != two.of:
        return [], [f"{base.id} looked for the highest {one.of}, {other.id} for the highest {two.of}: not compared"]
    notes = [
        f"steps of searches are not compared one by one: {base.id} had {len(one.steps)}, {other.id} {len(two.steps)}"
    ]
    for run, found in ((base, one), (other, two)):
        if found.best is None:
            notes.append(f"no load kept the objective in {run.id}: {found.why_ended}")
        elif found.failed is None:
            notes.append(f"every load kept the objective in {run.id}, up to {found.best:g}: its highest is not known")
    if one.best is None or two.best is None:
        return [], notes
    unit = "1/s" if one.of == "rate" else "users"
    test = Test(two.best / one.best - 1, _least(one, two), _most(one, two), None, _seen(one, two), BASIS)
    return [Figure("search", NAME, "1/s" if unit == "1/s" else "users", one.best, two.best, True, test)], notes


def apart(test: Test) -> bool:
    """Whether brackets have nothing in common, so that one capacity is greater for sure."""
    return (test.low is not None and test.low > 0) or (test.high is not None and test.high < 0)


def _least(one: SearchResult, two: SearchResult) -> float | None:
    """The change at the least: from the upper end of the one bracket to the lower of the other."""
    return None if one.failed is None or two.best is None else two.best / one.failed - 1


def _most(one: SearchResult, two: SearchResult) -> float | None:
    return None if two.failed is None or one.best is None else two.failed / one.best - 1


def _seen(one: SearchResult, two: SearchResult) -> float | None:
    """The least change that moves the brackets apart, wherever in them the capacities are."""
    widths = [found.failed / found.best - 1 for found in (one, two) if found.failed is not None and found.best]
    return math.prod(1 + width for width in widths) - 1 if len(widths) == 2 else None
