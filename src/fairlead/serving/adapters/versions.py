"""Versions of an adapter: what one is, under which name engines have it, and which there were. Pure.

A version is a source, and whose signature it must have. Its hash names it; what the hash stands for is kept in an
annotation of the ModelAdapter, as engines that start in the middle of a rollout need the source of the version that
still serves, and `undo` needs the one before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.api.kind import Kind
from fairlead.api.model_adapter import ModelAdapterSpec
from fairlead.api.model_service.model import Verification
from fairlead.serving.names import shadow_name

HISTORY_ANNOTATION: Final = "fairlead.dev/adapter-versions"
"""On a ModelAdapter: JSON of its versions, the latest that served first."""
KEPT: Final = 5
"""Versions in the history, beside those in use."""


class AdapterVersion(Kind):
    """One version, with all that an engine needs to load it."""

    hash: str
    source: str
    base_model: str = ""
    rank: int = 0
    pull_secret: str = ""
    verification: Verification | None = None

    def shadow(self, served_name: str) -> str:
        """The name under which engines have it."""
        return shadow_name(served_name, self.hash)


def version_of(spec: ModelAdapterSpec) -> AdapterVersion:
    """The version that the spec asks for."""
    text = spec.source.encode()
    if spec.verification is not None:
        # Whoever asks for signatures later wants to have them looked at: it is brought anew.
        text += b"\n" + msgspec.json.encode(spec.verification, order="sorted")
    hashed = hashlib.sha256(text).hexdigest()[:10]
    return AdapterVersion(hashed, spec.source, spec.base_model, spec.rank, spec.pull_secret, spec.verification)


def read_history(metadata: Mapping[str, Any]) -> list[AdapterVersion]:
    """Versions that served, the latest first. What cannot be read counts as nothing."""
    text = (metadata.get("annotations") or {}).get(HISTORY_ANNOTATION, "[]")
    try:
        return msgspec.json.decode(text, type=list[AdapterVersion])
    except msgspec.MsgspecError:
        return []


def write_history(versions: Sequence[AdapterVersion]) -> str:
    """The annotation's value."""
    return msgspec.json.encode(list(versions)).decode()


def promoted(history: Sequence[AdapterVersion], version: AdapterVersion) -> list[AdapterVersion]:
    """The history once this version serves."""
    return [version, *[v for v in history if v.hash != version.hash]][: KEPT + 1]


def find(history: Sequence[AdapterVersion], hashed: str) -> AdapterVersion | None:
    """The version of this hash."""
    return next((v for v in history if v.hash == hashed), None) if hashed else None


def before(history: Sequence[AdapterVersion], hashed: str) -> AdapterVersion | None:
    """The version that served before this one, for undo."""
    rest = [v for v in history if v.hash != hashed]
    return rest[0] if rest else None


def is_shadow(name: str) -> bool:
    """Whether a name that an engine lists is one under which Fairlead loads adapters."""
    head, mark, tail = name.rpartition("~")
    return bool(head and mark) and len(tail) == 8 and all(c in "0123456789abcdef" for c in tail)
