"""The readers of answers, by the names that a worker is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fairlead.bench.targets import openai_reading as openai
from fairlead.bench.targets.reading import EventReader, WholeReader


class Readers(NamedTuple):
    """Of a stream's events (None: the API does not stream) and of a whole body. `has_text`: an answer without a token
    is not a good one."""

    event: EventReader | None
    whole: WholeReader
    has_text: bool = True


_MAKERS: dict[str, Callable[[dict[str, str]], Readers]] = {
    "chat": lambda _: Readers(openai.read_event, openai.read_whole),
    "completions": lambda _: Readers(openai.read_event, openai.read_whole),
    "embeddings": lambda _: Readers(None, openai.read_whole, has_text=False),
    "responses": lambda _: Readers(openai.read_response_event, openai.read_response_whole),
}


def readers(name: str, options: dict[str, str]) -> Readers:
    """Raises ValueError for a name that there is not."""
    make = _MAKERS.get(name)
    if make is None:
        raise ValueError(f"answers of {name!r} cannot be read: use one of {', '.join(sorted(_MAKERS))}")
    return make(options)
