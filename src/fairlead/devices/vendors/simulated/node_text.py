"""A fleet's nodes as the text that `fairlead agent --nodes` reads, so that the agent knows nothing of fleets. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.devices.vendors.simulated.fleet import Fleet, FleetNode


def nodes_text(fleet: Fleet) -> str:
    """One description a node, divided by semicolons."""
    return ";".join(_node(node) for node in fleet.nodes)


def _node(node: FleetNode) -> str:
    group = node.group
    fields = {
        "name": node.name,
        "cpu": _text(group.cpu),
        "memory": _text(group.memory),
        "pods": _text(group.pods),
        "zone": group.zone or "",
        "region": group.region or "",
        "labels": _pairs(node.labels),
        "annotations": _pairs(group.annotations),
        "taints": "|".join(group.taints),
    }
    return ",".join(f"{name}={value}" for name, value in fields.items() if value)


def _text(amount: str | int | None) -> str:
    return "" if amount is None else str(amount)


def _pairs(pairs: Mapping[str, str]) -> str:
    return "|".join(f"{key}:{value}" for key, value in pairs.items())
