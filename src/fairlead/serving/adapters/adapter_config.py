"""What an adapter's own `adapter_config.json` says (PEFT's format), and whether it fits the service. Pure.

Protocol: Hugging Face PEFT, `LoraConfig`: `base_model_name_or_path`, `r`, `rank_pattern`, `peft_type`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

FILE_NAME: Final = "adapter_config.json"
MAX_BYTES: Final = 1 << 20


class AdapterConfig(msgspec.Struct, frozen=True):
    """The fields that decide whether an engine can take it; None where it does not say."""

    base_model_name_or_path: str | None = None
    r: int | None = None
    rank_pattern: dict[str, int] = {}
    peft_type: str | None = None

    @property
    def rank(self) -> int | None:
        """The highest of all modules."""
        if self.r is None:
            return max(self.rank_pattern.values(), default=None)
        return max((self.r, *self.rank_pattern.values()))


class BadConfig(ValueError):
    """An adapter_config.json that cannot be one."""


def read_config(content: bytes) -> AdapterConfig:
    """Raises BadConfig."""
    if len(content) > MAX_BYTES:
        raise BadConfig(f"{FILE_NAME} has {len(content):,} bytes, more than {MAX_BYTES:,}")
    try:
        return msgspec.json.decode(content, type=AdapterConfig)
    except msgspec.MsgspecError as error:
        raise BadConfig(f"{FILE_NAME} cannot be read: {error}") from error


def misfit(
    config: AdapterConfig, *, base_model: str, models: Collection[str], rank: int, max_rank: int
) -> tuple[str, str]:
    """(reason, sentence) why the adapter must not be loaded; empty where nothing speaks against it.

    `base_model` is what the ModelAdapter says, empty where it does not: then the service's names and source (`models`)
    are compared. Names of models are compared by their last part, as folders and mirrors differ before it.
    """
    if config.peft_type is not None and config.peft_type.upper() != "LORA":
        return "NotLora", f"{FILE_NAME} says peft_type {config.peft_type}: only LORA can be loaded"
    told = config.base_model_name_or_path
    if told and base_model and not _same(told, base_model):
        return (
            "OtherBaseModel",
            f"it was trained on {told}, as its {FILE_NAME} says, and spec.baseModel is {base_model}: correct the one "
            "that is wrong",
        )
    is_plain = told is not None and "/" in told and not told.startswith((".", "/"))
    if told and is_plain and not base_model and models and not any(_same(told, model) for model in models):
        return (
            "OtherBaseModel",
            f"it was trained on {told}, as its {FILE_NAME} says, and the service serves {', '.join(sorted(models))}: "
            f"where these are the same weights, say so with spec.baseModel: {told}",
        )
    highest = rank or config.rank
    if highest is not None and highest > max_rank:
        return (
            "RankTooHigh",
            f"its rank is {highest} and the service's engines have room for {max_rank}: raise spec.adapters.maxRank "
            "of the ModelService",
        )
    if rank and config.rank is not None and rank < config.rank:
        return "OtherRank", f"spec.rank is {rank} and its {FILE_NAME} says {config.rank}: correct spec.rank or leave it"
    return "", ""


def _same(one: str, other: str) -> bool:
    return _last(one) == _last(other)


def _last(name: str) -> str:
    bare = name.partition("://")[2] or name
    return bare.partition("@")[0].rstrip("/").rpartition("/")[2].lower()
