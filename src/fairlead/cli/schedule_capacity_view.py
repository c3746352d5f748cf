"""What still fits and what is free, as tables and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairlead.cli.columns import columns
from fairlead.cli.schedule_replica import Replica
from fairlead.scheduling.capacity import SEVERAL, Fit
from fairlead.scheduling.explain.words import amount, counted, level_name
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fragmentation import MOST, SIZES, ClassReport, NodeDevices
from fairlead.scheduling.snapshot import HOST

Json = dict[str, Any]
_MOST_ROWS: Final = 20


def fit_text(replica: Replica, fit: Fit, level: str) -> str:
    """How many fit, by domain and by node, and what keeps the next one out."""
    each = f" of {counted(replica.pods, 'pod')} each" if replica.pods > 1 else ""
    more = "" if fit.is_most else " or more (counting ended there: --limit)"
    parts = [f"{replica.name}: {fit.count} more fit{each}{more}"]
    for name in dict.fromkeys((level, HOST)):
        counts = fit.by_level.get(name, {})
        if counts and set(counts) != {SEVERAL}:
            parts.append(_counts(level_name(name).upper(), counts))
    if fit.stopped_by is not None:
        parts.append(f"the next one: {fit.stopped_by.sentence}")
    return "\n\n".join(parts)


def _counts(head: str, counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    rows = [[name, str(count)] for name, count in ordered[:_MOST_ROWS]]
    table = columns((head, "REPLICAS"), rows)
    rest = len(ordered) - _MOST_ROWS
    return f"{table}\n… and {rest} more (all with -o json)" if rest > 0 else table


def fit_json(replica: Replica, fit: Fit, level: str) -> Json:
    return {
        "of": replica.name,
        "podsEach": replica.pods,
        "fits": fit.count,
        "isMost": fit.is_most,
        "byDomain": {name: dict(counts) for name, counts in fit.by_level.items()},
        "podsByNode": dict(fit.by_node),
        **({"next": fit.stopped_by.sentence} if fit.stopped_by is not None else {}),
    }


def free_text(fleet: Fleet, reports: Sequence[ClassReport], level: str) -> str:
    """A line for each class, then what nodes have of the rest."""
    parts = []
    if reports:
        parts.append(columns(_class_header(level), [_class_row(each) for each in reports]))
        parts.append(
            "STRANDED: free, but in no set of 1/2/4/8 that still fits on one node. FRAG: the share of free devices\n"
            "that is stranded, over these sizes (0: none). --nodes tells of each node."
        )
    else:
        parts.append("no devices: no node has any of a DeviceClass that is there")
    parts.append(columns(("RESOURCE", "TOTAL", "USED", "FREE", "MOST ON A NODE"), _resource_rows(fleet)))
    return "\n\n".join(parts)


def _class_header(level: str) -> list[str]:
    return [
        "CLASS", "TOTAL", "HELD", "FREE", "UNHEALTHY", "BLOCKED", "STRANDED 1/2/4/8", "LARGEST ON A NODE",
        f"MOST IN A {level_name(level).upper()}", "FRAG",
    ]  # fmt: skip


def _class_row(report: ClassReport) -> list[str]:
    largest, domain, index = report.largest, report.largest_domain, report.index
    return [
        report.name,
        _number(report.total, report),
        str(report.held),
        _number(report.free, report),
        str(report.unhealthy),
        str(report.blocked),
        "/".join(str(report.stranded(size)) for size in SIZES),
        f"{largest.largest} ({largest.node})" if largest is not None else "0",
        f"{domain[1]} ({domain[0]})" if domain is not None and domain[1] else "-",
        f"{index:.2f}" if index is not None else "-",
    ]


def _number(value: int, report: ClassReport) -> str:
    """Devices that are shared without limit have no number."""
    return "no limit" if any(each.total >= MOST for each in report.nodes) else str(value)


def _resource_rows(fleet: Fleet) -> list[list[str]]:
    totals: Counter[str] = Counter()
    free: Counter[str] = Counter()
    most: dict[str, tuple[int, str]] = {}
    for row, node in enumerate(fleet.nodes):
        if node is None:
            continue
        for name, value in node.allocatable.items():
            here = max(0, fleet.free(row, name))
            totals[name] += value
            free[name] += here
            if not node.unschedulable and (name not in most or here > most[name][0]):
                most[name] = here, node.name
    rows = []
    for name in sorted(totals, key=_resource_rank):
        best = most.get(name)
        rows.append(
            [
                name,
                amount(name, totals[name]),
                amount(name, totals[name] - free[name]),
                amount(name, free[name]),
                f"{amount(name, best[0])} ({best[1]})" if best is not None else "-",
            ]
        )
    return rows


def _resource_rank(name: str) -> tuple[int, str]:
    first = ("cpu", "memory", "pods")
    return (first.index(name) if name in first else len(first), name)


def free_json(fleet: Fleet, reports: Sequence[ClassReport], level: str) -> Json:
    return {
        "level": level,
        "classes": [_class_json(each) for each in reports],
        "resources": {
            row[0]: dict(zip(("total", "used", "free"), row[1:4], strict=True)) for row in _resource_rows(fleet)
        },
    }


def _class_json(report: ClassReport) -> Json:
    largest = report.largest
    return {
        "class": report.name,
        "total": report.total,
        "held": report.held,
        "free": report.free,
        "unhealthy": report.unhealthy,
        "blocked": report.blocked,
        "stranded": {str(size): report.stranded(size) for size in SIZES},
        "largestOnNode": {"node": largest.node, "devices": largest.largest} if largest is not None else None,
        "freeByDomain": dict(report.domains),
        "fragmentation": report.index,
    }


def nodes_text(fleet: Fleet, reports: Sequence[ClassReport], level: str) -> str:
    """A line for each node: its domain, what is free of what it has, and how it is."""
    header = [
        "NODE",
        level_name(level).upper(),
        "STATE",
        "PODS",
        "CPU",
        "MEMORY",
        *(each.name.upper() for each in reports),
    ]
    rows = []
    by_node = _by_node(reports)
    for row, node in _nodes(fleet):
        seen = by_node.get(node.name, {})
        cells = [_free_of(fleet, row, name) for name in ("pods", "cpu", "memory")]
        devices = [_devices(seen.get(each.name)) for each in reports]
        state = "cordoned" if node.unschedulable else ", ".join(taint.key for taint in node.taints) or "open"
        rows.append([node.name, node.value(level) or "-", state, *cells, *devices])
    if not rows:
        return "there are no nodes"
    return f"{columns(header, rows)}\n\nfree of all; of devices also the largest set that one claim can get"


def _nodes(fleet: Fleet) -> list[tuple[int, Any]]:
    found = [(row, node) for row, node in enumerate(fleet.nodes) if node is not None]
    return sorted(found, key=lambda each: each[1].name)


def _by_node(reports: Sequence[ClassReport]) -> dict[str, dict[str, NodeDevices]]:
    found: dict[str, dict[str, NodeDevices]] = {}
    for report in reports:
        for each in report.nodes:
            found.setdefault(each.node, {})[report.name] = each
    return found


def _free_of(fleet: Fleet, row: int, name: str) -> str:
    node = fleet.nodes[row]
    total = node.allocatable.get(name, 0) if node is not None else 0
    return f"{amount(name, max(0, fleet.free(row, name)))}/{amount(name, total)}"


def _devices(seen: NodeDevices | None) -> str:
    if seen is None:
        return "-"
    unhealthy = f", {seen.unhealthy} unhealthy" if seen.unhealthy else ""
    largest = f", set {seen.largest}" if seen.largest != seen.free else ""
    return f"{seen.free}/{seen.total}{largest}{unhealthy}"


def nodes_json(fleet: Fleet, reports: Sequence[ClassReport], level: str) -> Json:
    by_node = _by_node(reports)
    listed = []
    for row, node in _nodes(fleet):
        seen = by_node.get(node.name, {})
        listed.append(
            {
                "node": node.name,
                "domain": node.value(level),
                "cordoned": node.unschedulable,
                "taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in node.taints],
                "free": {name: amount(name, max(0, fleet.free(row, name))) for name in node.allocatable},
                "devices": {
                    name: {
                        "total": each.total,
                        "free": each.free,
                        "unhealthy": each.unhealthy,
                        "largest": each.largest,
                        "sets": {str(size): count for size, count in (each.sets or {}).items()},
                    }
                    for name, each in seen.items()
                },
            }
        )
    return {"level": level, "nodes": listed}
