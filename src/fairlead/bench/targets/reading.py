"""What is read of an answer, whichever API it is of."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Unreadable(ValueError):
    """An event, or a whole answer, is not what the API says it should be."""


class Cached(msgspec.Struct, gc=False):
    """OpenAI's details of the tokens of a prompt."""

    cached_tokens: int | None = None


class Reading:
    """What one answer has said so far. Counts are -1 until the server says them.

    `text` is kept only where it is a list: what a later turn would repeat, so neither reasoning nor calls of tools nor
    further choices. `events` counts those with text, `given` the tokens that have been given to them, `counted` is
    whether the event before brought usage. `done`: the API's own end marker has come.
    """

    __slots__ = (
        "cached_tokens", "counted", "done", "error", "events", "finish", "given", "output_tokens", "prompt_tokens",
        "text",
    )  # fmt: skip

    def __init__(self, keep_text: bool) -> None:
        self.prompt_tokens = -1
        self.output_tokens = -1
        self.cached_tokens = -1
        self.finish = ""
        self.error = ""
        self.done = False
        self.events = 0
        self.given = 0
        self.counted = False
        self.text: list[str] | None = [] if keep_text else None

    def kept(self) -> str:
        """The whole text."""
        return "".join(self.text or ())

    def count(self, prompt: int | None, output: int | None, cached: int | None) -> None:
        """What usage says; None: it says nothing of it, and what was said before holds."""
        if prompt is not None:
            self.prompt_tokens = prompt
        if output is not None:
            self.output_tokens = output
        if cached is not None:
            self.cached_tokens = cached

    def event(self, counts: bool) -> int:
        """An event with text has come; `counts`: it brought usage, which has been taken already. Returns its tokens.

        Usage in every event says how many tokens each has, those that came without text included; usage in the last
        one alone is the sum of all, and says nothing of the event.
        """
        self.events += 1
        if counts and (self.counted or self.events == 1):
            tokens = max(1, self.output_tokens - self.given)
        else:
            tokens = 1
        self.given += tokens
        return tokens


EventReader = Callable[[bytes, Reading], int]
"""Reads the data of one event into the reading; returns how many tokens of text it carried: 0 for none, 1 where the
server does not say. Raises Unreadable."""
WholeReader = Callable[[bytes, Reading], int]
"""Reads a whole body that did not come as a stream; returns how many tokens it has (0: not known). Raises
Unreadable."""

SHOWN_BYTES = 300
ENDED_BY_HTTP = "end"
"""How a stream finishes whose API has no mark for it."""


def shown(data: bytes) -> str:
    """The beginning of what a server said, for a detail."""
    return data[:SHOWN_BYTES].decode(errors="replace")
