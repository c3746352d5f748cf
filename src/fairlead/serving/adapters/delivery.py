"""How an adapter's files come to an engine that runs already.

The engine opens folders and downloads from the hub itself. Anything else (s3://, oci://, http://, …) is fetched by the
sidecar of its pod (`loader`), which reads from the pod's own annotation what is wanted and answers where it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from fairlead.kube.client import Client
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import Pod
from fairlead.serving.adapters.adapter_config import FILE_NAME, MAX_BYTES
from fairlead.serving.adapters.engine_calls import TIMEOUT_S, CallFailed
from fairlead.serving.adapters.engines_seen import SeenEngine
from fairlead.serving.adapters.loader import Slot, Wanted
from fairlead.serving.adapters.loader_mount import CONTAINER, PORT, SOURCES_ANNOTATION
from fairlead.serving.adapters.versions import AdapterVersion

Json = dict[str, Any]

_PODS = PODS.as_unstructured()

DIRECT: Final = ("file", "hf", "")
"""Schemes that engines open themselves; empty for a path."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """It is there: what the engine is told to load."""

    path: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is on its way; ask again in so many seconds."""

    message: str
    again_s: float = 1.0
    is_failure: bool = False
    """Whether something went wrong meanwhile."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It will not come like this."""

    message: str


class Delivery:
    """Finds out where a version is for an engine, and has it brought there."""

    def __init__(self, client: Client | None = None) -> None:
        self._client = client
        self.configs: dict[str, bytes] = {}
        """Source -> its adapter_config.json, of those that were fetched."""

    async def deliver(self, engine: SeenEngine, version: AdapterVersion) -> Delivered | Waiting | Refused:
        """Where the version is, as the engine sees it."""
        if scheme_of(version.source) in DIRECT and not version.pull_secret:
            return Delivered(version.source)
        if self._client is None or not has_loader(engine.pod):
            return Refused(
                f"{version.source} has to be fetched, and the pod has no container {CONTAINER}: set "
                "spec.adapters.fetch of the ModelService (its replicas are then replaced once)"
            )
        slot = f"adapter-{version.hash}"
        await self._want(self._client, engine, slot, wanted_of(version))
        found = (await self._page(engine)).get(slot)
        if found is None:
            return Waiting("the pod has not heard of it yet")
        if found.state == "failed":
            return Waiting(f"{version.source} was not fetched: {found.message}", again_s=5.0, is_failure=True)
        if found.state == "fetching":
            return Waiting(f"{version.source} is being fetched")
        if not found.config:
            return Refused(
                f"{version.source} has no {FILE_NAME}: it is no LoRA adapter as PEFT saves them; push or upload the "
                "whole folder"
            )
        if version.source not in self.configs:
            # Whether it fits is looked at before it is loaded.
            self.configs[version.source] = found.config.encode()
            return Waiting("its configuration is looked at", again_s=0.05)
        return Delivered(found.path)

    async def _want(self, client: Client, engine: SeenEngine, slot: str, source: str | Json) -> None:
        """Add it to what the pod's loader is to have; what is not loaded any more leaves."""
        async with engine.sources_lock:
            wanted = dict(engine.sources)
            wanted[slot] = source
            if wanted == engine.sources:
                return
            meta = engine.pod.metadata
            said = json.dumps(wanted, sort_keys=True)
            change = {"metadata": {"annotations": {SOURCES_ANNOTATION: said}}}
            await client.patch(_PODS, meta.name, change, meta.namespace)
            engine.sources = wanted

    async def _page(self, engine: SeenEngine) -> Mapping[str, Slot]:
        url = f"{engine.at.url.rpartition(':')[0]}:{PORT}/adapters"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
                session.get(url) as answer,
            ):
                return msgspec.json.decode(await answer.read(), type=dict[str, Slot])
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            raise CallFailed(f"{engine.name}: {CONTAINER}: {error or type(error).__name__}") from error


def wanted_of(version: AdapterVersion) -> str | Json:
    """What the pod's annotation says of a version: its source alone where nothing else is to be said, which every
    loader understands."""
    if not version.pull_secret and version.verification is None:
        return version.source
    verification = None if version.verification is None else msgspec.to_builtins(version.verification)
    said: Json = msgspec.to_builtins(Wanted(version.source, version.pull_secret, verification))
    return said


def has_loader(pod: Pod) -> bool:
    """Whether the sidecar is in the pod."""
    return any(c.name == CONTAINER for c in (*pod.spec.init_containers, *pod.spec.containers))


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
