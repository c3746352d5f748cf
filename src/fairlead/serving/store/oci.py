"""OCI content as values: digests, descriptors, manifests and indexes (OCI image specification 1.1)."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from fairlead.serving.store.errors import BadArtifact

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
MANIFESTS = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX)

TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
REF_NAME = "org.opencontainers.image.ref.name"

MANIFEST_LIMIT_BYTES = 16 << 20
"""No manifest is read beyond this; registries refuse more than 4 MiB to 10 MiB themselves."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def digest_of(content: bytes) -> str:
    """`sha256:…` of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def is_digest(text: str) -> bool:
    """Whether this is a SHA-256 digest, the one algorithm that is accepted here."""
    return _DIGEST.match(text) is not None


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Where content is and what it promises to be. Sizes in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    artifact_type: str | None = None
    data: str | None = None
    platform: dict[str, Any] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image or an artifact."""

    schema_version: int = msgspec.field(default_factory=lambda: 2)
    media_type: str = msgspec.field(default_factory=lambda: MANIFEST)
    artifact_type: str | None = None
    config: Descriptor
    layers: list[Descriptor] = msgspec.field(default_factory=list)
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A list of manifests."""

    schema_version: int = msgspec.field(default_factory=lambda: 2)
    media_type: str = msgspec.field(default_factory=lambda: INDEX)
    artifact_type: str | None = None
    manifests: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


EMPTY_CONFIG = Descriptor(media_type=EMPTY, digest=digest_of(b"{}"), size=2)
"""The descriptor of `{}`, for artifacts that need no config."""


def encode(document: Manifest | Index) -> bytes:
    """The bytes that are hashed and pushed."""
    return msgspec.json.encode(document)


def decode_manifest(raw: bytes, where: str) -> Manifest:
    """A manifest with sound descriptors. Raises BadArtifact naming the field."""
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadArtifact(f"{where}: not an OCI manifest: {error}") from error
    for name, descriptor in (
        ("config", manifest.config),
        *((f"layers[{i}]", d) for i, d in enumerate(manifest.layers)),
    ):
        check_descriptor(descriptor, f"{where}: {name}")
    return manifest


def decode_index(raw: bytes, where: str) -> Index:
    """An index with sound descriptors. Raises BadArtifact naming the field."""
    try:
        index = msgspec.json.decode(raw, type=Index)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadArtifact(f"{where}: not an OCI index: {error}") from error
    for i, descriptor in enumerate(index.manifests):
        check_descriptor(descriptor, f"{where}: manifests[{i}]")
    return index


def check_descriptor(descriptor: Descriptor, where: str) -> None:
    """Raises BadArtifact unless digest and size can be relied on."""
    if not is_digest(descriptor.digest):
        raise BadArtifact(f"{where}.digest: {descriptor.digest!r} is no sha256 digest; no other kind is supported")
    if descriptor.size < 0:
        raise BadArtifact(f"{where}.size: {descriptor.size} is negative")
