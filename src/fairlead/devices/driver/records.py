"""What a driver remembers of a claim between calls and across restarts, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from fairlead.devices.inventory import Device
from fairlead.devices.vendor import ClaimReference, DeviceReport, Grant, Preparation

Phase = Literal["preparing", "prepared", "releasing"]


class HeldDevice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One device as the claim got it. `consumes`, `parent` and `shareable` are kept as they were then: they say what
    the device takes from others even when the hardware is no longer there."""

    name: str
    request: str
    share_id: str = ""
    admin_access: bool = False
    shareable: bool = False
    parent: str = ""
    consumes: Mapping[str, Mapping[str, str]] = {}
    consumed: Mapping[str, str] = {}
    cdi_ids: Sequence[str] = ()


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told in the claim's status about one device."""

    device: str
    ready: bool = True
    reason: str = ""
    message: str = ""
    data: Mapping[str, Any] = {}
    network: Mapping[str, Any] | None = None
    share_id: str = ""
    conditions: Sequence[str] = ("Ready",)


class ClaimRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A claim that holds devices here.

    "preparing": something may have been done for it, the kubelet has no answer yet. "prepared": the answer is
    `devices`. "releasing": something of it may have been undone. In every phase its devices are nobody else's.
    """

    uid: str
    namespace: str
    name: str
    phase: Phase
    devices: Sequence[HeldDevice] = ()
    reports: Sequence[Report] = ()
    has_spec: bool = False
    since_s: float = 0.0

    @property
    def reference(self) -> ClaimReference:
        return ClaimReference(self.namespace, self.name, self.uid)

    @property
    def device_names(self) -> tuple[str, ...]:
        """Each device once, in order."""
        return tuple(dict.fromkeys(device.name for device in self.devices))


Records = Mapping[str, ClaimRecord]
"""Claim's UID -> its record."""


def devices_of(records: Records) -> list[Device]:
    """The devices that claims hold, as far as the record knows them."""
    return [
        Device(device.name, parent=device.parent, consumes=device.consumes, shareable=device.shareable)
        for record in records.values()
        for device in record.devices
    ]


def held_device(grant: Grant, cdi_ids: Sequence[str] = ()) -> HeldDevice:
    device = grant.device
    return HeldDevice(
        name=device.name,
        request=grant.request,
        share_id=grant.share_id,
        admin_access=grant.admin_access,
        shareable=device.shareable,
        parent=device.parent,
        consumes={name: dict(counters) for name, counters in device.consumes.items()},
        consumed=dict(grant.consumed),
        cdi_ids=tuple(cdi_ids),
    )


def is_same_allocation(record: ClaimRecord, grants: Sequence[tuple[str, str, str]]) -> bool:
    """Whether a record is of exactly these (device, request, share id)."""
    return [(held.name, held.request, held.share_id) for held in record.devices] == list(grants)


def report_of(device: str, share_id: str, report: DeviceReport) -> Report:
    network = report.network
    shown: dict[str, Any] | None = None
    if network is not None:
        shown = {"interfaceName": network.interface_name, "hardwareAddress": network.hardware_address}
        shown = {name: value for name, value in shown.items() if value}
        if network.ips:
            shown["ips"] = list(network.ips)
    return Report(
        device=device, ready=report.ready, reason=report.reason, message=report.message, data=dict(report.data),
        network=shown, share_id=share_id, conditions=report.conditions,
    )  # fmt: skip


def reports_of(grants: Sequence[Grant], prepared: Preparation) -> list[Report]:
    """What a preparation says of granted devices, one report for each grant that it speaks of."""
    return [
        report_of(grant.device.name, grant.share_id, prepared.reports[grant.device.name])
        for grant in grants
        if grant.device.name in prepared.reports
    ]
