"""What looks at something beside the load while a run goes on: servers' pages, replica counts.

An observer is never in the load's way: what it cannot see becomes a note, and the run goes on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from fairlead.bench.record import Record
from fairlead.bench.summary import RunSummary, Series

PREPARE_WITHIN_S = 5.0
END_WITHIN_S = 3.0


class Observed(msgspec.Struct, frozen=True):
    """What was seen: signals over time (seconds from the origin of the run), what is to be said of them, and figures
    that they make together with those of the run: a pure function that completes its summary."""

    series: tuple[Series, ...] = ()
    notes: tuple[str, ...] = ()
    complete: Callable[[RunSummary], RunSummary] | None = None


class Observer(Protocol):
    """`prepare` finds out what there is to look at, before the start; `begin` starts looking, in tasks of its own, and
    returns at once; `end` is the last look and gives what was seen."""

    name: str

    async def prepare(self) -> None:
        """Raises ValueError, naming the field, for what can never be looked at."""

    def begin(self, origin_s: float) -> None:
        """`origin_s`: reading of the monotonic clock that times of the run count from."""

    def add(self, records: Sequence[Record]) -> None:
        """Requests that have ended; some come after `end`. For observers that put the load beside what they see."""

    async def end(self) -> Observed:
        """Called once, also where `begin` was not."""


class Observers:
    """All of a run's, each bounded in time and kept from harming it."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)
        self._notes: list[str] = []
        self._complete: list[tuple[Observer, Callable[[RunSummary], RunSummary]]] = []

    async def prepare(self) -> None:
        """Raises ValueError as an observer does."""
        found = await asyncio.gather(
            *(asyncio.wait_for(o.prepare(), PREPARE_WITHIN_S) for o in self._observers), return_exceptions=True
        )
        for observer, error in zip(self._observers, found, strict=True):
            if isinstance(error, ValueError):
                raise error
            if isinstance(error, BaseException):
                self._notes.append(f"{observer.name}: {_words(error, PREPARE_WITHIN_S)}")

    def begin(self, origin_s: float) -> None:
        for observer in self._observers:
            observer.begin(origin_s)

    def add(self, records: Sequence[Record]) -> None:
        for observer in self._observers:
            observer.add(records)

    def complete(self, summary: RunSummary) -> RunSummary:
        """With the figures of all observers. What one cannot make becomes a note."""
        for observer, complete in self._complete:
            try:
                summary = complete(summary)
            except Exception as error:
                note = f"{observer.name}: its figures could not be made: {_words(error, 0.0)}"
                summary = msgspec.structs.replace(summary, notes=(*summary.notes, note))
        return summary

    async def end(self) -> Observed:
        seen = await asyncio.gather(
            *(asyncio.wait_for(o.end(), END_WITHIN_S) for o in self._observers), return_exceptions=True
        )
        series: list[Series] = []
        notes = list(self._notes)
        for observer, result in zip(self._observers, seen, strict=True):
            if isinstance(result, BaseException):
                notes.append(f"{observer.name}: {_words(result, END_WITHIN_S)}")
            else:
                series += result.series
                notes += result.notes
                if result.complete is not None:
                    self._complete.append((observer, result.complete))
        return Observed(tuple(series), tuple(notes))


def _words(error: BaseException, within_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing was seen within {within_s:g} s"
    return f"{type(error).__name__}: {error}"
