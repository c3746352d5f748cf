"""The specs of a node's folders, read when they change.

A folder's priority is its place in the list, later ones higher: by default the static one, then the one for generated
specs. Folders that are not there are empty; a file that cannot be used is reported and hides no other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.cdi.errors import Problem, SpecError
from fairlead.devices.cdi.index import Entry, Index, SpecFile, build_index
from fairlead.devices.cdi.read import SUFFIXES, Stamp, read_stamped
from fairlead.devices.cdi.resolve import find, merge_entries
from fairlead.devices.cdi.spec import ContainerEdits

STATIC_DIR = Path("/etc/cdi")
DYNAMIC_DIR = Path("/var/run/cdi")
DEFAULT_DIRS = (STATIC_DIR, DYNAMIC_DIR)

# File systems stamp with ticks of up to 10 ms: a file that changed so recently may change again under the same stamp.
_SETTLED_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    """One file as last read. No `stamp`: to be read again."""

    stamp: Stamp | None
    file: SpecFile | None
    problems: tuple[Problem, ...] = ()

    def differs(self, before: _Known) -> bool:
        """Whether there is something else in the file than before. What was not read again is the same object."""
        return self.file is not before.file or self.problems != before.problems


class SpecCache:
    """The devices of a node. May be used by several threads at once."""

    def __init__(self, dirs: Sequence[Path | str] = DEFAULT_DIRS, *, clock: Clock = SYSTEM) -> None:
        self.dirs = tuple(Path(folder) for folder in dirs)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[Path, int], _Known] = {}  # path, priority -> the file
        self._folder_problems: dict[Path, tuple[Problem, ...]] = {}
        self._index: Index | None = None

    def refresh(self) -> Index:
        """Look at the folders, read what has changed, and return what there is now."""
        with self._lock:
            return self._refresh()

    def resolve(self, names: Iterable[str]) -> ContainerEdits:
        """The merged edits of these devices, as the folders define them now. Raises UnresolvedDevices."""
        return merge_entries(self.find(names))

    def find(self, names: Iterable[str]) -> list[Entry]:
        """These devices, each once, with the files that define them now. Raises UnresolvedDevices."""
        return find(self.refresh(), names)

    def _refresh(self) -> Index:
        known: dict[tuple[Path, int], _Known] = {}
        folder_problems: dict[Path, tuple[Problem, ...]] = {}
        for priority, folder in enumerate(self.dirs):
            try:
                paths = _spec_paths(folder)
            except OSError as error:
                folder_problems[folder] = (Problem("", f"the folder cannot be listed: {error.strerror}"),)
                continue
            for path in paths:
                found = self._look(path, priority)
                if found is not None:
                    known[path, priority] = found
        same = (
            folder_problems == self._folder_problems
            and known.keys() == self._known.keys()
            and not any(now.differs(self._known[key]) for key, now in known.items())
        )
        self._known = known
        self._folder_problems = folder_problems
        if self._index is None or not same:
            self._index = _index(known, folder_problems)
        return self._index

    def _look(self, path: Path, priority: int) -> _Known | None:
        """The file as it is now; None if it is not there any more."""
        before = self._known.get((path, priority))
        try:
            stamp = Stamp.of(os.stat(path))
            if before is not None and before.stamp == stamp:
                return before
            spec, stamp = read_stamped(path)
        except FileNotFoundError:
            if not path.is_symlink():
                return None
            return _Known(None, None, (Problem("", "is a link to a file that is not there"),))
        except SpecError as error:
            return _Known(self._settled(stamp), None, error.problems)
        except OSError as error:
            return _Known(None, None, (Problem("", f"cannot be read: {error.strerror}"),))
        if before is not None and before.file is not None and before.file.spec == spec:
            return _Known(self._settled(stamp), before.file)
        return _Known(self._settled(stamp), SpecFile(path, priority, spec))

    def _settled(self, stamp: Stamp) -> Stamp | None:
        age_ns = int(self._clock.wall_s() * 1e9) - max(stamp.modified_ns, stamp.changed_ns)
        return stamp if age_ns > _SETTLED_NS else None


def _spec_paths(folder: Path) -> list[Path]:
    """The files of a folder that are specs by their names, sorted. Empty where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(SUFFIXES) and not entry.is_dir()]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names)]


def _index(known: dict[tuple[Path, int], _Known], folder_problems: dict[Path, tuple[Problem, ...]]) -> Index:
    problems = dict(folder_problems)
    for (path, _), found in known.items():
        if found.problems:
            problems[path] = found.problems
    return build_index([found.file for found in known.values() if found.file is not None], problems)
