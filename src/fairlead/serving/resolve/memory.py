"""Whether the weights fit on the accelerators, said with the arithmetic before any pod starts. Pure.

Refused is only what cannot be: weights that leave no room at all on a device. What is not known refuses nothing, and is
said. Formulas: `fairlead.perf.footprint`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fairlead.api.model_service import Accelerator as AcceleratorEntry
from fairlead.engines import Engine, Parallelism
from fairlead.perf import Accelerator as Device
from fairlead.perf import AcceleratorError, Footprint, ModelConfigError, ModelGeometry, accelerator, model_geometry
from fairlead.perf import Parallelism as Spread
from fairlead.perf.footprint import RESERVE_BYTES
from fairlead.serving.resolve.engine_specs import engine_parallelism
from fairlead.serving.resolve.workload import RoleWorkload
from fairlead.serving.resolved import ModelFacts

_FRACTIONS: Final = {"vllm": 0.92, "vllm-tpu": 0.92, "sglang": 0.92, "tgi": 1.0}
"""Engine -> share of the memory that weights and cache have, where nobody says; for the others the setting means
something else, and all of the memory is reckoned with."""
_WITHOUT_MEMORY: Final = frozenset({"simulated", "onnx", "mlserver", "openvino"})
"""Engines whose models are not reckoned: they simulate, or serve models of other kinds."""
_CARD_RANKS: Final = {"furiosa-llm": 8}
_MOST_TENSOR: Final = 64


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one accelerator: `misfit` says with numbers why the weights do not fit, `warning` what is not known or tight;
    empty where there is nothing to say."""

    misfit: str = ""
    warning: str = ""


def reckon(
    workload: RoleWorkload, entry: AcceleratorEntry, engine: Engine, facts: ModelFacts, context: int | None
) -> Verdict:
    """`context` is the longest prompt and answer that the service says, tokens."""
    if engine.runtime in _WITHOUT_MEMORY or not (entry.device_class or entry.resource or entry.model):
        return Verdict()
    where = f"{workload.field}accelerators[{entry.name}]"
    if not entry.model:
        return Verdict(warning=f"{where}.model is not said: whether the weights fit is seen when the engine starts")
    try:
        device = accelerator(entry.model)
        memory = device.required("memory_bytes")
    except AcceleratorError as error:
        return Verdict(warning=f"{where}.model: {error}; whether the weights fit is seen when the engine starts")
    parallelism = engine_parallelism(workload.parallelism, workload.field)
    geometry, why = _geometry(facts)
    if geometry is None and facts.weights_bytes is None:
        return Verdict(
            warning=f"{where}: {why}; whether the weights fit on {device.name} is seen when the engine starts"
        )
    percent = workload.kv_cache.memory_percent
    known = _FRACTIONS.get(engine.runtime)
    fraction = known if known is not None and percent is None else (percent or 100) / 100 if known is not None else 1.0
    case = _Case(device, memory, fraction, geometry, facts.weights_bytes, _CARD_RANKS.get(engine.runtime, 1))
    return case.verdict(where, parallelism, context, workload.kv_cache.dtype or "auto")


@dataclass(frozen=True, slots=True)
class _Case:
    """One model on one kind of device; bytes."""

    device: Device
    memory: float
    fraction: float
    geometry: ModelGeometry | None
    weights: int | None
    ranks: int
    """Ranks on one device."""

    def verdict(self, where: str, p: Parallelism, context: int | None, kv_dtype: str) -> Verdict:
        share, total = self.share(p), self.total
        room = self.usable - share - RESERVE_BYTES
        sums = (
            f"weights {_gb(total)} / ({_spread(p)}) = {_gb(share)} for each of {self.devices(p)} {self.device.name}, "
            f"which have {_gb(self.memory)}"
        )
        if self.fraction < 1:
            sums += f", {self.fraction:.0%} of it usable ({_gb(self.usable)})"
        if room <= 0:
            lacking = f"{_gb(-room)} too little with {_gb(RESERVE_BYTES)} that the engine needs besides"
            return Verdict(misfit=f"{where}: {sums}: {lacking}; {self._remedy(p)}")
        return Verdict(warning=self._tight(where, p, room, sums, context, kv_dtype))

    @property
    def usable(self) -> float:
        return self.memory * self.fraction

    @property
    def total(self) -> float:
        if self.weights is not None:
            return float(self.weights)
        assert self.geometry is not None
        return Footprint(self.device, self.geometry, Spread()).weights_bytes

    def devices(self, p: Parallelism) -> int:
        return -(-p.devices // self.ranks)

    def share(self, p: Parallelism) -> float:
        """On the fullest device. From the geometry where it is known, which tells what is not divided; scaled to the
        bytes that are really there."""
        if self.geometry is not None:
            spread = _spread_of(p, self.geometry)
            try:
                part = Footprint(self.device, self.geometry, spread).weights_bytes
            except ValueError:
                # It cannot be spread so; the engine says so itself.
                return self.total / (p.tensor * p.pipeline) * min(self.ranks, p.tensor)
            whole = Footprint(self.device, self.geometry, Spread()).weights_bytes
            return self.total * part / whole * min(self.ranks, p.tensor)
        spread_over = p.tensor * p.pipeline * (p.data if p.expert > 1 else 1)
        return self.total / spread_over * min(self.ranks, p.tensor)

    def _remedy(self, p: Parallelism) -> str:
        for tried in _larger(p):
            if self._fits(tried):
                return (
                    f"it needs at least {_spread(tried)} ({self.devices(tried)} devices), or a smaller type of weights"
                )
        return "take devices with more memory, or a smaller type of weights"

    def _fits(self, p: Parallelism) -> bool:
        if self.geometry is not None:
            try:
                _spread_of(p, self.geometry).check(self.geometry)
            except ValueError:
                return False
        return self.usable - self.share(p) - RESERVE_BYTES > 0

    def _tight(self, where: str, p: Parallelism, room: float, sums: str, context: int | None, kv_dtype: str) -> str:
        """Where the cache does not hold one request of full length, which some engines do not start with."""
        if self.geometry is None:
            return ""
        longest = context or self.geometry.max_context_tokens
        try:
            footprint = Footprint(self.device, self.geometry, _spread_of(p, self.geometry), kv_dtype)
        except ValueError:
            return ""
        if not longest:
            return ""
        tokens = int(room / (footprint.kv_bytes_per_token * min(self.ranks, p.tensor)))
        if tokens >= longest:
            return ""
        return (
            f"{where}: {sums}; {_gb(room)} are left for the KV cache, about {tokens} tokens, less than one request of "
            f"{longest}: set model.maxContextTokens, or spread the model wider"
        )


def _geometry(facts: ModelFacts) -> tuple[ModelGeometry | None, str]:
    """The geometry, or why it is not known."""
    if facts.config is None:
        return None, "the model's config.json has not been read"
    try:
        return model_geometry(facts.config), ""
    except ModelConfigError as error:
        return None, f"the model's config.json: {error}"


def _spread_of(p: Parallelism, geometry: ModelGeometry) -> Spread:
    """Data-parallel ranks of a dense model share nothing: each is an engine of its own."""
    is_moe = bool(geometry.feed_forward.moe_layers)
    dp = p.data if is_moe else 1
    return Spread(p.tensor, p.pipeline, dp, p.expert if is_moe and p.expert == p.tensor * dp else 1)


def _larger(p: Parallelism) -> Iterator[Parallelism]:
    """Wider ones, the least devices first."""
    tensor = p.tensor * 2
    while tensor <= _MOST_TENSOR:
        yield Parallelism(tensor, p.pipeline, p.data, 1, 1)
        tensor *= 2
    for pipeline in (2, 4, 8):
        if pipeline > p.pipeline:
            yield Parallelism(max(p.tensor, 8), pipeline, p.data, 1, 1)


def _spread(p: Parallelism) -> str:
    data = f" x data {p.data}" if p.data > 1 else ""
    return f"tensor {p.tensor} x pipeline {p.pipeline}{data}"


def _gb(amount: float) -> str:
    return f"{amount / 1e9:.1f} GB"
