"""A verdict in one line: the message of a pod's PodScheduled condition and of its Event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.scheduling.explain.words import counted, domain_name, listed
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.verdict import Because, Cleared, Explanation, Refused

LONGEST_EVENT: Final = 1024
"""Bytes of an Event's message, of which the API takes no more."""
LONGEST_CONDITION: Final = 4096
"""Bytes of a condition's message; the API takes 32 KiB, people read less."""

UNSCHEDULABLE: Final = "Unschedulable"
GATED: Final = "SchedulingGated"
_GATES: Final = "waits for scheduling gates"


@dataclass(frozen=True, slots=True)
class Line:
    """Reason (one word) and message of a condition."""

    reason: str
    message: str

    @property
    def event(self) -> str:
        return clip(self.message, LONGEST_EVENT)


def line_of(verdict: Refused | Cleared) -> Line:
    """What a gang's pods are told while they wait. For a plain pod in kube-scheduler's own form."""
    if isinstance(verdict, Cleared):
        return Line(UNSCHEDULABLE, clip(cleared_sentence(verdict), LONGEST_CONDITION))
    explanation = verdict.explanation
    is_gated = explanation.because is Because.GATE and explanation.sentence.startswith(_GATES)
    reason = GATED if is_gated else UNSCHEDULABLE
    return Line(reason, clip(refused_sentence(verdict.gang, explanation), LONGEST_CONDITION))


def refused_sentence(gang: Gang, explanation: Explanation) -> str:
    """The search's sentence; for a gang with its name, how near it came, and what would make it fit."""
    if gang.is_single:
        return explanation.sentence
    parts = [f"{gang_name(gang)}: {explanation.sentence.rstrip('.')}"]
    if explanation.domains:
        report = explanation.domains[0]
        place = domain_name(report.level, report.value)
        parts.append(report.note or f"nearest: {place} has room for {report.found} of {counted(report.wanted, 'pod')}")
    if explanation.remedy:
        parts.append(f"remedy: {explanation.remedy}")
    return "; ".join(parts) + "."


def cleared_sentence(verdict: Cleared) -> str:
    """Who has to leave first, and where the gang will go."""
    pods = sum(len(each.pods) for each in verdict.victims)
    victims = listed([each.gang.key for each in verdict.victims], 3)
    nodes = listed(sorted(set(verdict.nominations.values())), 3)
    who = "" if verdict.gang.is_single else f"{gang_name(verdict.gang)}: "
    why = f": {verdict.why}" if verdict.why else ""
    if not pods:
        return f"{who}waits for pods that are leaving {nodes}{why}"
    return f"{who}{verdict.kind}: waits for {counted(pods, 'pod')} of {victims} to leave {nodes}{why}"


def gang_name(gang: Gang) -> str:
    """`Job default/train of 8 pods`; a plain pod is a pod."""
    if gang.is_single:
        return f"pod {gang.key}"
    return f"{gang.key} of {counted(len(gang.pods) + len(gang.bound), 'pod')}"


def clip(text: str, most: int) -> str:
    """The text in at most `most` bytes of UTF-8."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    return raw[: most - 3].decode(errors="ignore") + "…"
