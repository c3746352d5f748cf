"""Why nobody makes room: what protects others, counted by who holds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.rights import Denial

_LAST_DATE_S: Final = 253_402_300_799


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Nobody makes room for the gang; the fleet is as it was."""

    sentence: str
    reasons: Mapping[str, int] = field(default_factory=dict)
    """In words, who holds what and what protects it: "held by batch/queue-b, not reclaimable: …" -> pods."""
    until_s: float | None = None
    """When the first of the guarantees ends that are in the way: not before then is it worth asking again."""
    steps: int = 0
    is_cut_off: bool = False
    """Whether the search ended at its budget: what was not tried is not known."""

    @property
    def lines(self) -> tuple[str, ...]:
        """`2 held by batch/queue-b, not reclaimable: within its min-runtime until 2026-03-01 10:42 UTC`, most first."""
        return tuple(f"{count} {reason}" for reason, count in sorted(self.reasons.items(), key=lambda i: (-i[1], i[0])))


class Reasons:
    """Counts denials while a search goes on. A gang is counted once, with the first that was met."""

    def __init__(self) -> None:
        self._counted: set[str] = set()
        self._pods: dict[tuple[str, str], int] = {}
        self._until_s: dict[tuple[str, str], float] = {}
        self.is_limited = False
        """Whether something was denied that would have been allowed alone."""

    def add(self, other: Bystander, denial: Denial) -> None:
        if other.gang.key in self._counted:
            return
        self._counted.add(other.gang.key)
        key = other.holder, denial.sentence
        self._pods[key] = self._pods.get(key, 0) + len(other.pods)
        if denial.until_s is not None:
            self._until_s[key] = min(denial.until_s, self._until_s.get(key, denial.until_s))

    def verdict(self, sentence: str, steps: int = 0, is_cut_off: bool = False) -> NoRoom:
        texts = {self._text(key): count for key, count in self._pods.items()}
        until_s = min(self._until_s.values(), default=None)
        return NoRoom(sentence, texts, until_s, steps, is_cut_off)

    def _text(self, key: tuple[str, str]) -> str:
        holder, sentence = key
        until_s = self._until_s.get(key)
        until = f" until {clock_text(until_s)}" if until_s is not None else ""
        return f"held by {holder}, {sentence}{until}"


def clock_text(time_s: float) -> str:
    """A moment for people, in UTC."""
    if not 0 <= time_s <= _LAST_DATE_S:
        return f"second {time_s:g} of the epoch"
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
