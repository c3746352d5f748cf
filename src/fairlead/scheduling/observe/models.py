"""Which models nodes have in their caches and pods load, as annotations tell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

NODE_MODELS: Final = "fairlead.dev/models"
"""On nodes: JSON object, digest or source of a model -> its bytes. The node's model cache writes it."""
POD_MODEL: Final = "fairlead.dev/model-digest"
"""On pods: digest and sources of the model, separated by spaces; any of them may be what a node lists."""


def models_of_node(annotations: Mapping[str, str]) -> Mapping[str, int]:
    """What the node has; nothing where the annotation cannot be read."""
    text = annotations.get(NODE_MODELS, "")
    return _decode(text) if text else {}


def models_of_pod(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the model that the pod loads."""
    return tuple(dict.fromkeys(annotations.get(POD_MODEL, "").split()))


@lru_cache(maxsize=4096)
def _decode(text: str) -> Mapping[str, int]:
    # Nodes are seen again with every heartbeat, their models hardly ever differ.
    try:
        found = msgspec.json.decode(text, type=dict[str, int])
    except msgspec.DecodeError:
        return {}
    return {name: size for name, size in found.items() if size > 0}
