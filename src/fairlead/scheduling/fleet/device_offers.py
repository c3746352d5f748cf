"""What a node answers to claims: devices by place, or why not. Values that are shared by all nodes that are alike."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.scheduling.allocator import DoesNotFit, Failed, Fault, Obstacle
from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.allocator.held import Given


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """Devices for all claims."""

    given: tuple[Given, ...]
    cost: Cost
    is_best: bool
    """Whether it is known that nothing cheaper exists; not where the search was cut off or takes the first that do."""
    steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """Why there are no devices."""

    text: str
    fault: Fault | None = None
    """What is in error; None where the claims just do not fit."""
    is_final: bool = False
    """Whether no other node would do either, unless a claim, class or slice changes."""
    obstacles: tuple[Obstacle, ...] = ()
    steps: int = 0

    def __str__(self) -> str:
        return self.text


def refusal_of(decision: DoesNotFit | Failed, *, concerns_all: bool = True) -> Refusal:
    """A search's answer in the words of a scheduler. `concerns_all` tells whether its errors are final."""
    text = f"cannot allocate all claims: {decision}"
    if isinstance(decision, DoesNotFit):
        return Refusal(text, obstacles=decision.obstacles, steps=decision.steps)
    return Refusal(text, decision.fault, concerns_all and not decision.on_this_node, steps=decision.steps)
