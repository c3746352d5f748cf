"""Who must have signed a model before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Policy:
    """Public keys in PEM, one of which is enough. Enforce: nothing unsigned is fetched. Warn: it is only said."""

    public_keys: tuple[str, ...]
    mode: Literal["Enforce", "Warn"] = "Enforce"
