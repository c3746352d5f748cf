"""What a simulation found, as a table with the refused explained, or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.cli.columns import columns
from fairlead.cli.schedule_planning import Plan
from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.explain.document import document, gang_document
from fairlead.scheduling.explain.line import cleared_sentence, line_of
from fairlead.scheduling.explain.neighbours import devices_held
from fairlead.scheduling.explain.page import page
from fairlead.scheduling.explain.story import Story
from fairlead.scheduling.explain.words import counted, level_name, listed
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import Placed

Json = dict[str, Any]
_MOST_NODES: Final = 4
_HEADER: Final = ("GANG", "QUEUE", "PODS", "NODES", "DEVICES", "WHERE")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A simulation, ready to be shown."""

    plan: Plan
    stories: Mapping[tuple[str, str, str], Story]
    """Of the refused, of gangs that are refused for the same reason the first."""
    fleet: Fleet
    alike: Mapping[tuple[str, str, str], Sequence[tuple[str, str, str]]] = field(default_factory=dict)
    """One of these -> the others."""
    gangs: Mapping[tuple[str, str, str], Gang] = field(default_factory=dict)
    """As they are in the end."""

    @property
    def is_whole(self) -> bool:
        """Whether every gang has a place."""
        return not self.plan.refused


def simulation_text(outcome: Outcome, *, wide: bool = False) -> str:
    """A line for each gang, what had to leave, and a page for each that has no place."""
    plan = outcome.plan
    parts: list[str] = []
    if plan.order:
        rows = [_row(outcome, identity, wide=wide) for identity in plan.order]
        parts.append(columns(_HEADER, rows))
    if wide and plan.placed:
        parts.append(columns(("POD", "NODE", "CLAIM", "DEVICES"), _pod_rows(plan.placed.values())))
    if plan.cleared:
        parts.append("\n".join(f"evicted: {cleared_sentence(each)}" for each in plan.cleared))
    parts += [page(story) for story in outcome.stories.values()]
    if outcome.alike:
        parts.append("\n".join(_alike(outcome, identity) for identity in outcome.alike))
    parts.append(_summary(outcome))
    return "\n\n".join(parts)


def _row(outcome: Outcome, identity: tuple[str, str, str], *, wide: bool) -> list[str]:
    placed = outcome.plan.placed.get(identity)
    refused = outcome.plan.refused.get(identity)
    verdict = placed or refused
    gang = outcome.gangs.get(identity) or (verdict.gang if verdict is not None else None)
    if gang is None:
        return ["/".join(identity[1:]), "-", "-", "-", "-", "it had to leave"]
    assignments = placed.assignments if placed is not None else ()
    total = len(gang.pods) + len(gang.bound)
    nodes = Counter(each.node for each in assignments)
    return [
        gang.key,
        gang.queue or "-",
        f"{len(gang.bound)}/{total}",
        _nodes(nodes, wide=wide) or "-",
        _devices(outcome.fleet, placed) or "-",
        _where(outcome, placed) if placed is not None else outcome.plan.refused[identity].explanation.because.value,
    ]


def _alike(outcome: Outcome, identity: tuple[str, str, str]) -> str:
    others = [outcome.plan.refused[each].gang.key for each in outcome.alike[identity]]
    return f"for the same reason as {outcome.plan.refused[identity].gang.key}: {listed(others, 8)}"


def _nodes(nodes: Mapping[str, int], *, wide: bool) -> str:
    texts = [f"{name} ({count})" if count > 1 else name for name, count in nodes.items()]
    if wide or len(texts) <= _MOST_NODES:
        return ", ".join(texts)
    return f"{', '.join(texts[: _MOST_NODES - 1])} and {len(texts) - _MOST_NODES + 1} more"


def _devices(fleet: Fleet, placed: Placed | None) -> str:
    """Devices by class that the gang's claims have, shared ones once."""
    if placed is None:
        return ""
    keys = {(each.pod.namespace, name): None for each in placed.assignments for name in each.pod.claims}
    found: Counter[str] = Counter()
    for key in keys:
        found.update(devices_held(fleet, key))
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items()))


def _where(outcome: Outcome, placed: Placed) -> str:
    return ", ".join(f"{level_name(level)} {value}" for level, value in placed.domains.items()) or "-"


def _pod_rows(placed: Iterable[Placed]) -> list[list[str]]:
    rows: list[list[str]] = []
    for verdict in placed:
        for each in verdict.assignments:
            claims = [[name, _device_names(allocation)] for name, allocation in each.allocations.items()]
            for number, cells in enumerate(claims or [["-", "-"]]):
                first = [each.pod.full_name, each.node] if not number else ["", ""]
                rows.append([*first, *cells])
    return rows


def _device_names(allocation: AllocationResult) -> str:
    results = allocation.devices.results if allocation.devices is not None else ()
    return ", ".join(result.device for result in results) or "-"


def _summary(outcome: Outcome) -> str:
    plan = outcome.plan
    pods = sum(len(each.assignments) for each in plan.placed.values())
    nodes = {each.node for verdict in plan.placed.values() for each in verdict.assignments}
    parts = [f"{len(plan.placed)} of {counted(len(plan.order), 'gang')} placed"]
    if pods:
        parts.append(f"{counted(pods, 'pod')} on {counted(len(nodes), 'node')}")
    if plan.refused:
        parts.append(f"{len(plan.refused)} without a place")
    if plan.evicted:
        parts.append(f"{counted(len(plan.evicted), 'pod')} evicted")
    text = ", ".join(parts)
    if not plan.order:
        text = "no pods without a node in the files"
    ignored = [f"{count} {kind}" for kind, count in sorted(plan.unseen.items()) if kind not in _EXPANDED]
    return f"{text}\nnot looked at: {', '.join(ignored)}" if ignored else text


_EXPANDED: Final = frozenset(
    {
        "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ModelService", "ResourceClaimTemplate",
        "CustomResourceDefinition",
    }
)  # fmt: skip
"""Kinds that are looked at as the pods and claims that are made of them."""


def simulation_json(outcome: Outcome) -> Json:
    """Gangs in the order of decision, each with its pods' nodes and devices, or why it has none."""
    plan = outcome.plan
    return {
        "gangs": [_gang(outcome, identity) for identity in plan.order],
        "evictions": [
            {
                "for": each.gang.key,
                "kind": each.kind,
                "why": each.why,
                "pods": [pod.full_name for victims in each.victims for pod in victims.pods],
            }
            for each in plan.cleared
        ],
        "summary": {
            "gangs": len(plan.order),
            "placed": len(plan.placed),
            "refused": len(plan.refused),
            "pods": sum(len(each.assignments) for each in plan.placed.values()),
            "evicted": len(plan.evicted),
        },
        "notLookedAt": {kind: count for kind, count in sorted(plan.unseen.items()) if kind not in _EXPANDED},
    }


def _gang(outcome: Outcome, identity: tuple[str, str, str]) -> Json:
    placed = outcome.plan.placed.get(identity)
    story = outcome.stories.get(identity)
    made: Json = {"gang": {"kind": identity[0], "namespace": identity[1], "name": identity[2]}, "outcome": "evicted"}
    if placed is not None:
        gang = outcome.gangs.get(identity, placed.gang)
        made = {
            "gang": gang_document(gang),
            "outcome": "placed",
            "domains": dict(placed.domains),
            "devices": _devices(outcome.fleet, placed),
            "pods": [
                {"pod": each.pod.full_name, "node": each.node, "claims": _claims(each.allocations)}
                for each in placed.assignments
            ],
        }
    if story is not None:
        told = document(story)
        made = {**told, **({"placed": made["pods"]} if placed is not None else {})}
    elif identity in outcome.plan.refused:
        refused = outcome.plan.refused[identity]
        made = {"gang": gang_document(refused.gang), "outcome": "refused", "message": line_of(refused).message}
    return made


def _claims(allocations: Mapping[str, AllocationResult]) -> Sequence[Json]:
    return [
        {
            "name": name,
            "devices": [
                {"request": each.request, "driver": each.driver, "pool": each.pool, "device": each.device}
                for each in (allocation.devices.results if allocation.devices is not None else ())
            ],
        }
        for name, allocation in allocations.items()
    ]
