"""What to change where an engine ran out of memory, with its numbers. Pure.

Host memory is the container's limit (the kernel ends it: OOMKilled, exit code 137). Accelerator memory is the engine's
own accounting: it ends itself with an error of its own, whose words the last lines of its log have.
"""

from __future__ import annotations

import re
from typing import Final

from fairlead.kube.quantity import parse_quantity

_ON_DEVICE: Final = re.compile(
    r"out of memory|OutOfMemoryError|RESOURCE_EXHAUSTED|No available memory for the cache", re.I
)
_SHORT_CACHE: Final = re.compile(r"No available memory for the cache|larger than the maximum number of tokens", re.I)
_MORE: Final = 1.25
"""Suggested limit over the one that was too little."""


def is_device_memory(message: str) -> bool:
    """Whether the last words of an engine say that its accelerator's memory was too little."""
    return bool(_ON_DEVICE.search(message) or _SHORT_CACHE.search(message))


def host_memory_hint(limit: str) -> str:
    """What to do about a container that the kernel ended; `limit` as in the pod, empty for none."""
    if not limit:
        return (
            "the node ran out of memory, as the engine has no limit of its own: set resources.requests.memory to what "
            "it needs, so that it gets a node that has it"
        )
    return (
        f"it needs more than its memory limit of {limit}: set resources.limits.memory to {_more(limit)}, or lower "
        "kvCache.offload, model.maxContextTokens or the batch size (--max-num-seqs)"
    )


def device_memory_hint(message: str) -> str:
    """What to do about an engine whose accelerator's memory was too little."""
    if _SHORT_CACHE.search(message):
        return (
            "no room is left for the KV cache beside the weights: lower model.maxContextTokens, raise "
            "kvCache.memoryPercent, take more accelerators (parallelism.tensor), or a kvCache.dtype of 8 bits"
        )
    return (
        "the accelerator's memory is too little: lower kvCache.memoryPercent, model.maxContextTokens or the batch size "
        "(--max-num-seqs), or take more accelerators (parallelism.tensor)"
    )


def _more(limit: str) -> str:
    gib = float(parse_quantity(limit)) * _MORE / 2**30
    return f"{gib:.0f}Gi" if gib >= 10 else f"{gib * 1024:.0f}Mi"
