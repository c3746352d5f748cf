"""A node's devices as the book sees them: the pools that it reaches, and what is held of them."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.scheduling.allocator import NodePools
from fairlead.scheduling.allocator.held import NOTHING_HELD, Held
from fairlead.scheduling.allocator.layout import Layout
from fairlead.scheduling.fleet.device_holdings import PoolState


class Seat:
    """One node. Made anew when slices that it reaches change."""

    __slots__ = ("_held", "_last", "_offsets", "_states", "layout", "view")

    def __init__(self, view: NodePools, layout: Layout, states: Sequence[PoolState]) -> None:
        self.view = view
        self.layout = layout
        self._states = tuple(states)
        self._offsets: list[int] = []
        start = 0
        for pool in view.pools:
            self._offsets.append(start)
            start += len(pool.candidates)
        self._last: list[Held] = [NOTHING_HELD] * len(self._states)
        self._held = NOTHING_HELD

    def held(self) -> Held:
        """What is held of its candidates now."""
        if len(self._states) == 1:
            return self._states[0].held()
        now = [state.held() for state in self._states]
        if now != self._last:
            self._last = now
            self._held = self._join(now)
        return self._held

    def _join(self, parts: Sequence[Held]) -> Held:
        mask = 0
        shares: list[tuple[int, tuple[int, ...]]] = []
        others: list[tuple[int, tuple[int, ...]]] = []
        for place, (offset, part) in enumerate(zip(self._offsets, parts, strict=True)):
            mask |= part.mask << offset
            shares.extend((position + offset, amounts) for position, amounts in part.shares)
            others.extend((place, amounts) for _, amounts in part.others)
        return Held(mask, tuple(shares), tuple(others))
