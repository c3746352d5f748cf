"""What a client or the gateway before us asks in headers, as typed values.

Source: llm-d-router, `pkg/epp/metadata/consts.go` and the session-affinity plugins; RFC 7240 for `Prefer`.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from fairlead.gateway.protocol import (
    FAIRNESS_HEADERS,
    OBJECTIVE_HEADERS,
    REWRITE_HEADERS,
    SESSION_ID_HEADER,
    SESSION_TOKEN_HEADER,
    TPOT_SLO_HEADERS,
    TTFT_SLO_HEADERS,
)

DEFAULT_FLOW: Final = "default-flow"
"""The fairness id of requests that name none."""

_MAX_NAME: Final = 256
_MAX_SLO_MS: Final = 86_400_000.0
"""A day: more is a mistake in the unit."""


class BadHeader(ValueError):
    """A control header has a value that means nothing. The message is for the client; `header` is its name."""

    def __init__(self, message: str, header: str) -> None:
        super().__init__(message)
        self.header = header


@dataclass(slots=True)
class Control:
    """What the headers of a request ask for."""

    objective: str = ""
    """Name of an InferenceObjective."""
    fairness_id: str = DEFAULT_FLOW
    rewrite: str = ""
    """Model name to ask the engine for; empty = as the body says."""
    ttft_slo_s: float | None = None
    itl_slo_s: float | None = None
    session_endpoint: str = ""
    """namespace/name of the pod that the session's token names."""
    session_id: str = ""
    if_available: bool = False
    """Serve only where the prompt's beginning is cached, else 412."""


def read_control(headers: Mapping[str, str]) -> Control:
    """From lower-case names. A new name wins over its older one. Raises BadHeader."""
    if not headers:
        return Control()
    return Control(
        _name(headers, OBJECTIVE_HEADERS),
        _name(headers, FAIRNESS_HEADERS) or DEFAULT_FLOW,
        _name(headers, REWRITE_HEADERS),
        _slo_s(headers, TTFT_SLO_HEADERS),
        _slo_s(headers, TPOT_SLO_HEADERS),
        _session_endpoint(headers.get(SESSION_TOKEN_HEADER, "")),
        _bounded(headers.get(SESSION_ID_HEADER, "").strip()),
        "prefer" in headers and _prefers_available(headers["prefer"]),
    )


def session_token(pod: str) -> str:
    """The token that leads back to this pod, namespace/name."""
    return base64.b64encode(pod.encode()).decode()


def _name(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        if value := headers.get(name):
            return _bounded(value.strip())
    return ""


def _bounded(text: str) -> str:
    """Identities are keys of tables: a long one is stood for by its digest."""
    return text if len(text) <= _MAX_NAME else blake2b(text.encode(), digest_size=16).hexdigest()


def _slo_s(headers: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    """Milliseconds of the header as seconds; None without one, and for 0, which clients send for "none"."""
    for name in names:
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            value_ms = float(text)
        except ValueError:
            value_ms = math.nan
        if not 0 <= value_ms <= _MAX_SLO_MS:
            raise BadHeader(
                f"The header {name} has the value {text[:64]!r}: give milliseconds, a number from 0 (none) to "
                f"{_MAX_SLO_MS:.0f}.",
                name,
            )
        return value_ms / 1000 or None
    return None


def _session_endpoint(token: str) -> str:
    """Empty for a token that is none: it may be from another gateway, and the request can do without."""
    if not token or len(token) > 1024:
        return ""
    try:
        text = base64.b64decode(token.strip() + "=" * (-len(token.strip()) % 4), altchars=b"-_", validate=False)
        pod = text.decode()
    except (binascii.Error, ValueError):
        return ""
    namespace, slash, name = pod.partition("/")
    return pod if slash and namespace and name and "/" not in name and pod.isprintable() else ""


def _prefers_available(value: str) -> bool:
    return any(each.partition(";")[0].strip().lower() == "if-available" for each in value.split(","))
