"""The headers by which a sidecar beside the answering engine runs the other legs itself. Pure.

Source: llm-d-router, `pkg/common/routing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fairlead.gateway.protocol import ENCODE_HEADER, PREFILL_HEADER

STEERING_HEADERS: Final = (
    PREFILL_HEADER, ENCODE_HEADER, "x-data-parallel-host-port", "x-kv-cache-source-host-port"
)  # fmt: skip
"""Taken off every client's request: they choose endpoints, which is the gateway's to do."""


def sidecar_headers(prefill: str = "", encode: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """For the addresses that the prompt and its pictures are to be computed at, those there are."""
    headers = []
    if prefill:
        headers.append((PREFILL_HEADER, prefill))
    if encode:
        headers.append((ENCODE_HEADER, ",".join(encode)))
    return tuple(headers)


def spread_encoders(addresses: Sequence[str], media: int, draw: float) -> tuple[str, ...]:
    """Encoders for this many pictures, from a random one onwards (`draw` is from 0 to below 1), none of them twice."""
    if not addresses or media <= 0:
        return ()
    first = min(int(draw * len(addresses)), len(addresses) - 1)
    return tuple([addresses[(first + n) % len(addresses)] for n in range(min(media, len(addresses)))])
