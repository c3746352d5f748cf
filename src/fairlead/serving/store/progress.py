"""How far a push or pull is, told to whoever shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from several threads."""

    def begin(self, what: str, total_bytes: int) -> None:
        """A new stage: "hashing", "pushing", "pulling". Its bytes count from zero."""
        ...

    def advance(self, size: int) -> None:
        """So many bytes more; negative where some have to be moved again."""
        ...

    def note(self, text: str) -> None:
        """Something that a person should know, and that stops nothing."""
        ...


class Silent:
    """For whom nobody watches."""

    def begin(self, what: str, total_bytes: int) -> None:
        return

    def advance(self, size: int) -> None:
        return

    def note(self, text: str) -> None:
        return
