"""What differs between vendors: one module each, this class its whole surface.

The driver (`devices.driver`) owns everything else: publishing, the kubelet's calls, the checkpoint, CDI files, taints,
Events. Calls may block (files, a vendor's library): the driver makes them in threads, one at a time per vendor, with a
time limit. They must be repeatable: after a crash the driver asks again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fairlead.devices.cdi.spec import NO_EDITS, ContainerEdits
from fairlead.devices.errors import ConfigError
from fairlead.devices.health import Health
from fairlead.devices.inventory import Device, Inventory


@dataclass(frozen=True, slots=True)
class ClaimReference:
    """Which ResourceClaim."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Grant:
    """One device that a claim got from this driver. `config` holds the opaque parameters that apply to it: class
    configuration first, then the claim's, each in the order of the allocation; a later one wins.

    `request` is the request's name ("parent/sub" for an alternative). `share_id` and `consumed` (capacity -> quantity)
    are set where the device is shared.
    """

    device: Device
    request: str
    config: tuple[Mapping[str, Any], ...] = ()
    share_id: str = ""
    consumed: Mapping[str, str] = field(default_factory=dict)
    admin_access: bool = False


@dataclass(frozen=True, slots=True)
class NetworkData:
    """`status.devices[].networkData` of a claim: what a network device became for the pod. `ips` in CIDR form."""

    interface_name: str = ""
    hardware_address: str = ""
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What the driver writes about one granted device into the claim's `status.devices[]`. `conditions` are the types
    that it is written as; all have the same status, reason and message."""

    ready: bool = True
    reason: str = "Prepared"
    message: str = ""
    network: NetworkData | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[str, ...] = ("Ready",)


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a claim's devices need beyond their own edits: edits for the claim as a whole (one environment variable that
    lists all its devices), edits by device name (a sharing mode), and reports by device name. All may be empty."""

    edits: ContainerEdits = NO_EDITS
    device_edits: Mapping[str, ContainerEdits] = field(default_factory=dict)
    reports: Mapping[str, DeviceReport] = field(default_factory=dict)


class Vendor(ABC):
    """One kind of hardware on one node."""

    name: ClassVar[str]
    """As in `fairlead driver --vendor`."""
    driver: str
    """The DRA driver's name, a DNS subdomain: the vendor's own ("gpu.nvidia.com"), so that classes and selectors that
    were written for a cluster with that driver work here."""
    cdi_kind: str
    """Kind of the CDI spec that lists the node's devices ("nvidia.com/gpu")."""
    is_quick: ClassVar[bool] = False
    """Whether `probe` and `health` touch memory only (simulated hardware): the driver then makes them without a thread,
    which lets one process host a thousand nodes."""
    outlives_machine: ClassVar[bool] = False
    """Whether what `prepare` does may still be there after the machine stopped (partitions that hardware remembers):
    the record of a claim is then on the disk before, which costs the disk's time."""

    @abstractmethod
    def probe(self) -> Inventory:
        """Everything there is now. No devices is an empty inventory; what cannot be read raises ProbeError."""

    @abstractmethod
    def edits(self, device: Device) -> ContainerEdits:
        """What a container with this device gets, whatever claim it comes from: device nodes, mounts, environment."""

    @abstractmethod
    def health(self) -> Mapping[str, Health]:
        """The state of every device by name, now. A device that `probe` named and this leaves out is unknown."""

    def common_edits(self) -> ContainerEdits:
        """What every container with any of these devices gets (driver libraries, control nodes)."""
        return NO_EDITS

    def extra_cdi_devices(self) -> Mapping[str, ContainerEdits]:
        """CDI devices beside the inventory's, by name, of which no claim is ever given one: names that people write by
        hand ("all")."""
        return {}

    def resume(self, claims: Mapping[str, Sequence[str]]) -> None:  # noqa: B027
        """What a former process prepared and nobody gave back: claim uid -> device names. Called once, before the first
        probe; for vendors that must tell their claims' use of a device from a stranger's."""

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        """Make the granted devices ready for the claim and say what is particular to it. Repeatable: a second call with
        the same grants finds the work done. Raises ConfigError for parameters it does not understand, ClaimError."""
        for grant in grants:
            if grant.config:
                raise ConfigError(
                    f'claim {claim}: request "{grant.request}" has a configuration; driver "{self.driver}" takes none'
                )
        return Preparation()

    def release(self, claim: ClaimReference, devices: Sequence[str]) -> None:  # noqa: B027
        """Undo `prepare` for these device names. Repeatable; also called for what an earlier process prepared."""

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        """DeviceClass objects by which people ask for these devices, as a vendor's chart installs them."""
        return ()

    def on_change(self, look: Callable[[], None]) -> None:  # noqa: B027
        """The driver gives, once and before it probes, what to call when something changed that is worth a look before
        the next poll is due (an XID event, an injected failure). `look` may be called from any thread; it returns at
        once."""

    def close(self) -> None:  # noqa: B027
        """Let go of libraries and files."""
