"""The CDI specs of a driver on a node: one with all its devices, and one for each claim that needs something of its
own.

    <vendor>-<class>.json            kind vendor.cdi_kind; what a device gives to whoever has it
    <driver>-claim_<uid>.json        kind <driver>/claim; only for claims whose preparation brought edits

In a claim's spec each granted device is `<claim uid>-<device>`, so that a name is never used twice and runtimes cannot
serve it from an old copy; edits of the claim as a whole stand at the spec's level, where they apply once. CDI wants
every device to do something: one without edits of its own gets an environment variable that says which claim it is of.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from fairlead.devices.cdi import (
    NO_EDITS,
    CdiError,
    ContainerEdits,
    Device,
    Spec,
    minimum_version,
    qualified_name,
    read_spec,
    remove_spec,
    spec_name,
    transient_spec_name,
    write_spec,
)
from fairlead.devices.cdi.rules import is_empty
from fairlead.devices.cdi.write import spec_path
from fairlead.devices.errors import DeviceError
from fairlead.devices.inventory import Inventory
from fairlead.devices.vendor import ClaimReference, Preparation, Vendor

_LOG = logging.getLogger("fairlead.devices.driver.claim_specs")
_VERSION: Final = "0.3.0"
"""What specs declare before `write_spec` computes the version that they need."""
_NOT_IN_A_VARIABLE: Final = re.compile(r"[^A-Z0-9]+")


def device_spec(kind: str, edits: Mapping[str, ContainerEdits], common: ContainerEdits = NO_EDITS) -> Spec | None:
    """The spec of a node's devices, by name; None where no device does anything. Those without edits are left out."""
    devices = [Device(name, container_edits=own) for name, own in edits.items() if not is_empty(own)]
    return Spec(_VERSION, kind, devices=devices, container_edits=common) if devices else None


def claim_spec(driver: str, claim: ClaimReference, devices: Sequence[str], prepared: Preparation) -> Spec | None:
    """The spec of one claim, with each of its devices once; None where the preparation brought no edits."""
    if is_empty(prepared.edits) and all(is_empty(edits) for edits in prepared.device_edits.values()):
        return None
    own = {name: prepared.device_edits.get(name, NO_EDITS) for name in dict.fromkeys(devices)}
    return Spec(
        _VERSION,
        claim_kind(driver),
        devices=[
            Device(claim_device(claim, name), container_edits=_marked(edits, driver, claim, name))
            for name, edits in own.items()
        ],
        container_edits=prepared.edits,
    )


def claim_kind(driver: str) -> str:
    return f"{driver}/claim"


def claim_device(claim: ClaimReference, device: str) -> str:
    return f"{claim.uid}-{device}"


def _named(edits: ContainerEdits, device: str) -> ContainerEdits:
    """A device that does nothing itself and brings the common edits."""
    if not is_empty(edits):
        return edits
    return ContainerEdits(env=(f"DRA_DEVICE_{_NOT_IN_A_VARIABLE.sub('_', device.upper())}={device}",))


def _marked(edits: ContainerEdits, driver: str, claim: ClaimReference, device: str) -> ContainerEdits:
    if not is_empty(edits):
        return edits
    name = _NOT_IN_A_VARIABLE.sub("_", f"{driver}_{device}".upper())
    return ContainerEdits(env=(f"DRA_CLAIM_OF_{name}={claim.uid}",))


class ClaimSpecs:
    """The specs of claims in a folder."""

    def __init__(self, folder: Path, driver: str) -> None:
        self._folder = folder
        self._driver = driver

    def write(self, claim: ClaimReference, devices: Sequence[str], prepared: Preparation) -> dict[str, str]:
        """Write what the claim needs; device -> the id that the kubelet must give beside the device's own. Empty where
        it needs nothing. Raises CdiError."""
        spec = claim_spec(self._driver, claim, devices, prepared)
        if spec is None:
            remove_spec(self._folder, self._name(claim.uid))
            return {}
        write_spec(self._folder, self._name(claim.uid), spec)
        kind = claim_kind(self._driver)
        return {name: qualified_name(kind, claim_device(claim, name)) for name in devices}

    def remove(self, uid: str) -> None:
        """Raises CdiError. What is not there needs no removing."""
        remove_spec(self._folder, self._name(uid))

    def exists(self, uid: str) -> bool:
        return os.path.exists(spec_path(self._folder, self._name(uid)))

    def remove_orphans(self, known: Collection[str]) -> list[str]:
        """Remove specs of claims with other UIDs than these, and what a process that was killed left half written; the
        UIDs removed. What cannot be removed is logged. The caller holds the lock under which specs are written."""
        self._remove_half_written()
        removed = []
        for uid in self._uids():
            if uid not in known:
                try:
                    self.remove(uid)
                except CdiError as error:
                    _LOG.warning("the spec of a claim that is no more stays: %s", error)
                    continue
                removed.append(uid)
        return removed

    def _name(self, uid: str) -> str:
        return transient_spec_name(claim_kind(self._driver), uid) + ".json"

    @property
    def _prefix(self) -> str:
        return f"{spec_name(claim_kind(self._driver))}_"

    def _uids(self) -> Iterable[str]:
        for name in self._names():
            if name.startswith(self._prefix) and name.endswith(".json"):
                yield name.removeprefix(self._prefix).removesuffix(".json")

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._folder))
        except OSError:
            return []

    def _remove_half_written(self) -> None:
        # No later write has the name of a claim that is no more, so none would sweep this away.
        for name in self._names():
            if name.startswith(f".{self._prefix}") and name.endswith(".tmp"):
                try:
                    os.unlink(self._folder / name)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    _LOG.warning("%s: half written, cannot be removed: %s", self._folder / name, error.strerror)


class DeviceSpecs:
    """The spec of a node's devices, kept in step with its inventory."""

    def __init__(self, folder: Path, vendor: Vendor) -> None:
        self._folder = folder
        self._vendor = vendor
        self._inventory: Inventory | None = None
        self._written: Spec | None = None
        self._edits: dict[str, ContainerEdits] = {}
        self._problems: dict[str, str] = {}

    def is_current(self, inventory: Inventory) -> bool:
        """Whether the file is there and was made of this very inventory."""
        return self._inventory is inventory and self.is_there

    @property
    def is_there(self) -> bool:
        """Whether the file is there as it was last written."""
        return self._inventory is not None and (self._written is None or os.path.exists(self.path))

    @property
    def path(self) -> Path:
        return spec_path(self._folder, self._name)

    @property
    def _name(self) -> str:
        return spec_name(self._vendor.cdi_kind) + ".json"

    def update(self, inventory: Inventory) -> None:
        """Write the spec if it changes. Asks the vendor for edits: call it where vendor calls are made. Raises
        CdiError, or what the vendor raises for all devices."""
        edits: dict[str, ContainerEdits] = {}
        problems: dict[str, str] = {}
        for device in inventory.devices:
            try:
                edits[device.name] = self._vendor.edits(device)
            except DeviceError as error:
                problems[device.name] = str(error)
                # A device that vanished while a claim holds it stays in the spec as it was.
                if device.name in self._edits:
                    edits[device.name] = self._edits[device.name]
        common = self._vendor.common_edits()
        if not is_empty(common):
            edits = {name: _named(own, name) for name, own in edits.items()}
        extra = self._vendor.extra_cdi_devices()
        spec = device_spec(self._vendor.cdi_kind, {**extra, **edits}, common)
        self._write(spec)
        self._edits, self._problems, self._inventory = edits, problems, inventory
        for name, problem in problems.items():
            _LOG.warning('device "%s" cannot be given to containers: %s', name, problem)

    def ids_of(self, device: str) -> tuple[str, ...]:
        """The CDI ids of a device: one, or none where it changes nothing in a container. Raises DeviceError where its
        edits are not known."""
        edits = self._edits.get(device)
        if edits is None:
            why = self._problems.get(device, "it is not in the CDI spec yet")
            raise DeviceError(f'device "{device}" cannot be given to containers: {why}')
        return () if is_empty(edits) else (qualified_name(self._vendor.cdi_kind, device),)

    def remove(self) -> None:
        """Raises CdiError."""
        remove_spec(self._folder, self._name)
        self._written = None

    def _write(self, spec: Spec | None) -> None:
        if spec is None:
            remove_spec(self._folder, self._name)
        elif not self._is_there(spec):
            write_spec(self._folder, self._name, spec)
        self._written = spec

    def _is_there(self, spec: Spec) -> bool:
        if self._written is not None:
            return spec == self._written and os.path.exists(self.path)
        try:
            found = read_spec(self.path)
        except (CdiError, OSError):
            return False
        return msgspec.json.encode(found) == msgspec.json.encode(
            msgspec.structs.replace(spec, cdi_version=minimum_version(spec))
        )
