"""Content negotiation: which form of which encoding a response takes, by the request's Accept header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fairlead.kube.errors import NotAcceptable

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
STREAM_TYPES = (f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")


@dataclass(frozen=True, slots=True)
class Form:
    """How to answer. `transform` is "", "Table", "PartialObjectMetadata" or "PartialObjectMetadataList", or the
    discovery document that was asked for; `version` its version."""

    media_type: str = JSON
    transform: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Clause:
    """One alternative of an Accept header."""

    media_type: str
    parameters: dict[str, str]
    quality: float


PLAIN = Form()
_TRANSFORMS = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})


@lru_cache(maxsize=256)
def parse_accept(accept: str) -> tuple[Clause, ...]:
    """The alternatives, best first. An empty header accepts anything."""
    clauses = []
    for part in accept.split(","):
        media_type, *rest = (piece.strip() for piece in part.split(";"))
        if not media_type:
            continue
        parameters = dict(piece.split("=", 1) for piece in rest if "=" in piece)
        try:
            quality = float(parameters.pop("q", 1.0))
        except ValueError:
            quality = 1.0
        clauses.append(Clause(media_type.lower(), parameters, quality))
    clauses.sort(
        key=lambda clause: (-clause.quality, clause.media_type.startswith("*/"), clause.media_type.endswith("/*"))
    )
    return tuple(clauses) or (Clause("*/*", {}, 1.0),)


def _encoding_of(media_type: str) -> str | None:
    if media_type in (JSON, "*/*", "application/*"):
        return JSON
    if media_type == YAML:
        return YAML
    return None


@lru_cache(maxsize=256)
def negotiate(accept: str, *, is_custom: bool = False) -> Form:
    """The form for an object or a list. Raises NotAcceptable."""
    for clause in parse_accept(accept):
        encoding = _encoding_of(clause.media_type)
        if encoding is None:
            continue
        wanted = clause.parameters.get("as", "")
        if not wanted:
            return Form(encoding)
        version = clause.parameters.get("v", "")
        if wanted in _TRANSFORMS and clause.parameters.get("g") == "meta.k8s.io" and version in ("v1", "v1beta1"):
            return Form(encoding, wanted, version)
    raise not_acceptable()


@lru_cache(maxsize=64)
def negotiate_discovery(accept: str) -> Form:
    """The form for `/api` and `/apis`: the legacy document or the aggregated one. Raises NotAcceptable."""
    for clause in parse_accept(accept):
        encoding = _encoding_of(clause.media_type)
        if encoding is None:
            continue
        wanted = clause.parameters.get("as", "")
        if not wanted:
            return Form(encoding)
        known = clause.parameters.get("g") == "apidiscovery.k8s.io" and clause.parameters.get("v") == "v2"
        if known and wanted == "APIGroupDiscoveryList":
            return Form(encoding, wanted, "v2")
    raise not_acceptable()


def not_acceptable(accepted: Sequence[str] = (JSON, YAML, PROTOBUF)) -> NotAcceptable:
    return NotAcceptable(f"only the following media types are accepted: {', '.join(accepted)}")
