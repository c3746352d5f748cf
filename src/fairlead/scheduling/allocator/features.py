"""Optional parts of dynamic resource allocation, as the API server's feature gates turn them on and off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Features:
    """With a feature off, its fields are treated as a scheduler without it treats them: the request is refused, the
    slice or device is passed over, or the field is ignored."""

    admin_access: bool = False
    consumable_capacity: bool = False
    binding_conditions: bool = False
    device_taints: bool = False
    list_attributes: bool = False
    partitionable_devices: bool = False
    prioritized_list: bool = False


EVERY_FEATURE: Final = Features(True, True, True, True, True, True, True)
