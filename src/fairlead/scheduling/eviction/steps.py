"""A budget in steps, so that a search ends."""

from __future__ import annotations


class OutOfSteps(Exception):
    """The budget is used up."""


class Steps:
    """One step is a look at a node, or a pod put somewhere."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.spent = 0

    def spend(self, steps: int) -> None:
        """Raises OutOfSteps."""
        self.spent += steps
        if self.spent > self.budget:
            raise OutOfSteps

    @property
    def left(self) -> int:
        return max(0, self.budget - self.spent)
