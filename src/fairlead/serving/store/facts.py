"""What can be told of a model before anything is fetched: its config.json, the size of its weights, its version.

Reads the listing and config.json, and for safetensors nothing more: the index or the sizes of the files say how much
they weigh. For artifacts of registries: the manifest, and config.json where it is a layer of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.serving.resolved import ModelFacts
from fairlead.serving.store import errors
from fairlead.serving.store.sources.errors import BadSource, NotThere, SourceError, Unreachable, Unsafe
from fairlead.serving.store.sources.listing import Listing, Source, SourceFile
from fairlead.serving.store.sources.open import Choice, open_source

CONFIG = "config.json"
_MAX_CONFIG_BYTES = 4 << 20
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".onnx_data", ".engine")


@dataclass(frozen=True, slots=True)
class NoFacts:
    """Why nothing is known. `is_final`: the source has answered, and it is not there; asking again changes nothing."""

    reason: str
    is_final: bool = False


async def read_facts(
    url: str,
    settings: Mapping[str, str] = os.environ,
    *,
    format: str = "",
    timeout_s: float = 20.0,
    clock: Clock = SYSTEM,
) -> ModelFacts | NoFacts:
    """Facts of a model, or why there are none. Never takes longer than `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            if url.startswith(("oci://", "layout://")):
                return await _of_artifact(url, settings, clock)
            source = open_source(url, settings, choice=Choice(format), clock=clock)
            try:
                return await facts_of(source)
            finally:
                await source.close()
    except TimeoutError:
        return NoFacts(f"{url}: it did not say what it has within {timeout_s:g} s")
    except (NotThere, BadSource, Unsafe, errors.NotFound, errors.BadArtifact) as error:
        return NoFacts(str(error), is_final=True)
    except (SourceError, errors.StoreError, OSError) as error:
        return NoFacts(str(error))


async def facts_of(source: Source) -> ModelFacts:
    """Facts of an open source. Raises SourceError."""
    listing = await source.listing()
    config = next((f for f in listing.files if f.name == CONFIG), None)
    return ModelFacts(
        config=None if config is None else await _config(source, config),
        weights_bytes=_weights_bytes(listing),
        digest=listing.digest,
        exact_source=listing.exact,
    )


async def _config(source: Source, file: SourceFile) -> Mapping[str, Any]:
    if file.size is not None and file.size > _MAX_CONFIG_BYTES:
        raise Unreachable(f"{source.url}: its config.json has {file.size} bytes, which is no configuration")
    body = bytearray()
    async for data in source.read(file, 0, None):
        body += data
        if len(body) > _MAX_CONFIG_BYTES:
            raise Unreachable(f"{source.url}: its config.json has more than {_MAX_CONFIG_BYTES} bytes")
    return _decoded(bytes(body), source.url)


def _decoded(body: bytes, where: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable(f"{where}: its config.json cannot be read: {error}") from error


def _weights_bytes(listing: Listing) -> int | None:
    sizes = [f.size for f in listing.files if f.name.endswith(_WEIGHTS)]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


async def _of_artifact(url: str, settings: Mapping[str, str], clock: Clock) -> ModelFacts:
    # A registry's client, which those who know no artifacts do without.
    from fairlead.serving.store.artifact_facts import artifact_facts

    found = await artifact_facts(url, settings, clock)
    config = None if found.config is None else _decoded(found.config, url)
    return ModelFacts(config, found.weights_bytes, found.digest, found.exact, found.is_image)
