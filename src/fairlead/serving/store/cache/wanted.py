"""What is to be in the cache, for whom, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fairlead.serving.store.cache.download import CONCURRENCY
from fairlead.serving.store.cache.record import ModelRecord
from fairlead.serving.store.policy import Policy
from fairlead.serving.store.sources.open import Choice

if TYPE_CHECKING:
    from fairlead.serving.store.connections import Settings
    from fairlead.serving.store.sources.http import Patience


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch and for whom.

    `url` is where it is, `name` what it is called in the cache and in messages (default: the URL). `uid` and `slot`:
    the pod that uses it, and which of its models it is.
    """

    url: str
    name: str = ""
    choice: Choice | None = None
    pin: bool = False
    uid: str = ""
    slot: str = "model"
    patience: Patience | None = None
    concurrency: int = CONCURRENCY
    ask: Literal["always", "missing", "never"] = "always"
    """When the source is asked what it means now: unless it means one version for ever, only if nothing is here, or
    never, as an image's pull policy says it."""
    verification: Policy | None = None
    """Of artifacts: who must have signed them."""
    registry: Settings | None = None
    """How registries are talked to; None: with the logins of the settings."""

    @property
    def called(self) -> str:
        return self.name or self.url


@dataclass(frozen=True, slots=True)
class Fetched:
    """`path` is what an engine loads. `was_here`: nothing had to be fetched."""

    record: ModelRecord
    path: Path
    was_here: bool
    warnings: tuple[str, ...] = ()
