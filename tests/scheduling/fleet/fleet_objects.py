"""Fleets of plain nodes, and pods for them, for tests of options and scores."""

from __future__ import annotations

import itertools
from typing import Any

from fairlead.scheduling.fleet.columns import Columns
from fairlead.scheduling.fleet.device_book import DeviceBook
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.snapshot import NodeView, PodView, Shape
from scheduling.fleet.device_objects import device_class

GIBI = 1 << 30
_uids = itertools.count()


def node(name: str = "n1", **fields: Any) -> NodeView:
    allocatable = {"cpu": 4000, "memory": 8 * GIBI, "pods": 10} | fields.pop("allocatable", {})
    return NodeView(name, allocatable, **fields)


def shape(cpu: int = 0, memory: int = 0, **fields: Any) -> Shape:
    requests = {"pods": 1, "cpu": cpu, "memory": memory} | fields.pop("requests", {})
    return Shape(**{"namespace": "d", "requests": {k: v for k, v in requests.items() if v}} | fields)


def pod(of: Shape, **fields: Any) -> PodView:
    name = f"p{next(_uids)}"
    return PodView(of.namespace, name, name, of, **fields)


def fleet_of(*nodes: NodeView) -> Fleet:
    book = DeviceBook()
    book.set_class(device_class())
    fleet = Fleet(book)
    for each in nodes:
        fleet.set_node(each)
    return fleet


def columns_of(fleet: Fleet) -> Columns:
    columns = Columns(fleet)
    columns.refresh()
    return columns
