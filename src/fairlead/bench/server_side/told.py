"""What is to be said of pages besides their figures: what did not answer, what was restarted, whose tokens differ."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from fairlead.bench.record import Outcome, Record
from fairlead.bench.server_side.history import History
from fairlead.bench.server_side.watched import Watched

MOST_TOLD = 5
"""Pages of one kind of trouble that are named; the rest are counted."""
SLOW_SHARE = 0.05
"""Of the looks that were due, for those that were left out to be told."""
TOLERANCE, AT_LEAST = 0.01, 5.0
"""Token counts of a whole run that are further apart than this share, and so many tokens, are told."""


class Tally:
    """Tokens of all requests of the run, as the client counts them."""

    def __init__(self) -> None:
        self.output_tokens = 0
        self.unended = 0
        """Whose answers went on without the client: what the server generated for them is not known to it."""

    def add(self, records: Sequence[Record]) -> None:
        for record in records:
            self.output_tokens += _tokens(record)
            if record.outcome != Outcome.WHOLE and not math.isnan(record.sent_s):
                self.unended += 1


def _tokens(record: Record) -> int:
    if record.server_output_tokens >= 0:
        return record.server_output_tokens
    if record.chunk_tokens:
        counts = array("H", record.chunk_tokens)
        return sum(counts) if all(counts) else record.output_chunks
    return record.output_chunks


def token_note(tally: Tally, engines: Sequence[History]) -> str | None:
    """Where engines and client do not agree on how many tokens the run had. None: they do, or it cannot be known."""
    if any(history.restarts for history in engines):
        return None
    grown = [_grown(history) for history in engines]
    if not grown or any(by is None for by in grown):
        return None
    server, client = sum(by for by in grown if by is not None), tally.output_tokens
    if abs(server - client) <= max(AT_LEAST, TOLERANCE * max(server, client)):
        return None
    said = f"engines generated {server:,.0f} output tokens during the run, and the client counted {client:,}"
    if server > client:
        why = f", of which {tally.unended} requests did not end whole" if tally.unended else ""
        return f"{said}{why}: the rest was for others who ask them too, or the two count differently"
    return f"{said}: not every engine that answered was looked at, or the two count differently"


def _grown(history: History) -> float | None:
    known = [v for v in history.column("generation_tokens_total") if not math.isnan(v)]
    return known[-1] - known[0] if len(known) > 1 else None


def notes_of(watched: Iterable[Watched], pool_failures: Mapping[str, int], every_s: float) -> Iterable[str]:
    """Of all pages, in words."""
    pages = list(watched)
    yield from _shortened((_silence(one) for one in pages if one.history.failures), "pages did not answer every time")
    yield from _shortened((_restart(one) for one in pages if one.history.restarts), "servers were restarted")
    yield from _shortened((_slow(one) for one in pages if _is_slow(one)), "pages were slow")
    thinned = max((one.history.thinned for one in pages), default=0)
    if thinned:
        yield f"server: of a run this long one look each {every_s * 2**thinned:g} s is kept"
    for why, times in pool_failures.items():
        yield f"server.pool: could not be looked up {times} times: {why}"


def _shortened(notes: Iterable[str], what: str) -> Iterable[str]:
    told = list(notes)
    yield from told[:MOST_TOLD]
    if len(told) > MOST_TOLD:
        yield f"server: {len(told) - MOST_TOLD} more {what}"


def _silence(one: Watched) -> str:
    history = one.history
    nothing = sum(history.failures.values())
    why = "; ".join(f"{reason} ({count})" for reason, count in Counter(history.failures).most_common(3))
    share = nothing / history.looks
    of = f"{nothing} of {history.looks} looks ({share:.0%})"
    return f"{one.place.source} ({one.page.address.url}): {of} gave nothing: {why}"


def _restart(one: Watched) -> str:
    history = one.history
    if history.is_mixed:
        return (
            f"{one.place.source} ({one.page.address.url}): its counters began anew {len(history.restarts)} times in "
            f"{history.looks} looks, so that several servers answer there; its figures are left out: give the address "
            "of each in server.engines, or server.pool"
        )
    times = ", ".join(f"{at:.1f} s" for at in history.restarts[:5])
    return (
        f"{one.place.source} was restarted: its counters had begun anew at {times}; what it did between the look "
        "before and its end is not known"
    )


def _is_slow(one: Watched) -> bool:
    return one.missed > SLOW_SHARE * (one.history.looks + one.missed)


def _slow(one: Watched) -> str:
    return (
        f"{one.place.source}: {one.missed} looks were left out, as the one before took up to {one.slowest_s:.2g} s; "
        "times of what it says are as uncertain as half of that"
    )
