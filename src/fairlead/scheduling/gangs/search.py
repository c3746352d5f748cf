"""Where a gang fits: one search over topology domains, nodes and devices, with backtracking over its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.scheduling.fleet.options import Mask, Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import Placed, Refused

DEFAULT_BUDGET: Final = 200_000
"""Steps of one search: a look at a domain, at a row for a set of pods, or a pod put somewhere."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a search."""

    budget: int = DEFAULT_BUDGET
    rows: Mask | None = None
    """Only these rows; None for all."""
    explains: bool = True
    """Whether a refusal tells of every domain; without, only that there is none."""


def place_gang(outlook: Outlook, gang: Gang, limits: Limits = Limits()) -> Placed | Refused:  # noqa: B008 (frozen)
    """Places all of the gang that must be, and as much as can be of the rest, on the outlook's fleet.

    On Placed the fleet holds the pods and their devices, as changes that an enclosing mark can undo. On Refused the
    fleet is as it was.
    """
    raise NotImplementedError
