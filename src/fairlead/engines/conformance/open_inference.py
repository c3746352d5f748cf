"""Servers of the Open Inference Protocol v2: metadata, an inference made from it, and unknown models."""

from __future__ import annotations

from math import prod
from typing import Any

from fairlead.engines.conformance.outcome import NotSupported, expect
from fairlead.engines.conformance.target import Target

_ZERO: dict[str, Any] = {"BYTES": "", "BOOL": False, "FP16": 0.0, "FP32": 0.0, "FP64": 0.0}


async def metadata(target: Target) -> str:
    """The model is ready and says its inputs and outputs."""
    reply = await target.get(f"/v2/models/{target.model}/ready")
    expect(reply.status == 200, f"GET /v2/models/{target.model}/ready: HTTP {reply.status}")
    described = await _metadata(target)
    expect(described.get("name") == target.model, f"metadata of {described.get('name')!r}")
    names = [str(part.get("name")) for kind in ("inputs", "outputs") for part in described.get(kind) or ()]
    expect(
        bool(described.get("inputs")) and bool(described.get("outputs")), f"metadata without inputs or outputs: {names}"
    )
    return ", ".join(names)


async def inference(target: Target) -> str:
    """Zeros of the right shapes come back as tensors with as much data as their shapes say."""
    answer = await infer(target)
    outputs = answer.get("outputs") or []
    expect(bool(outputs), "an answer without outputs")
    for output in outputs:
        shape, data = output.get("shape"), output.get("data")
        expect(
            isinstance(shape, list) and isinstance(data, list), f"output {output.get('name')!r} without shape or data"
        )
        expect(_size(data) == prod(shape), f"output {output.get('name')!r}: {_size(data)} values for shape {shape}")
    return ", ".join(f"{o.get('name')} {o.get('shape')}" for o in outputs)


async def unknown_model(target: Target) -> str:
    """404, or 400 as some servers have it, with an error."""
    reply = await target.post(f"/v2/models/{target.nonce}-no-such-model/infer", {"inputs": []})
    expect(reply.status in (400, 404), f"HTTP {reply.status}, not 404")
    error = reply.json().get("error")
    expect(isinstance(error, str) and bool(error), f"an error body without `error`: {reply.body[:200]!r}")
    return f"HTTP {reply.status}: {error}"


async def infer(target: Target) -> dict[str, Any]:
    """Ask the model for zeros; returns the answer. Raises CheckFailed, or NotSupported when it says no inputs."""
    inputs = [_zeros(part) for part in (await _metadata(target)).get("inputs") or ()]
    if not inputs:
        raise NotSupported("the model says no inputs, so that none can be made up")
    reply = await target.post(f"/v2/models/{target.model}/infer", {"inputs": inputs})
    expect(reply.status == 200, f"POST infer: HTTP {reply.status}: {reply.body[:200]!r}")
    return reply.json()


async def _metadata(target: Target) -> dict[str, Any]:
    reply = await target.get(f"/v2/models/{target.model}")
    expect(reply.status == 200, f"GET /v2/models/{target.model}: HTTP {reply.status}")
    return reply.json()


def _zeros(part: dict[str, Any]) -> dict[str, Any]:
    # A dimension of -1 may be anything: one is enough.
    shape = [1 if size < 0 else size for size in part.get("shape") or [1]]
    kind = str(part.get("datatype"))
    return {"name": part.get("name"), "shape": shape, "datatype": kind, "data": [_ZERO.get(kind, 0)] * prod(shape)}


def _size(data: list[Any]) -> int:
    """Values in nested or flat data."""
    return sum(_size(part) if isinstance(part, list) else 1 for part in data)
