"""What a simulation found, as a table with the refused explained, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.cli.schedule_planning import Plan
from fairlead.cli.schedule_table import devices_text, plan_table, pod_table
from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.explain.document import document, gang_document
from fairlead.scheduling.explain.line import line_of
from fairlead.scheduling.explain.page import page
from fairlead.scheduling.explain.story import Story
from fairlead.scheduling.explain.words import counted, listed
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import Cleared

Json = dict[str, Any]


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
        parts.append(plan_table(plan, outcome.gangs, outcome.fleet, wide=wide))
    if wide and plan.placed:
        parts.append(pod_table(plan.placed.values()))
    if plan.cleared:
        parts.append("\n".join(f"evicted by {_eviction(each)}" for each in plan.cleared))
    parts += [page(story) for story in outcome.stories.values()]
    if outcome.alike:
        parts.append("\n".join(_alike(outcome, identity) for identity in outcome.alike))
    parts.append(_summary(outcome))
    return "\n\n".join(parts)


def _alike(outcome: Outcome, identity: tuple[str, str, str]) -> str:
    others = [outcome.plan.refused[each].gang.key for each in outcome.alike[identity]]
    return f"for the same reason as {outcome.plan.refused[identity].gang.key}: {listed(others, 8)}"


def _eviction(cleared: Cleared) -> str:
    """Who made room for whom."""
    victims = [f"{each.gang.key} ({counted(len(each.pods), 'pod')})" for each in cleared.victims]
    nodes = listed(sorted(set(cleared.nominations.values())), 4)
    who = listed(victims, 8) if victims else "nobody: pods were leaving already"
    return f"{cleared.kind} for {cleared.gang.key} on {nodes}: {who}"


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
            "devices": devices_text(outcome.fleet, placed.assignments),
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
