"""What is read of an answer, whichever API it is of."""

from __future__ import annotations

from collections.abc import Callable


class Unreadable(ValueError):
    """An event, or a whole answer, is not what the API says it should be."""


class Reading:
    """What one answer has said so far. Counts are -1 until the server says them.

    `text` is kept only where it is a list. `events` counts those with text. `done`: the API's own end marker has come.
    """

    __slots__ = ("cached_tokens", "done", "error", "events", "finish", "output_tokens", "prompt_tokens", "text")

    def __init__(self, keep_text: bool) -> None:
        self.prompt_tokens = -1
        self.output_tokens = -1
        self.cached_tokens = -1
        self.finish = ""
        self.error = ""
        self.done = False
        self.events = 0
        self.text: list[str] | None = [] if keep_text else None

    def kept(self) -> str:
        """The whole text."""
        return "".join(self.text or ())


EventReader = Callable[[bytes, Reading], int]
"""Reads the data of one event into the reading; returns how many tokens of text it carried: 0 for none, 1 where the
server does not say. Raises Unreadable."""
WholeReader = Callable[[bytes, Reading], int]
"""Reads a whole body that did not come as a stream; returns how many tokens it has (0: not known)."""
