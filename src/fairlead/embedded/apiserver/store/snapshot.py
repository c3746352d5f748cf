"""A consistent list of one resource at one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.embedded.apiserver.store.record import Record


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Records in key order, as they were at `version`."""

    version: int
    records: Sequence[Record]
