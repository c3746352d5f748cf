"""Which worker runs what: each keeps to one folder of tests as long as that lasts, a file at a time.

What the tests of a folder share (API servers, platforms, certificates) is made once for each worker that runs any of
them. Handed out one by one, tests of every folder reach every worker, and every worker makes everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

WAITING: Final = ("e2e", "embedded", "chaos", "serving", "gateway", "kube", "bench")
"""Rooms whose tests wait more than they compute, those with the longest groups first."""


def folder_of(test: str) -> str:
    """tests/kube/test_client.py::test_it → tests/kube"""
    return test.partition("::")[0].rpartition("/")[0]


def order(folder: str) -> int:
    """Where the tests of a folder stand: what waits in front, what computes at the back."""
    room = folder.partition("/")[2].partition("/")[0]
    return WAITING.index(room) if room in WAITING else len(WAITING)


def choose(left: Sequence[str], worker: str, now_in: Mapping[str, str]) -> str:
    """The folder that a worker turns to: the one it is in, else the next that no other worker is in, else the next.

    `left` are the folders (and groups) that still have tests, in order; `now_in` says in which each worker is. Every
    second worker begins at the back, so that at all times some compute while others wait.
    """
    if now_in.get(worker) in left:
        return now_in[worker]
    others = {folder for name, folder in now_in.items() if name != worker}
    is_odd = worker[-1:] in ("1", "3", "5", "7", "9")
    onward = left[::-1] if is_odd else left
    return next((folder for folder in onward if folder not in others), onward[0])


class RoomScheduling(LoadGroupScheduling):
    """xdist's scheduling of groups, with all tests of a file together where a test names no group."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._now_in: dict[str, str] = {}

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if scope == nodeid else scope

    def _assign_work_unit(self, node: WorkerController) -> None:
        units: dict[str, list[str]] = {}
        places: dict[str, tuple[int, bool]] = {}
        for scope, tests in self.workqueue.items():
            folder = folder_of(next(iter(tests)))
            is_group = not scope.endswith(".py")
            name = scope if is_group else folder
            units.setdefault(name, []).append(scope)
            places.setdefault(name, (order(folder), not is_group))
        worker = node.gateway.id
        chosen = choose(sorted(units, key=places.__getitem__), worker, self._now_in)
        self._now_in[worker] = chosen
        self.workqueue.move_to_end(units[chosen][0], last=False)
        super()._assign_work_unit(node)
