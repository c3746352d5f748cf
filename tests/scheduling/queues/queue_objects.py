"""Short ways to write queues and gangs in tests."""

from __future__ import annotations

from typing import Any

from fairlead.scheduling.gangs.model import Gang, Group
from fairlead.scheduling.queues.shares import Shares, fair_shares
from fairlead.scheduling.queues.tree import Entitlement, QueueTree, QueueView
from fairlead.scheduling.queues.usage import Holdings, Running

GPU = "nvidia.com/gpu"


def queue(
    name: str, quota: int | None = None, weight: float = 1.0, limit: int | None = None, **fields: Any
) -> QueueView:
    """A queue that says something of GPUs."""
    return QueueView(name, resources={GPU: Entitlement(quota, weight, limit)}, **fields)


def gang(name: str, **fields: Any) -> Gang:
    return Gang("ns", name, Group(name), **fields)


def running(key: str, where: str, gpus: int, **fields: Any) -> Running:
    return Running(key, where, {GPU: gpus}, **fields)


def gpu_shares(tree: QueueTree, gpus: int, **requested: int) -> Shares:
    return fair_shares(tree, {GPU: gpus}, {name: {GPU: amount} for name, amount in requested.items()})


def shares_for(tree: QueueTree, holdings: Holdings, gpus: int, **pending: int) -> Shares:
    """Fair shares where the queues hold what they hold and want `pending` beside it."""
    leaves = [name for name, node in tree.nodes.items() if name and not node.children]
    requested = {name: {GPU: holdings.of(name).get(GPU, 0) + pending.get(name, 0)} for name in leaves}
    return fair_shares(tree, {GPU: gpus}, requested)
