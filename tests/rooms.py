"""Which worker runs what: each keeps to one folder of tests as long as that lasts, a file at a time.

What the tests of a folder share (API servers, platforms, certificates) is made once for each worker that runs any of
them. Handed out one by one, tests of every folder reach every worker, and every worker makes everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

FIRST: Final = ("e2e", "chaos", "embedded", "gateway", "serving", "scheduling", "kube", "bench")
"""Rooms of tests that take long, and wait: they start first, beside each other and beside what computes."""


def folder_of(test: str) -> str:
    """tests/kube/test_client.py::test_it → tests/kube"""
    return test.partition("::")[0].rpartition("/")[0]


def order(folder: str) -> int:
    """The lower, the sooner tests of a folder start."""
    room = folder.partition("/")[2].partition("/")[0]
    return FIRST.index(room) if room in FIRST else len(FIRST)


def choose(waiting: Iterable[str], worker: str, now_in: Mapping[str, str]) -> str:
    """The folder that a worker turns to: the one it is in, else the first that no other worker is in, else the first.

    `waiting` are the folders that still have tests, in order; `now_in` says in which folder each worker is.
    """
    folders = list(dict.fromkeys(waiting))
    if now_in.get(worker) in folders:
        return now_in[worker]
    others = {folder for name, folder in now_in.items() if name != worker}
    return next((folder for folder in folders if folder not in others), folders[0])


class RoomScheduling(LoadGroupScheduling):
    """xdist's scheduling of groups, with all tests of a file together where a test names no group."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._now_in: dict[str, str] = {}

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        return nodeid.partition("::")[0] if scope == nodeid else scope

    def _assign_work_unit(self, node: WorkerController) -> None:
        folders = {scope: folder_of(next(iter(unit))) for scope, unit in self.workqueue.items()}
        worker = node.gateway.id
        folder = choose(sorted(folders.values(), key=order), worker, self._now_in)
        self._now_in[worker] = folder
        scope = next(scope for scope, each in folders.items() if each == folder)
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)
