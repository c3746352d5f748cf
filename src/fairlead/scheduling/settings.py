"""What a person sets about the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

DEFAULT_NAMES: Final = frozenset(["fairlead"])


@dataclass(frozen=True, slots=True)
class Settings:
    """The same for the live scheduler, simulations and explanations."""

    names: frozenset[str] = DEFAULT_NAMES
    """The `schedulerName`s whose pods are placed."""
    mode: Literal["best", "upstream"] = "best"
    """How devices are chosen: least waste, or as Kubernetes' allocator would."""
    search_budget: int = 200_000
    """Steps of one search for a gang."""
    evicts: bool = True
    """Whether others may have to leave."""
    hold_s: float = 120.0
    """How long room that was cleared for a gang is held for it."""
