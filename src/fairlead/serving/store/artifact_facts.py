"""What the manifest of an artifact tells of a model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from fairlead.clock import Clock
from fairlead.serving.store import oci
from fairlead.serving.store.artifacts import AnyRepository, in_thread, open_repository
from fairlead.serving.store.cache.artifact import logins_of
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.plan import Plan, plan
from fairlead.serving.store.pull import resolve
from fairlead.serving.store.references import Reference, parse_reference
from fairlead.serving.store.repository import Cancel

_CONFIG = "config.json"
_MAX_CONFIG_BYTES = 4 << 20
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".onnx")


@dataclass(frozen=True, slots=True)
class ArtifactFacts:
    """`is_image`: a kubelet can mount it. `weights_bytes` None: they are inside archives."""

    digest: str
    exact: str
    is_image: bool
    weights_bytes: int | None
    config: bytes | None


async def artifact_facts(url: str, settings: Mapping[str, str], clock: Clock) -> ArtifactFacts:
    """Raises StoreError."""
    reference = parse_reference(url)
    registry = Settings(logins=logins_of(settings), clock=clock, attempts=2)
    return await in_thread(lambda cancel: _look(reference, registry, cancel))


def _look(reference: Reference, registry: Settings, cancel: Cancel) -> ArtifactFacts:
    with closing(open_repository(reference, registry, cancel)) as repository:
        digest, manifest = resolve(repository, reference.selector)
        planned = plan(manifest, f"{repository.name}@{digest}")
        weights = sum(file.size for file in planned.files if file.path.endswith(_WEIGHTS))
        is_image = manifest.artifact_type is None and manifest.config.media_type in (
            oci.IMAGE_CONFIG,
            "application/vnd.docker.container.image.v1+json",
        )
        exact = "" if reference.folder is not None else str(reference.at(digest=digest))
        return ArtifactFacts(digest, exact, is_image, weights or None, _config(repository, planned))


def _config(repository: AnyRepository, planned: Plan) -> bytes | None:
    file = next((f for f in planned.files if f.path == _CONFIG), None)
    if file is None or file.size > _MAX_CONFIG_BYTES or len(file.pieces) != 1:
        return None
    layer = file.pieces[0].layer
    reader = repository.open_blob(layer, 0, layer.size)
    try:
        body = bytearray(layer.size)
        filled = 0
        while filled < layer.size and (count := reader.readinto(memoryview(body)[filled:])):
            filled += count
    finally:
        reader.close()
    content = bytes(body)
    return content if oci.digest_of(content) == layer.digest else None
