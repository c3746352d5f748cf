"""LoRA adapters of an engine: how many a batch may mix, and what loading one costs.

As in vLLM: `max_loras` slots on the device and `max_cpu_loras` adapters in host memory, each evicting the one that was
used longest ago; adapters of running requests stay.
"""

from __future__ import annotations

from collections import OrderedDict

from fairlead.simulator.engine.settings import AdapterSettings


class AdapterSlots:
    """`start` and `stop` are called for every running request with an adapter."""

    def __init__(self, settings: AdapterSettings) -> None:
        self._settings = settings
        self._device: OrderedDict[str, None] = OrderedDict()  # least recently used first
        self._host: OrderedDict[str, None] = OrderedDict()
        self.running: dict[str, int] = {}
        """Adapter -> running requests with it."""
        self.loads = 0

    def fits(self, adapter: str) -> bool:
        """Whether a request with this adapter may join the batch."""
        return adapter in self.running or len(self.running) < self._settings.max_loras

    def start(self, adapter: str) -> float:
        """A request joins the batch; returns the seconds by which loading its adapter delays the iteration."""
        self.running[adapter] = self.running.get(adapter, 0) + 1
        cost_s = 0.0
        if adapter not in self._host:
            cost_s += self._settings.host_load_s
            self._evict(self._host, self._settings.max_cpu_loras)
        if adapter not in self._device:
            cost_s += self._settings.device_load_s
            self.loads += 1
            self._evict(self._device, self._settings.max_loras)
        for kept in (self._host, self._device):
            kept[adapter] = None
            kept.move_to_end(adapter)
        return cost_s

    def stop(self, adapter: str) -> None:
        """A request left the batch."""
        count = self.running[adapter] - 1
        if count:
            self.running[adapter] = count
        else:
            del self.running[adapter]

    def forget(self, adapter: str) -> None:
        """The adapter was unloaded: its next use pays for loading again."""
        self._device.pop(adapter, None)
        self._host.pop(adapter, None)

    def _evict(self, kept: OrderedDict[str, None], room: int) -> None:
        while len(kept) >= room:
            del kept[next(name for name in kept if name not in self.running)]
