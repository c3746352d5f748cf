"""Workers that get a part of a core each, by a control group: what several of them do together can then be seen on a
machine with too few cores for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fairlead.bench.run.links import Link, LocalCrew
from fairlead.bench.worker.priority import NORMAL, VARIABLE

PERIOD_US = 4_000
"""Short, so that a worker that has used up its part waits for 3 ms, and no longer."""
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


class ConfinedCrew(LocalCrew):
    """Each worker into a group of its own, at normal priority: real-time processes are under no quota."""

    def __init__(self, groups: list[Path]) -> None:
        self._groups = groups

    async def link(self, number: int) -> Link:
        link = await super().link(number)
        (self._groups[number] / "cgroup.procs").write_text(str(link.pid))
        return link


@contextlib.contextmanager
def confined(workers: int, share: float) -> Iterator[ConfinedCrew]:
    """A crew of so many workers with `share` of a core each. Raises OSError, saying why, where control groups cannot be
    written."""
    quota = round(share * PERIOD_US)
    groups: list[Path] = []
    before = os.environ.get(VARIABLE)
    try:
        for number in range(workers):
            groups.append(_group(f"fairlead-bench-{os.getpid()}-{workers}-{number}", quota))
        os.environ[VARIABLE] = NORMAL
        yield ConfinedCrew(groups)
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before
        for group in groups:
            group.rmdir()


def _group(name: str, quota_us: int) -> Path:
    if (_V1 / "cpu.shares").exists():
        group = _V1 / name
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        return group
    controllers = (_V2 / "cgroup.subtree_control").read_text().split()
    if "cpu" not in controllers:
        raise OSError(f"{_V2}/cgroup.subtree_control has {' '.join(controllers) or 'nothing'}, and not cpu")
    group = _V2 / name
    group.mkdir()
    (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
    return group
