"""Errors of the Container Device Interface.

CdiError                    anything below
├── InvalidName             a vendor, class, device or qualified name breaks the naming rules: which part, what it is
├── SpecError               a spec cannot be used; `problems` names every reason with its path in the file
├── SpecWriteError          a spec file cannot be written or removed: which file, what the system said
├── UnresolvedDevices       requested devices are not there; `devices` lists each one with the reason and a near miss
├── DeviceNodesError        device nodes that edits name are not on the host, or are of another type
├── ContainerConfigError    an OCI configuration cannot take the edits: which field
└── AnnotationError         pod annotations that ask for devices are malformed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fairlead.devices.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a spec cannot be used. `path` is where in the file, as "devices[0].containerEdits.env[2]"; empty
    for the file as a whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class CdiError(DeviceError):
    """Root of the CDI's errors."""


class InvalidName(CdiError):
    """A name breaks the naming rules. `part` is vendor, class, device or name (a qualified one)."""

    def __init__(self, part: str, name: str, reason: str) -> None:
        super().__init__(f'{part} "{name}": {reason}' if part == "name" else f'{part} name "{name}": {reason}')
        self.part = part
        self.name = name
        self.reason = reason


class SpecError(CdiError):
    """A spec that cannot be used. `source` is its file, or what stands for it; `problems` is never empty."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        shown = [str(problem) for problem in problems[:20]]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more problems")
        super().__init__(f"{source}: {'; '.join(shown)}")
        self.source = source
        self.problems = tuple(problems)


class SpecWriteError(CdiError):
    """A spec file could not be written or removed. What has its name is what was there before, or the new one whole."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


@dataclass(frozen=True, slots=True)
class Unresolved:
    """One requested device that is not there. `hint` is a device that may have been meant, "" where there is none."""

    name: str
    reason: Literal["malformed", "unknown kind", "unknown device", "conflict"]
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message}; did you mean {self.hint}?" if self.hint else self.message


class UnresolvedDevices(CdiError):
    """Devices that were asked for and cannot be given: all of them, in the order they were asked for."""

    def __init__(self, devices: Sequence[Unresolved], note: str = "") -> None:
        shown = [str(device) for device in devices[:20]]
        if len(devices) > len(shown):
            shown.append(f"and {len(devices) - len(shown)} more")
        if note:
            shown.append(note)
        super().__init__("; ".join(shown))
        self.devices = tuple(devices)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(device.name for device in self.devices)


class DeviceNodesError(CdiError):
    """Device nodes that the host does not have as the edits say; `problems` has one entry a node, `path` its path."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class ContainerConfigError(CdiError):
    """An OCI container configuration is not of the form that edits can be applied to."""


class AnnotationError(CdiError):
    """Annotations of the cdi.k8s.io form cannot be made or understood."""
