"""Evidence as a text that is kept in the API, so that a controller that starts again goes on with a comparison. Pure.

The sums of reports go on meanwhile: what happens between the last text and the next look is the first gain after it. A
text counts for the rollout that it was written in alone: a version that is tried again is compared anew.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Final

import msgspec

from fairlead.serving.analysis.evidence import Arms, Evidence

EVIDENCE_ANNOTATION: Final = "fairlead.dev/evidence"
"""On the InferencePool of a version on trial, which goes when the trial does."""
EVERY_S: Final = 15.0
"""Between two texts: so much of the order of requests is lost at most, and none of their sums."""
MOST_BYTES: Final = 200_000
"""An object's annotations may have 256 KiB in all; what is larger is not kept."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Evidence)


def write_evidence(evidence: Evidence, started_at: str) -> str:
    """The annotation's value, empty where it would be too large; `started_at` is that of the rollout."""
    packed = base64.b64encode(zlib.compress(_encoder.encode(evidence), 6)).decode()
    text = f"{started_at} {packed}"
    return text if len(text) <= MOST_BYTES else ""


def read_evidence(text: str, arms: Arms, started_at: str) -> Evidence | None:
    """None for what is of another rollout or of other versions, or cannot be read."""
    when, _, packed = text.partition(" ")
    if not packed or when != started_at:
        return None
    try:
        found = _decoder.decode(zlib.decompress(base64.b64decode(packed, validate=True)))
    except (binascii.Error, zlib.error, msgspec.MsgspecError):
        return None
    return found if found.arms == arms else None
