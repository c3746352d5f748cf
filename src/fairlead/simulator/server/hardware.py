"""Timing and capacity from an accelerator and a model's config.json, by the roofline of `fairlead.perf`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fairlead.perf import (
    AcceleratorError,
    ModelConfigError,
    Parallelism,
    Roofline,
    accelerator,
    model_geometry,
)
from fairlead.simulator.engine import EngineSettings


class HardwareError(ValueError):
    """A combination of accelerator, model and parallelism that is unknown or impossible."""


def roofline(name: str, model_config: Path | None, *, tensor_parallel: int, pipeline_parallel: int) -> Roofline:
    """The cost of iterations. Raises HardwareError."""
    if model_config is None:
        raise HardwareError("--accelerator needs --model-config: the config.json of the model")
    try:
        parallelism = Parallelism(tp=tensor_parallel, pp=pipeline_parallel)
        return Roofline(accelerator(name), model_geometry(model_config), parallelism)
    except (AcceleratorError, ModelConfigError, ValueError, OSError) as error:
        raise HardwareError(str(error)) from error


def capacity(cost: Roofline, settings: EngineSettings) -> EngineSettings:
    """The settings with the KV cache and context length that hardware and model allow. Raises HardwareError."""
    tokens = cost.footprint.kv_capacity_tokens(
        max_batched_tokens=settings.max_num_batched_tokens, max_seqs=settings.max_num_seqs
    )
    blocks = tokens // settings.block_tokens
    if blocks < 1:
        raise HardwareError(
            f"the model leaves no room for a KV cache on {cost.parallelism.devices} x {cost.accelerator.name}: raise "
            "--tensor-parallel-size or take a larger accelerator"
        )
    context = cost.geometry.max_context_tokens
    return replace(settings, num_blocks=blocks, max_model_len=context or settings.max_model_len)
