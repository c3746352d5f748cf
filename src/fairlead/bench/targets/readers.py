"""The readers of answers, by the names that a worker is told: those of the APIs (`bench/config/target.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fairlead.bench.targets import anthropic_reading, inference_reading, openai_reading, raw_reading, responses_reading
from fairlead.bench.targets.reading import EventReader, WholeReader


class Readers(NamedTuple):
    """Of a stream's events (None: the API does not stream) and of a whole body. `has_text`: an answer without a token
    is not a good one."""

    event: EventReader | None
    whole: WholeReader
    has_text: bool = True


def _raw(options: dict[str, str]) -> Readers:
    reader = raw_reading.RawReader(options)
    return Readers(reader.event, reader.whole, reader.has_text)


_MAKERS: dict[str, Callable[[dict[str, str]], Readers]] = {
    "chat": lambda _: Readers(openai_reading.read_event, openai_reading.read_whole),
    "completions": lambda _: Readers(openai_reading.read_event, openai_reading.read_whole),
    "embeddings": lambda _: Readers(None, openai_reading.read_embeddings, has_text=False),
    "responses": lambda _: Readers(responses_reading.read_event, responses_reading.read_whole),
    "messages": lambda _: Readers(anthropic_reading.read_event, anthropic_reading.read_whole),
    "open-inference": lambda _: Readers(None, inference_reading.read_inferred, has_text=False),
    "triton-generate": lambda _: Readers(inference_reading.read_generated_event, inference_reading.read_generated),
    "raw": _raw,
}


def readers(name: str, options: dict[str, str]) -> Readers:
    """Raises ValueError for a name that there is not, and for options that it does not take."""
    make = _MAKERS.get(name)
    if make is None:
        raise ValueError(f"answers of {name!r} cannot be read: use one of {', '.join(sorted(_MAKERS))}")
    return make(options)
