"""How an adapter's files come to an engine that runs already.

The engine opens folders and downloads from the hub itself. Anything else (s3://, oci://, http://, …) is fetched by the
sidecar of its pod (`loader`), which reads from the pod's own annotation what is wanted and answers where it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairlead.serving.adapters.adapter_config import FILE_NAME, MAX_BYTES
from fairlead.serving.adapters.engines_seen import SeenEngine
from fairlead.serving.adapters.versions import AdapterVersion

_LOG = logging.getLogger("fairlead.serving.adapters")

DIRECT: Final = ("file", "hf", "")
"""Schemes that engines open themselves; empty for a path."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """It is there: what the engine is told to load, and the adapter's own configuration where it could be read."""

    path: str
    config: bytes | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is on its way; ask again in so many seconds."""

    message: str
    again_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Refused:
    """It will not come like this."""

    message: str


class Delivery:
    """Finds out where a version is for an engine."""

    def __init__(self) -> None:
        self.configs: dict[str, bytes] = {}
        """Source -> its adapter_config.json, of those that were fetched."""

    async def deliver(self, engine: SeenEngine, name: str, version: AdapterVersion) -> Delivered | Waiting | Refused:
        """Where the version is, as the engine sees it."""
        if scheme_of(version.source) in DIRECT:
            return Delivered(version.source)
        return Refused(f"{version.source} is fetched by the sidecar adapter-loader, and the pod has none")


def scheme_of(source: str) -> str:
    """Of a source; empty for a path."""
    return source.partition("://")[0] if "://" in source else ""


def local_config(source: str) -> bytes | None:
    """The adapter's configuration where its folder is on this machine too, as it is with engines of the embedded
    platform; None where it is not to be seen from here."""
    path = source.removeprefix("file://")
    if not path.startswith("/"):
        return None
    try:
        with (Path(path) / FILE_NAME).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError:
        return None
