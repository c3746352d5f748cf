"""The queue of one tenant within a band. Pure.

A heap by (order key, number), from which requests that leave early are only struck out: leaving costs the same however
many wait, and a heap that is mostly struck-out entries is built anew.
"""

from __future__ import annotations

import heapq

from fairlead.gateway.flow.item import Item

_STRUCK_OUT_MIN = 32
"""Struck-out entries below which a heap is left as it is."""


class Tenant:
    """Requests of one fairness id, and what it got of the band so far."""

    __slots__ = ("_by_number", "_heap", "_late", "entry", "fairness_id", "served", "size_bytes", "weighed", "weight")

    def __init__(self, fairness_id: str, weight: float) -> None:
        self.fairness_id = fairness_id
        self.weight = weight
        self.served = 0.0
        """Virtual time: tokens it was charged divided by its weight, lifted while it had nothing waiting."""
        self.entry = 0
        """Number of its valid entry in the fairness policy's structure; 0 = it has none."""
        self.weighed = 0
        """Number of its valid entry among the heaviest; 0 = it has none."""
        self.size_bytes = 0
        self._heap: list[tuple[float, int, Item]] = []
        self._late: list[tuple[int, Item]] = []
        self._by_number: dict[int, Item] = {}

    @property
    def requests(self) -> int:
        return len(self._by_number)

    def __bool__(self) -> bool:
        return bool(self._by_number)

    def add(self, item: Item, key: float) -> None:
        """`key` orders: the smaller goes first, equals as they came."""
        heapq.heappush(self._heap, (key, item.number, item))
        self._by_number[item.number] = item
        self.size_bytes += item.size_bytes

    def pop(self, late_before_s: float | None = None) -> Item:
        """Take the request whose turn it is. The queue must not be empty.

        With `late_before_s`, requests whose deadline lies before it go after all others, as they came.
        """
        item = self._first(late_before_s)
        del self._by_number[item.number]
        self.size_bytes -= item.size_bytes
        return item

    def _first(self, late_before_s: float | None) -> Item:
        heap, waiting = self._heap, self._by_number
        while heap:
            _, number, item = heapq.heappop(heap)
            if number not in waiting:
                continue
            if late_before_s is None or item.deadline_s is None or item.deadline_s >= late_before_s:
                return item
            heapq.heappush(self._late, (number, item))
        while True:
            number, item = heapq.heappop(self._late)
            if number in waiting:
                return item

    def remove(self, item: Item) -> None:
        del self._by_number[item.number]
        self.size_bytes -= item.size_bytes
        self._tidy()

    def pop_youngest(self) -> Item:
        """Take the request that came last. The queue must not be empty."""
        _, item = self._by_number.popitem()
        self.size_bytes -= item.size_bytes
        self._tidy()
        return item

    def _tidy(self) -> None:
        heap, late, live = self._heap, self._late, self._by_number
        if len(heap) + len(late) - len(live) > max(_STRUCK_OUT_MIN, len(live)):
            self._heap = [entry for entry in heap if entry[1] in live]
            self._late = [entry for entry in late if entry[0] in live]
            heapq.heapify(self._heap)
            heapq.heapify(self._late)
