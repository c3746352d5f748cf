"""A story as JSON: stable names for programs, the same facts as on the page."""

from __future__ import annotations

from typing import Any

from fairlead.scheduling.explain.line import line_of
from fairlead.scheduling.explain.nearest import NearestMiss
from fairlead.scheduling.explain.neighbours import Holder
from fairlead.scheduling.explain.remedies import Remedy
from fairlead.scheduling.explain.standing import Place, Weighing
from fairlead.scheduling.explain.story import Story
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import Cleared, DomainReport, Placed, Refused

Json = dict[str, Any]


def document(story: Story) -> Json:
    """Keys in camel case; what does not apply is left out."""
    made: Json = {"gang": gang_document(story.gang), "outcome": story.outcome}
    verdict = story.verdict
    if isinstance(verdict, Refused | Cleared):
        made["message"] = line_of(verdict).message
    if isinstance(verdict, Placed) and verdict.domains:
        made["domains"] = dict(verdict.domains)
    if isinstance(verdict, Cleared):
        made["clears"] = _cleared(verdict)
    if isinstance(verdict, Refused):
        made["refusal"] = _refusal(story)
    if story.places:
        made["pods"] = [_place(each) for each in story.places]
    return made


def gang_document(gang: Gang) -> Json:
    """Which gang it is."""
    return {
        "namespace": gang.namespace,
        "name": gang.name,
        "kind": gang.kind,
        "queue": gang.queue,
        "priority": gang.priority,
        "pending": len(gang.pods),
        "bound": len(gang.bound),
    }


def _refusal(story: Story) -> Json:
    explanation = story.explanation
    assert explanation is not None
    made: Json = {
        "because": explanation.because.value,
        "sentence": explanation.sentence,
        "rejections": dict(explanation.rejections),
        "domains": [_domain(each) for each in explanation.domains],
        "remedies": [_remedy(each) for each in story.remedies],
        "steps": explanation.steps,
    }
    if explanation.pod:
        made["pod"] = explanation.pod
    if explanation.remedy:
        made["remedy"] = explanation.remedy
    if story.nearest is not None:
        made["nearest"] = _nearest(story.nearest)
    if story.holders:
        made["holders"] = [_holder(each) for each in story.holders]
    if explanation.held_back:
        made["heldBack"] = list(explanation.held_back)
    if story.is_cut:
        made["remediesCutOff"] = True
    return made


def _domain(report: DomainReport) -> Json:
    return {
        "level": report.level,
        "value": report.value,
        "wanted": report.wanted,
        "found": report.found,
        "reasons": dict(report.reasons),
        **({"heldBy": dict(report.held_by)} if report.held_by else {}),
        **({"note": report.note} if report.note else {}),
    }


def _nearest(nearest: NearestMiss) -> Json:
    return {
        "level": nearest.report.level,
        "value": nearest.report.value,
        "sentence": nearest.sentence,
        "devices": [
            {"class": each.name, "wanted": each.wanted, "free": each.free, "total": each.total}
            for each in nearest.shortages
        ],
    }


def _holder(holder: Holder) -> Json:
    return {
        "gang": holder.gang,
        "queue": holder.queue,
        "priority": holder.priority,
        "amounts": dict(holder.amounts),
        **({"spared": holder.spared} if holder.spared else {}),
    }


def _remedy(remedy: Remedy) -> Json:
    made: Json = {"kind": remedy.kind, "text": remedy.text}
    if remedy.nodes:
        made |= {"nodes": list(remedy.nodes), "pods": remedy.placed}
    return made


def _cleared(verdict: Cleared) -> Json:
    return {
        "kind": verdict.kind,
        "why": verdict.why,
        "victims": [
            {
                "gang": each.gang.key,
                "pods": [pod.full_name for pod in each.pods],
                "whole": each.is_whole,
                "cost": each.cost,
                "why": each.why,
            }
            for each in verdict.victims
        ],
        "nodes": sorted(set(verdict.nominations.values())),
        "moves": [{"pod": each.pod.full_name, "node": each.node} for each in verdict.moves],
    }


def _weighing(weighing: Weighing) -> Json:
    made: Json = {"here": weighing.here._asdict()}
    if weighing.cost_elsewhere is not None:
        made |= {"elsewhere": weighing.cost_elsewhere._asdict(), "node": weighing.elsewhere}
    return made


def _place(place: Place) -> Json:
    return {
        "pod": place.pod,
        "node": place.node,
        "claims": [
            {
                "name": each.claim,
                "devices": [str(device) for device in each.devices],
                "nearness": each.nearness,
                "linkScore": each.link_score,
            }
            for each in place.claims
        ],
        "left": dict(place.left),
        **({"cost": _weighing(place.weighing)} if place.weighing is not None else {}),
        **({"alternatives": list(place.alternatives), "fitting": place.fitting} if place.fitting else {}),
    }
