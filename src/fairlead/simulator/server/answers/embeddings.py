"""/v1/embeddings: unit vectors that depend on the text alone, so that equal texts are equal and others are not.

The vectors mean nothing. Unlike vLLM, where only pooling models have this endpoint, it is always served.
Protocol: OpenAI embeddings.
"""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Sequence
from math import sqrt
from typing import Any

from fairlead.simulator.server.bodies import fields as f

DEFAULT_DIMENSIONS = 384
_MOST_DIMENSIONS = 65_536

_BODY = f.Shape(
    {
        "model": f.optional(f.text),
        "input": f.either(f.token_ids, f.array(f.token_ids), f.text, f.array(f.text)),
        "encoding_format": f.optional(f.literal("float", "base64")),
        "dimensions": f.optional(f.integer(ge=1, le=_MOST_DIMENSIONS)),
        "user": f.optional(f.text),
    },
    required=("input",),
)


def embeddings_body(raw: Any) -> dict[str, Any]:
    """A checked body. Raises ApiError."""
    body: dict[str, Any] = f.checked(_BODY, raw)
    return body


def inputs_of(body: dict[str, Any]) -> list[str | list[int]]:
    """The texts or token ids to embed."""
    given = body["input"]
    if isinstance(given, list) and (not given or not isinstance(given[0], int)):
        return list(given)
    return [given]


def vector(ids: Sequence[int], dimensions: int) -> list[float]:
    """The vector of a text's tokens."""
    generator = random.Random(zlib.crc32(struct.pack(f"<{len(ids)}q", *ids)))
    values = [generator.gauss(0.0, 1.0) for _ in range(dimensions)]
    length = sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def shown(values: list[float], encoding: str | None) -> list[float] | str:
    """As the body of the answer has it: numbers, or little-endian 32-bit floats in base64."""
    if encoding != "base64":
        return values
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
