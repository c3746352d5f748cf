"""Bodies from a template of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from fairlead.bench.config.target import RawRequest, Target

_encode = msgspec.json.Encoder().encode
_PLACE = re.compile(r"\$\{([^}]*)\}")
_PLACES = ("prompt", "model", "output_tokens")


class RawTemplate:
    """`${prompt}` and `${model}` become JSON strings without their quotes, `${output_tokens}` a number (0: as the
    model likes)."""

    def __init__(self, target: Target) -> None:
        """Raises ValueError for a template that cannot be filled, or is no JSON then though it says that it is."""
        raw = target.raw if target.raw is not None else RawRequest()
        self._parts = _PLACE.split(raw.body)
        for name in self._parts[1::2]:
            if name not in _PLACES:
                places = ", ".join(f"${{{place}}}" for place in _PLACES)
                raise ValueError(f"raw.body has ${{{name}}}: there are {places}")
        if self._parts[1::2].count("prompt") > 1:
            raise ValueError("raw.body has ${prompt} more than once: former answers of a session would go into both")
        if raw.body and _says_json(target):
            try:
                msgspec.json.decode(self.filled('a "prompt"\n', "m", 1))
            except msgspec.MsgspecError as error:
                raise ValueError(
                    f"raw.body is not JSON once it is filled in ({error}): mend it, or set headers.Content-Type"
                ) from error

    def filled(self, prompt: str, model: str, output_tokens: int | None) -> bytes:
        """The body; in a prompt with marks they stay as they are."""
        values: dict[str, Callable[[], bytes]] = {
            "prompt": lambda: _encode(prompt)[1:-1],
            "model": lambda: _encode(model)[1:-1],
            "output_tokens": lambda: b"%d" % (output_tokens or 0),
        }
        return b"".join(values[part]() if at % 2 else part.encode() for at, part in enumerate(self._parts))


def _says_json(target: Target) -> bool:
    kinds = [value for name, value in target.headers.items() if name.lower() == "content-type"]
    return not kinds or "json" in kinds[0].lower()
