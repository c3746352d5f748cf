"""What the replicas of a pool are made of: an engine's settings and costs, a frontend, accelerators and a price."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from fairlead.perf import Accelerator, AcceleratorError, ModelConfigError, StepCost, accelerator, model_geometry
from fairlead.perf.footprint import Footprint
from fairlead.perf.parallelism import Parallelism
from fairlead.perf.roofline import Roofline
from fairlead.simulator.engine import Engine, EngineSettings, SettingsError, Sketch, TransferSettings
from fairlead.simulator.fleet.config import PoolSpec, Scenario, ScenarioError
from fairlead.simulator.fleet.presets import DEFAULT_ACCELERATOR, DEFAULT_MODEL, PRESETS
from fairlead.simulator.profile import FrontendCost, ProfileError, load_profile

_LARGE_MEMORY_BYTES = 70 * 2**30
_LARGEST_MEMORY_BYTES = 160 * 2**30


@dataclass(frozen=True, slots=True)
class ReplicaModel:
    """One kind of replica. `usd_per_h` is the price of one accelerator, None where nobody knows it."""

    settings: EngineSettings
    cost: StepCost
    frontend: FrontendCost = field(default_factory=FrontendCost)
    ranks: int = 1
    accelerators: int = 1
    usd_per_h: float | None = None
    description: str = ""

    def engine(self, seed: int, itl: Sketch) -> Engine:
        """A new engine that adds its inter-token latencies to `itl`."""
        return Engine(self.settings, self.cost, seed=seed, itl=itl)


def with_defaults(scenario: Scenario) -> Scenario:
    """The scenario with the hardware and model that its pools do not name, so that it says the same for ever."""
    pools = [
        spec
        if spec.profile is not None
        else msgspec.structs.replace(
            spec, accelerator=spec.accelerator or DEFAULT_ACCELERATOR, model=spec.model or DEFAULT_MODEL
        )
        for spec in scenario.pools
    ]
    return msgspec.structs.replace(scenario, pools=pools)


def replica_model(spec: PoolSpec) -> ReplicaModel:
    """The replicas that a pool's specification describes. Reads the files it names. Raises ScenarioError."""
    try:
        if spec.profile is not None:
            return _from_profile(spec, Path(spec.profile))
        return _from_roofline(spec)
    except (ProfileError, SettingsError, AcceleratorError, ModelConfigError, ValueError) as error:
        raise ScenarioError(f"pool {spec.name}: {error}") from error


def _from_profile(spec: PoolSpec, path: Path) -> ReplicaModel:
    profile = load_profile(path)
    if profile.cost is None:
        raise ScenarioError(f"the profile {path} has no cost; `fairlead simulate calibrate` fits one")
    device = None if spec.accelerator is None else accelerator(spec.accelerator)
    return ReplicaModel(
        _overridden(profile.engine, spec.engine),
        profile.cost,
        profile.frontend,
        ranks=spec.data_parallel,
        accelerators=spec.tensor_parallel * spec.pipeline_parallel * spec.data_parallel,
        usd_per_h=_price(spec, device),
        description=f"profile {path}",
    )


def _from_roofline(spec: PoolSpec) -> ReplicaModel:
    device = accelerator(spec.accelerator or DEFAULT_ACCELERATOR)
    name = spec.model or DEFAULT_MODEL
    geometry = model_geometry(PRESETS[name] if name in PRESETS else _config_path(name))
    # Ranks of a dense model share nothing: each is an engine of its own.
    shared_ranks = spec.data_parallel if geometry.feed_forward.moe_layers else 1
    parallelism = Parallelism(tp=spec.tensor_parallel, pp=spec.pipeline_parallel, dp=shared_ranks)
    footprint = Footprint(device, geometry, parallelism, spec.kv_dtype)
    batched, seqs = _vllm_defaults(device)
    batched = _count(spec, "max_num_batched_tokens", batched)
    seqs = _count(spec, "max_num_seqs", seqs)
    block_tokens = _count(spec, "block_tokens", EngineSettings().block_tokens)
    tokens = footprint.kv_capacity_tokens(max_batched_tokens=batched, max_seqs=seqs)
    if tokens < block_tokens:
        raise ScenarioError(
            f"{name} leaves no room for a KV cache on {parallelism.devices} x {device.name}; raise "
            "tensor_parallel or take a larger accelerator"
        )
    settings = EngineSettings(
        num_blocks=tokens // block_tokens,
        max_num_seqs=seqs,
        max_num_batched_tokens=batched,
        max_model_len=geometry.max_context_tokens or EngineSettings().max_model_len,
        transfer=_transfer(footprint),
    )
    return ReplicaModel(
        _overridden(settings, spec.engine),
        Roofline(device, geometry, parallelism, kv_dtype=spec.kv_dtype),
        ranks=spec.data_parallel,
        accelerators=spec.tensor_parallel * spec.pipeline_parallel * spec.data_parallel,
        usd_per_h=_price(spec, device),
        description=f"{name} on {spec.tensor_parallel * spec.pipeline_parallel} x {device.name}, roofline",
    )


def _count(spec: PoolSpec, name: str, default: int) -> int:
    """A count that the specification may override; what is no count is refused where the settings are made."""
    given = spec.engine.get(name)
    return given if isinstance(given, int) and given > 0 else default


def _config_path(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise ScenarioError(f"model {name!r} is neither a config.json nor one of {', '.join(PRESETS)}")
    return path


def _vllm_defaults(device: Accelerator) -> tuple[int, int]:
    """(max_num_batched_tokens, max_num_seqs) of vLLM's API server by device memory.

    Reference: vLLM 0.32, `engine/arg_utils.py::get_batch_defaults`.
    """
    memory = device.required("memory_bytes")
    if memory >= _LARGEST_MEMORY_BYTES:
        return 16_384, 1024
    if memory >= _LARGE_MEMORY_BYTES and not device.name.startswith("A100"):
        return 8192, 1024
    return 2048, 256


def _transfer(footprint: Footprint) -> TransferSettings:
    """Hand-off of KV caches at the device's share of the node's network, where the table knows it."""
    rate = footprint.accelerator.network_bytes_per_s
    if rate is None:
        return TransferSettings()
    return TransferSettings(tokens_per_s=1 / footprint.kv_transfer_s(1, rate))


def _overridden(settings: EngineSettings, overrides: dict[str, Any]) -> EngineSettings:
    """The settings with the fields of a specification; nested parts are objects. Raises SettingsError, ValueError."""
    if not overrides:
        return settings
    known = asdict(settings)
    for name in overrides:
        if name not in known:
            raise ValueError(f"engine.{name} does not exist; take one of {', '.join(known)}")
    try:
        given = msgspec.convert({**known, **overrides}, EngineSettings)
    except msgspec.ValidationError as error:
        raise ValueError(f"engine: {error}") from error
    return replace(settings, **{name: getattr(given, name) for name in overrides})


def _price(spec: PoolSpec, device: Accelerator | None) -> float | None:
    if spec.usd_per_h is not None:
        return spec.usd_per_h
    return device.price.low_usd_per_h if device is not None and device.price is not None else None
