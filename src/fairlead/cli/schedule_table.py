"""The table of a simulation: a line for each gang, and where there are many, one for all pods of a template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fairlead.cli.columns import columns
from fairlead.cli.schedule_planning import Plan
from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.explain.neighbours import devices_held
from fairlead.scheduling.explain.words import level_name
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import Assignment, Placed, Refused

Identity = tuple[str, str, str]

MANY: Final = 40
"""With more gangs than this, plain pods that are alike share a line."""
_MOST_NODES: Final = 4
_HEADER: Final = ("GANG", "QUEUE", "PODS", "NODES", "DEVICES", "WHERE")


@dataclass(slots=True)
class _Line:
    """One gang, or plain pods that are alike and fared alike."""

    gang: Gang
    where: str
    others: int = 0
    bound: int = 0
    pods: int = 0
    assignments: list[Assignment] = field(default_factory=list)


def plan_table(plan: Plan, gangs: Mapping[Identity, Gang], fleet: Fleet, *, wide: bool) -> str:
    """`gangs` as they are in the end. `wide` cuts no list of nodes."""
    is_short = len(plan.order) > MANY and not wide
    lines: dict[object, _Line] = {}
    for identity in plan.order:
        verdict: Placed | Refused | None = plan.placed.get(identity) or plan.refused.get(identity)
        gang = gangs.get(identity) or (verdict.gang if verdict is not None else None)
        if gang is None or verdict is None:
            continue
        where = _where(verdict)
        key: object = identity
        if is_short and gang.is_single and verdict.gang.pods:
            key = (gang.namespace, gang.queue, where, verdict.gang.pods[0].shape)
        line = lines.get(key)
        if line is None:
            line = lines[key] = _Line(gang, where)
        else:
            line.others += 1
        line.bound += len(gang.bound)
        line.pods += len(gang.pods) + len(gang.bound)
        line.assignments += verdict.assignments if isinstance(verdict, Placed) else ()
    return columns(_HEADER, [_cells(line, fleet, wide=wide) for line in lines.values()])


def pod_table(placed: Iterable[Placed]) -> str:
    """A line for each claim of each pod."""
    rows: list[list[str]] = []
    for verdict in placed:
        for each in verdict.assignments:
            claims = [[name, _names(allocation)] for name, allocation in each.allocations.items()]
            for number, cells in enumerate(claims or [["-", "-"]]):
                first = [each.pod.full_name, each.node] if not number else ["", ""]
                rows.append([*first, *cells])
    return columns(("POD", "NODE", "CLAIM", "DEVICES"), rows)


def devices_text(fleet: Fleet, assignments: Sequence[Assignment]) -> str:
    """Devices by class that the pods' claims have, shared ones once."""
    keys = {(each.pod.namespace, name): None for each in assignments for name in each.pod.claims}
    found: Counter[str] = Counter()
    for key in keys:
        found.update(devices_held(fleet, key))
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items()))


def _cells(line: _Line, fleet: Fleet, *, wide: bool) -> list[str]:
    return [
        f"{line.gang.key} and {line.others} alike" if line.others else line.gang.key,
        line.gang.queue or "-",
        f"{line.bound}/{line.pods}",
        _nodes(Counter(each.node for each in line.assignments), wide=wide) or "-",
        devices_text(fleet, line.assignments) or "-",
        line.where,
    ]


def _nodes(nodes: Mapping[str, int], *, wide: bool) -> str:
    texts = [f"{name} ({count})" if count > 1 else name for name, count in nodes.items()]
    if wide or len(texts) <= _MOST_NODES:
        return ", ".join(texts)
    return f"{', '.join(texts[: _MOST_NODES - 1])} and {len(texts) - _MOST_NODES + 1} more"


def _where(verdict: Placed | Refused) -> str:
    """The domains of a gang that has a place, the kind of thing in the way of another."""
    if isinstance(verdict, Refused):
        return f"no place: {verdict.explanation.because.value}"
    return ", ".join(f"{level_name(level)} {value}" for level, value in verdict.domains.items()) or "-"


def _names(allocation: AllocationResult) -> str:
    results = allocation.devices.results if allocation.devices is not None else ()
    return ", ".join(result.device for result in results) or "-"
