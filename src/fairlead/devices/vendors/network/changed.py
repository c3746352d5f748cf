"""What claims changed about interfaces, written down before it is changed, so that a later process can undo it.

One file a device: an interface that is in a pod when this process ends comes back to a process that did not know it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fairlead.devices.errors import ClaimError
from fairlead.devices.vendors.network.facts import NetworkPort

_LOG = logging.getLogger("fairlead.devices.network")


class Before(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An interface before a claim changed it: the function and port it belongs to, its name and MTU, and the addresses
    (CIDR) that the claim adds."""

    bus_id: str
    port: int
    name: str
    mtu: int
    added: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        return NetworkPort.name_of(self.bus_id, self.port)


class Changes:
    """Those below a folder; without one they last as long as the process."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, Before] = {before.device: before for before in _read(folder)}

    def all(self) -> Mapping[str, Before]:
        """Device -> its interface as it was."""
        return dict(self._known)

    def note(self, before: Before) -> None:
        """The first state counts, and every address that was added since. Raises ClaimError where it cannot be kept."""
        known = self._known.get(before.device, before)
        kept = msgspec.structs.replace(known, added=tuple(dict.fromkeys((*known.added, *before.added))))
        if self._folder is not None and self._known.get(before.device) != kept:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                draft = self._folder / f".{before.device}"
                draft.write_bytes(msgspec.json.encode(kept))
                draft.replace(self._folder / f"{before.device}.json")
            except OSError as error:
                raise ClaimError(
                    f"{self._folder}: what an interface was like cannot be written: {error.strerror}; see the option "
                    "state_folder"
                ) from error
        self._known[before.device] = kept

    def forget(self, device: str) -> None:
        self._known.pop(device, None)
        if self._folder is not None:
            try:
                (self._folder / f"{device}.json").unlink(missing_ok=True)
            except OSError as error:
                _LOG.warning("%s: %s is kept: %s", self._folder, device, error)


def _read(folder: Path | None) -> list[Before]:
    """A damaged file is of a change that was never made, as it is written whole before."""
    found: list[Before] = []
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Before))
        except (OSError, msgspec.MsgspecError) as error:
            _LOG.warning("%s: left out: %s", path, error)
    return found
