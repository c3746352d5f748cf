"""NVML's events (XIDs, double-bit ECC errors), awaited in a thread of their own and kept for the next look.

The thread only collects: `health` decides. It ends by itself when the monitor is closed, within one wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.errors import DeviceError
from fairlead.devices.vendors.nvidia.facts import Gpu
from fairlead.devices.vendors.nvidia.health import Xid
from fairlead.devices.vendors.nvidia.nvml import WHOLE_GPU, Event, EventType, Nvml

_LOG = logging.getLogger("fairlead.devices.nvidia")
_WAIT_MS: Final = 1000
_PAUSE_S: Final = 1.0
"""After a wait that failed at once (a GPU is lost), so that the thread does not spin."""
_DOUBLE_BIT_XID: Final = 48
_KEPT: Final = 64


class EventMonitor:
    """`ignored` XIDs are logged and dropped. `look` is called, from the thread, for each that counts."""

    def __init__(self, nvml: Nvml, ignored: Collection[int], clock: Clock = SYSTEM) -> None:
        self._nvml = nvml
        self._ignored = frozenset(ignored)
        self._clock = clock
        self._lock = threading.Lock()
        self._xids: dict[str, list[Xid]] = {}
        self._registered: set[str] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self.look: Callable[[], None] = lambda: None
        self.unmonitored: dict[str, str] = {}
        """GPU -> why no events come from it."""

    def watch(self, gpus: Iterable[Gpu]) -> None:
        """Listen to these GPUs; those known already stay. Starts the thread where there is anything to hear."""
        for gpu in gpus:
            if gpu.uuid not in self._registered and not self._closed.is_set():
                self._register(gpu)
        if self._registered and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="nvml-events", daemon=True)
            self._thread.start()

    def forget(self, uuid: str, *, before_s: float) -> None:
        """A GPU is well again: its XIDs from before a time no longer count."""
        with self._lock:
            self._xids[uuid] = [xid for xid in self._xids.get(uuid, ()) if xid.at_s >= before_s]

    def forget_instance(self, uuid: str, gpu_instance: int) -> None:
        """A GPU instance is gone; its number will be another's."""
        with self._lock:
            self._xids[uuid] = [xid for xid in self._xids.get(uuid, ()) if xid.gpu_instance != gpu_instance]

    def xids(self) -> Mapping[str, tuple[Xid, ...]]:
        """GPU -> its XIDs that count, oldest first."""
        with self._lock:
            return {uuid: tuple(xids) for uuid, xids in self._xids.items() if xids}

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * _WAIT_MS / 1000)

    def _register(self, gpu: Gpu) -> None:
        wanted = EventType.XID | EventType.DOUBLE_BIT_ECC
        try:
            types = wanted & self._nvml.supported_events(gpu.uuid)
            if not types:
                raise DeviceError(f"{gpu.name}: the model reports neither XIDs nor ECC errors")
            self._nvml.register_events(gpu.uuid, int(types))
        except DeviceError as error:
            if gpu.uuid not in self.unmonitored:
                _LOG.warning("%s: XID errors will not be noticed: %s", gpu.name, error)
            self.unmonitored[gpu.uuid] = str(error)
            return
        self.unmonitored.pop(gpu.uuid, None)
        self._registered.add(gpu.uuid)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                event = self._nvml.wait_event(_WAIT_MS)
            except DeviceError as error:
                _LOG.warning("waiting for events of GPUs: %s", error)
                self.look()
                self._closed.wait(_PAUSE_S)
                continue
            if event is not None:
                self._take(event)

    def _take(self, event: Event) -> None:
        if event.type & EventType.XID:
            number = event.data
        elif event.type & EventType.DOUBLE_BIT_ECC:
            number = _DOUBLE_BIT_XID
        else:
            return
        if number in self._ignored:
            _LOG.info("GPU %s: XID %d is left to its application", event.uuid, number)
            return
        _LOG.warning("GPU %s: XID %d", event.uuid, number)
        xid = Xid(
            number,
            self._clock.monotonic_s(),
            None if event.gpu_instance == WHOLE_GPU else event.gpu_instance,
            None if event.compute_instance == WHOLE_GPU else event.compute_instance,
        )
        with self._lock:
            self._xids[event.uuid] = [*self._xids.get(event.uuid, ()), xid][-_KEPT:]
        self.look()
