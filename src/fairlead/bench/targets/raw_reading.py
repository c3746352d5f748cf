"""Answers of a template of one's own: what counts is found by JSON pointers (RFC 6901)."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.bench.targets.reading import ENDED_BY_HTTP, Reading, Unreadable, shown


def pointer(text: str) -> tuple[str, ...]:
    """The parts of a pointer. Raises ValueError for one that is none."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is no JSON pointer: write /like/this/0 (RFC 6901)")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def found(value: Any, parts: tuple[str, ...]) -> Any:
    """What is there, None where there is nothing."""
    for part in parts:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


class RawReader:
    """Reads by the options that a worker is told: `text`, `prompt_tokens`, `output_tokens`, each a pointer or empty.

    Without `text` an answer need not be JSON, and is whole when HTTP says that it is.
    """

    def __init__(self, options: dict[str, str]) -> None:
        self._text, self._prompt, self._output = (
            pointer(options[name]) if options.get(name) else None for name in ("text", "prompt_tokens", "output_tokens")
        )
        self.has_text = self._text is not None
        self._plain = self._text is self._prompt is self._output is None

    def event(self, data: bytes, into: Reading) -> int:
        """The end of a stream is HTTP's, or OpenAI's marker."""
        into.finish = ENDED_BY_HTTP
        if data == b"[DONE]" or self._plain:
            return 0
        value = self._value(data, into)
        counts = self._count(value, into)
        tokens = into.event(counts) if self._say(value, into) else 0
        into.counted = counts
        return tokens

    def whole(self, body: bytes, into: Reading) -> int:
        into.done = True
        if self._plain:
            return 0
        value = self._value(body, into)
        self._count(value, into)
        return max(into.output_tokens, 1) if self._say(value, into) else 0

    def _value(self, data: bytes, into: Reading) -> Any:
        try:
            value = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable(f"the answer is not JSON ({error}): {data[:80]!r}") from error
        if isinstance(value, dict) and value.get("error"):
            into.error = shown(data)
        return value

    def _say(self, value: Any, into: Reading) -> bool:
        text = found(value, self._text) if self._text is not None else None
        if not isinstance(text, str) or not text:
            return False
        if into.text is not None:
            into.text.append(text)
        return True

    def _count(self, value: Any, into: Reading) -> bool:
        """Whether it said how many tokens the answer has so far."""
        prompt = found(value, self._prompt) if self._prompt is not None else None
        output = found(value, self._output) if self._output is not None else None
        if type(prompt) is int:
            into.prompt_tokens = prompt
        if type(output) is int:
            into.output_tokens = output
        return type(output) is int
