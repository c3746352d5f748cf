"""Which models a node has, told to schedulers by an annotation of the Node.

`fairlead.dev/models` is a JSON object: digest or source of a model -> its bytes. Sources are there too, as pods name
models by what their services say. It is bounded: models that were not used for longest are left out first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError
from fairlead.kube.kinds import NODES
from fairlead.kube.transport import Unreachable
from fairlead.serving.store.cache.cache import Cached, CacheError, ModelCache

_LOG = logging.getLogger(__name__)
ANNOTATION = "fairlead.dev/models"
LIMIT_BYTES = 16 << 10
"""Annotations of an object may take 256 KiB together, and every watcher of nodes gets them all."""
LOOK_S = 10.0
_LONGEST = 512


def annotation_of(models: Sequence[Cached], limit_bytes: int = LIMIT_BYTES) -> str:
    """What to write for these models, the latest used first. Pure."""
    listed: dict[str, int] = {}
    taken = 2
    for model in sorted(models, key=lambda m: (-m.used_s, m.record.digest)):
        names = (model.record.digest, *(s for s in model.sources if len(s) <= _LONGEST and " " not in s))
        added = {name: model.record.bytes for name in names}
        size = len(msgspec.json.encode(added))
        if taken + size > limit_bytes:
            break
        listed |= added
        taken += size
    return msgspec.json.encode(listed, order="sorted").decode()


async def publish_once(client: Client, node: str, models: Sequence[Cached], before: str = "") -> str:
    """Writes the node's annotation unless it was `before`; returns what it is then. Raises ApiError, Unreachable."""
    text = annotation_of(models)
    if text != before:
        await client.patch(NODES, node, {"metadata": {"annotations": {ANNOTATION: text}}})
    return text


async def publish(client: Client, node: str, cache: ModelCache, clock: Clock = SYSTEM) -> None:
    """Keeps the annotation true until cancelled. What fails is tried again at the next look."""
    said = ""
    while True:
        try:
            models = await asyncio.to_thread(cache.models)
            said = await publish_once(client, node, models, said)
        except (ApiError, Unreachable, CacheError, OSError) as error:
            _LOG.warning("the models of %s are not told: %s", node, error)
        await clock.sleep(LOOK_S)
