"""How many replicas of a role serve, and whether another one may go. Mutable while one step is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Availability:
    """Of one role. Replicas of the new generation beyond its complete sets do not count while an older one serves
    (`usable`): they would have nobody to work with."""

    old: int
    """Ready replicas of the generations before."""
    new: int
    """Ready replicas of the new one."""
    floor: int
    """How many have to serve."""
    usable: int | None = None
    """How many of the new ones count at most; None: all."""

    @property
    def serving(self) -> int:
        return self.old + self._counted(self.new)

    def can_lose(self, is_new: bool, floor: int | None = None) -> bool:
        """Whether a ready replica may go: enough are left, or it makes no difference."""
        least = self.floor if floor is None else floor
        if not is_new:
            return self.serving - 1 >= least
        after = self.old + self._counted(self.new - 1)
        return after >= least or after == self.serving

    def lose(self, is_new: bool) -> None:
        if is_new:
            self.new -= 1
        else:
            self.old -= 1

    def _counted(self, new: int) -> int:
        return new if self.usable is None else min(new, self.usable)
