"""Errors of the devices room.

DeviceError                 anything below; the message names the thing and what to do
├── ProbeError              the hardware cannot be read: which file or call, what was found, what was expected
│   └── VendorTimeout       a vendor's call did not return in time, or one before it is stuck
│       └── VendorBusy      it did not begin: the vendor's calls before it took the time, and none of them is stuck
├── InventoryError          a vendor's inventory breaks a rule of the API: which device, which rule
├── ConfigError             a claim's opaque configuration is not understood: field, value, remedy
├── ClaimError              a claim cannot be prepared: which claim, why; `retry` says whether later may be better
├── CheckpointError         the record of prepared claims cannot be read or written
├── ServeError              the driver cannot serve the kubelet: a socket's path, folder or owner is in the way
│   └── TwoDrivers          another process serves this driver on this node
└── cdi.CdiError            a CDI spec, name or folder is wrong (see `devices.cdi.errors`)
"""

from __future__ import annotations


class DeviceError(Exception):
    """Root of the room's errors; the message is one sentence for a person."""


class ProbeError(DeviceError):
    """The hardware, or what stands for it, cannot be read."""


class VendorTimeout(ProbeError):
    """A vendor's call (its library, a file of a dead device) did not return within its time limit."""


class VendorBusy(VendorTimeout):
    """A vendor's call did not get its turn within its time limit. Nothing is wrong; later it will."""


class InventoryError(DeviceError):
    """An inventory breaks a rule: duplicate name, unknown counter set, too many attributes. `device` is which one, ""
    where it is no single device; `rule` is a short, stable name ("duplicate-name")."""

    def __init__(self, message: str, *, device: str = "", rule: str = "") -> None:
        super().__init__(message)
        self.device = device
        self.rule = rule


class ConfigError(DeviceError):
    """A claim's or class's opaque parameters are not understood."""


class ClaimError(DeviceError):
    """A claim cannot be prepared or given back. `retry`: whether the kubelet's next try may go better by itself."""

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


class CheckpointError(DeviceError):
    """The record of prepared claims is damaged or cannot be written."""


class ServeError(DeviceError):
    """The driver's sockets cannot be opened."""


class TwoDrivers(ServeError):
    """Another process serves the same driver on the same node. `pid` is 0 where it cannot be told."""

    def __init__(self, message: str, pid: int = 0) -> None:
        super().__init__(message)
        self.pid = pid
