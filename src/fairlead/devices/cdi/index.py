"""What the spec files of a node amount to: every device by its qualified name, conflicts decided.

Pure. A device that several specs define belongs to the one in the folder of highest priority. Two definitions at the
same priority conflict: the device is given to nobody, and both files are named. The reference implementation disables
a device for any conflict, even one that a folder of higher priority overrides; here the override counts, as the
documentation of its own package has it, and the conflict below it is still reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.devices.cdi.errors import Problem
from fairlead.devices.cdi.spec import Device, Spec


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A valid spec and where it was read. A higher `priority` wins."""

    path: Path
    priority: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class Entry:
    """A device and the file that defines it."""

    file: SpecFile
    device: Device


@dataclass(frozen=True, slots=True)
class Index:
    """What can be resolved. `problems` has every file that is broken or conflicts, and why."""

    files: tuple[SpecFile, ...] = ()
    devices: Mapping[str, Entry] = field(default_factory=dict)
    """Qualified name -> who defines it."""
    conflicts: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Qualified name of a disabled device -> the files that contend for it."""
    problems: Mapping[Path, tuple[Problem, ...]] = field(default_factory=dict)
    """File or folder -> what is wrong with it."""
    broken: frozenset[Path] = frozenset()
    """Those of them whose devices are not here at all."""

    def vendors(self) -> list[str]:
        return sorted({file.spec.kind.partition("/")[0] for file in self.files})

    def classes(self) -> list[str]:
        return sorted({file.spec.kind.partition("/")[2] for file in self.files})

    def kinds(self) -> list[str]:
        return sorted({file.spec.kind for file in self.files})


def build_index(files: Sequence[SpecFile], problems: Mapping[Path, Sequence[Problem]]) -> Index:
    """The index of these files; `problems` are those of the files that could not be used."""
    devices: dict[str, Entry] = {}
    rivals: dict[tuple[str, int], list[Path]] = {}
    ordered = sorted(files, key=lambda file: file.priority)
    for file in ordered:
        prefix = f"{file.spec.kind}="
        for device in file.spec.devices:
            name = prefix + device.name
            held = devices.get(name)
            if held is not None and held.file.priority == file.priority:
                rivals.setdefault((name, file.priority), [held.file.path]).append(file.path)
            else:
                devices[name] = Entry(file, device)
    found = {path: list(said) for path, said in problems.items()}
    conflicts: dict[str, tuple[Path, ...]] = {}
    for (name, priority), paths in rivals.items():
        if devices[name].file.priority == priority:
            conflicts[name] = tuple(paths)
        _report_conflict(name, paths, found)
    for name in conflicts:
        del devices[name]
    return Index(
        files=tuple(ordered),
        devices=devices,
        conflicts=conflicts,
        problems={path: tuple(said) for path, said in sorted(found.items())},
        broken=frozenset(problems),
    )


def _report_conflict(name: str, paths: Sequence[Path], found: dict[Path, list[Problem]]) -> None:
    for path in paths:
        others = ", ".join(str(other) for other in paths if other != path)
        found.setdefault(path, []).append(
            Problem("devices", f'"{name}" is defined with the same priority in {others}; remove one of them')
        )
