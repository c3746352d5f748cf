"""What a set of devices costs: the value by which `best` mode compares."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """Compared in this order; less is better. Also between nodes."""

    ranks: int = 0
    """How far down their lists of alternatives requests had to go, summed: 0 where each has its first choice."""
    link: int = 0
    """How far the devices of each claim are apart: see `links`."""
    waste: int = 0
    """How much less the devices that stay free are worth: see `potential`."""

    def __str__(self) -> str:
        return f"ranks {self.ranks}, link {self.link}, waste {self.waste}"
