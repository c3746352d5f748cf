"""On which engines copies of adapters go, given how many each has: with the fewest loads, then spread evenly. Pure.

It is a flow from adapters through engines with slots: an edge costs nothing where the adapter is loaded already and one
load elsewhere. It begins with the copies that can stay, which cost nothing, and adds the others along cheapest paths;
a path that moves copies of other adapters makes room where no engine has a free slot for this one. Flows made so cost
the least for what they carry (Ford and Fulkerson; Busacker and Gowen).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

EngineRow = tuple[str, int, frozenset[str]]
"""Name, slots, adapters that are loaded."""


def spread(counts: Mapping[str, int], engines: Sequence[EngineRow]) -> set[tuple[str, str]]:
    """Pairs (engine, adapter), `counts` of each adapter as far as they fit."""
    flow = _Flow(engines)
    for name in sorted(counts):
        flow.keep(name, counts[name])
    for name in sorted(counts, key=lambda n: (-counts[n], n)):
        while flow.copies(name) < counts[name] and flow.add(name):
            pass
    return {(engine, name) for engine, names in flow.taken.items() for name in names}


class _Flow:
    def __init__(self, engines: Sequence[EngineRow]) -> None:
        self._engines = [e for e in engines if e[1] > 0]
        self._slots = {name: slots for name, slots, _ in self._engines}
        self._loaded = {name: loaded for name, _, loaded in self._engines}
        self.taken: dict[str, set[str]] = {name: set() for name, _, _ in self._engines}

    def copies(self, adapter: str) -> int:
        return sum(adapter in names for names in self.taken.values())

    def keep(self, adapter: str, count: int) -> None:
        """Up to so many copies stay where they are: where the fewest adapters are loaded."""
        there = [e for e, _, loaded in self._engines if adapter in loaded and len(self.taken[e]) < self._slots[e]]
        for engine in sorted(there, key=lambda e: (len(self._loaded[e]), e))[:count]:
            self.taken[engine].add(adapter)

    def add(self, adapter: str) -> bool:
        """One copy more, along the cheapest path to a free slot; False where there is none."""
        cost: dict[str, int] = {}
        came: dict[str, tuple[str, str]] = {}  # engine -> (adapter that comes to it, engine that it leaves, or "")
        waiting: deque[str] = deque()
        for engine in self.taken:
            if adapter not in self.taken[engine]:
                cost[engine], came[engine] = self._load_cost(engine, adapter), (adapter, "")
                waiting.append(engine)
        while waiting:
            full = waiting.popleft()
            if len(self.taken[full]) < self._slots[full]:
                continue
            for moved in sorted(self.taken[full]):
                without = cost[full] - self._load_cost(full, moved)
                for engine in self.taken:
                    if moved in self.taken[engine] or engine == full:
                        continue
                    through = without + self._load_cost(engine, moved)
                    if through < cost.get(engine, 1 << 30):
                        cost[engine], came[engine] = through, (moved, full)
                        waiting.append(engine)
        free = [e for e in cost if len(self.taken[e]) < self._slots[e]]
        if not free:
            return False
        engine = min(free, key=lambda e: (cost[e], len(self.taken[e]) / self._slots[e], e))
        while True:
            comes, leaves = came[engine]
            self.taken[engine].add(comes)
            if not leaves:
                return True
            self.taken[leaves].discard(comes)
            engine = leaves

    def _load_cost(self, engine: str, adapter: str) -> int:
        return 0 if adapter in self._loaded[engine] else 1
