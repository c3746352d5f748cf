"""What an API server refused, told by device: it names `spec.devices[3]`, people know "npu0"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from fairlead.devices.errors import InventoryError
from fairlead.kube.errors import ApiError
from fairlead.kube.objects import ResourceSlice

_PATH: Final = re.compile(r"spec\.(devices|sharedCounters)\[(\d+)\]\.?(.*)")


def explained(error: ApiError, sent: ResourceSlice | None) -> InventoryError:
    """The refusal of a slice as an error about its first device that is named."""
    name = sent.metadata.name if sent else "?"
    for cause in error.causes:
        found = _PATH.match(cause.get("field", ""))
        if found is None or sent is None:
            continue
        items: Sequence[Any] = sent.spec.devices if found[1] == "devices" else sent.spec.shared_counters
        index = int(found[2])
        if index < len(items):
            what = "device" if found[1] == "devices" else "counter set"
            where = f" at {found[3]}" if found[3] else ""
            told = f'{what} "{items[index].name}"{where}: the API server refuses it: {cause.get("message", "")}'
            device = items[index].name if what == "device" else ""
            return InventoryError(told, device=device, rule="refused-by-server")
    return InventoryError(f'the API server refuses ResourceSlice "{name}": {error}', rule="refused-by-server")
