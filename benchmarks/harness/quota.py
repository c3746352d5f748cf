"""Workers that get a part of a core each, by a control group: what several of them do together can then be seen on a
machine with too few cores for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fairlead.bench.run.links import Link, LocalCrew
from fairlead.bench.worker.priority import NORMAL, VARIABLE

PERIOD_US, REAL_TIME_PERIOD_US = 3_000, 1_500
"""Short, so that a worker that has used up a third waits for 2 ms (1 ms), and no longer. A quota has at least 1 ms,
where it is not one of real-time processes."""
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


class ConfinedCrew(LocalCrew):
    """Each worker into a group of its own, and onto one core: real-time quotas are per core."""

    def __init__(self, groups: list[Path]) -> None:
        self._groups = groups

    async def link(self, number: int) -> Link:
        link = await super().link(number)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(link.pid, {cores[number % len(cores)]})
        (self._groups[number] / "cgroup.procs").write_text(str(link.pid))
        return link


@contextlib.contextmanager
def confined(workers: int, share: float) -> Iterator[ConfinedCrew]:
    """A crew of so many workers with `share` of a core each. Where only processes of normal priority have a quota (all
    but groups of version 1 with RT_GROUP_SCHED), workers are of that. Raises OSError, saying why, where control groups
    cannot be written."""
    before = os.environ.get(VARIABLE)
    with contextlib.ExitStack() as stack:
        groups = [stack.enter_context(_group(f"fairlead-bench-{os.getpid()}-{workers}-{n}")) for n in range(workers)]
        if not all(_limit(group, share) for group in groups):
            os.environ[VARIABLE] = NORMAL
        try:
            yield ConfinedCrew(groups)
        finally:
            os.environ.pop(VARIABLE, None)
            if before is not None:
                os.environ[VARIABLE] = before


@contextlib.contextmanager
def _group(name: str) -> Iterator[Path]:
    group = (_V1 if (_V1 / "cpu.shares").exists() else _V2) / name
    group.mkdir()
    try:
        yield group
    finally:
        with contextlib.suppress(OSError):  # a group that is gone still has its part until the kernel tidies up
            (group / "cpu.rt_runtime_us").write_text("0")
        group.rmdir()


def _limit(group: Path, share: float) -> bool:
    """Whether real-time processes of the group are limited too."""
    quota_us = round(share * PERIOD_US)
    if group.parent == _V2:
        if not (group / "cpu.max").exists():
            raise OSError(f"{_V2}/cgroup.subtree_control does not have cpu")
        (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        return False
    (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    if not (group / "cpu.rt_runtime_us").exists():
        return False
    (group / "cpu.rt_period_us").write_text(str(REAL_TIME_PERIOD_US))
    (group / "cpu.rt_runtime_us").write_text(str(round(share * REAL_TIME_PERIOD_US)))
    return True
