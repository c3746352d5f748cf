"""Why a gang has no place: what is wrong with single pods, or how near it came in each domain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from fairlead.scheduling.fleet.device_book import Refusal
from fairlead.scheduling.fleet.options import Mask, Options, Outlook
from fairlead.scheduling.gangs.attempts import Attempts
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.nearness import Shortage, find_shortage, fits_without_topology
from fairlead.scheduling.gangs.parts import Part
from fairlead.scheduling.gangs.trial import Place
from fairlead.scheduling.gangs.wording import count_reasons, join_levels, plural, pods_text
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Because, Explanation, Refused


def refuse_single(
    outlook: Outlook, gang: Gang, pod: PodView, rows: Mask | None, *, steps: int, explains: bool
) -> Refused:
    """A pod of its own that fits nowhere."""
    if pod.waits_for:
        return Refused(gang, Explanation(Because.GATE, pod.waits_for, pod.full_name))
    options = outlook.of(pod.shape)
    considered = _rows_with_nodes(options, rows)
    because = _because(options, considered)
    if not explains:
        return Refused(gang, Explanation(because, "no node fits", pod.full_name, steps=steps))
    reasons = Counter(options.reason(row) for row in considered)
    remedy = _remedy_of(reasons)
    sentence = count_reasons(len(considered), reasons)
    return Refused(gang, Explanation(because, sentence, pod.full_name, reasons, remedy=remedy, steps=steps))


def refuse_unready(gang: Gang, part: Part) -> Refused:
    """A gang of which not as many pods as it needs can be placed yet, whatever the nodes are."""
    waiting = [pod for pod in gang.pods if pod.waits_for]
    reasons = Counter(pod.waits_for for pod in waiting)
    if waiting and part.need > part.size:
        sentence = f"{pods_text(len(waiting))} of the gang cannot be placed yet: {waiting[0].waits_for}"
    elif waiting:
        sentence = f"all of its pods that have no node wait: {waiting[0].waits_for}"
    else:
        sentence = (
            f"it needs {pods_text(part.need)} with nodes beside those that have one, and only {part.size} are there"
        )
    pod = waiting[0].full_name if waiting else ""
    return Refused(gang, Explanation(Because.GATE, sentence, pod, reasons))


def refuse(gang: Gang, attempts: Attempts, place: Place, *, is_cut_off: bool, explains: bool) -> Refused:
    """A gang for which the search found no place. The fleet is as it was before."""
    steps = attempts.budget.steps
    if is_cut_off and not explains:
        return Refused(gang, Explanation(Because.BUDGET, _cut_off(steps), steps=steps))
    if not is_cut_off:
        alone = _refuse_alone(gang, attempts, place, explains=explains)
        if alone is not None:
            return alone
    shortage = find_shortage(attempts, place, explains=explains)
    if is_cut_off:
        sentence = f"{_cut_off(steps)}; {_near_miss(shortage)}"
        return _refused(gang, Because.BUDGET, sentence, shortage, "", steps)
    if fits_without_topology(attempts, gang, place):
        levels = join_levels(shortage.levels)
        remedy = f"all of it fits where its pods need not share a {levels}" if levels else ""
        return _refused(gang, Because.TOPOLOGY, _near_miss(shortage), shortage, remedy, steps)
    missing = shortage.wanted - shortage.found
    remedy = f"room for {missing} more of {shortage.part_name or 'its pods'}" if missing > 0 else ""
    if remedy and shortage.reports and shortage.levels:
        remedy += f" in {join_levels(shortage.levels)} {shortage.reports[0].value}"
    return _refused(gang, Because.ROOM, _near_miss(shortage), shortage, remedy, steps)


def _refused(gang: Gang, because: Because, sentence: str, shortage: Shortage, remedy: str, steps: int) -> Refused:
    pod = shortage.pod.full_name if shortage.pod is not None else ""
    return Refused(
        gang, Explanation(because, sentence, pod, shortage.reasons, tuple(shortage.reports), remedy, steps=steps)
    )


def _refuse_alone(gang: Gang, attempts: Attempts, place: Place, *, explains: bool) -> Refused | None:
    """Where a pod that must be placed fits on no node at all, for itself."""
    root, steps = attempts.root, attempts.budget.steps
    for shape in root.shapes:
        if root.need and not root.must(shape, root.need):
            continue
        options = attempts.outlook.of(shape)
        if any(options.fits(row) for row in place.rows.tolist()):
            continue
        pod = next(each for each in gang.pods if each.shape is shape)
        because = _because(options, place.rows.tolist())
        if not explains:
            return Refused(gang, Explanation(because, "no node fits", pod.full_name, steps=steps))
        reasons = Counter(options.reason(row) for row in place.rows.tolist())
        sentence = f"pod {pod.name}: {count_reasons(len(place.rows), reasons)}"
        explanation = Explanation(because, sentence, pod.full_name, reasons, remedy=_remedy_of(reasons), steps=steps)
        return Refused(gang, explanation)
    return None


def _because(options: Options, rows: Iterable[int]) -> Because:
    """What stands in the way of a pod that fits nowhere."""
    refusals: list[Refusal] = [refusal for row in rows if (refusal := options.refusal(row)) is not None]
    if not refusals:
        return Because.NODES
    if all(refusal.fault is not None for refusal in refusals):
        return Because.CLAIM
    return Because.DEVICES


def _near_miss(shortage: Shortage) -> str:
    """How near it came, in one sentence."""
    done, total = shortage.beside
    return f"{done} of {total} groups fit; beside them {_near(shortage)}" if total else _near(shortage)


def _near(shortage: Shortage) -> str:
    name = f" of {shortage.part_name}" if shortage.part_name else ""
    reasons = f": {shortage.for_the_others}" if shortage.for_the_others else ""
    if shortage.found >= shortage.wanted and not shortage.pinned:
        return f"{pods_text(shortage.wanted)}{name} would fit one by one, but not all of them together"
    if not shortage.levels:
        return f"{shortage.found} of {pods_text(shortage.wanted)}{name} fit{reasons}"
    level = join_levels(shortage.levels)
    if shortage.pinned:
        who = shortage.part_name or "the gang"
        return f"{who} has pods on nodes of several {plural(level)} already, or of none: {shortage.pinned}"
    if not shortage.reports:
        return f"no node that is allowed has a {level} (labels {', '.join(shortage.levels)})"
    best, total = shortage.reports[0], shortage.domains
    where = f"{level} {best.value}"
    nearest = f", the nearest of {total} {plural(level)}" if total > 1 else f", the only {level}"
    return f"{best.found} of {pods_text(best.wanted)}{name} fit in {where}{nearest}{reasons}"


def _cut_off(steps: int) -> str:
    return (
        f"the search was stopped after {steps} steps without an answer: fewer kinds of pods in a gang, or fewer "
        "levels, are decided sooner"
    )


def _remedy_of(reasons: Mapping[str, int]) -> str:
    """The commonest thing that stands in the way, as what would have to change."""
    if not reasons:
        return "a node"
    reason = max(sorted(reasons), key=lambda each: reasons[each])
    if reason.startswith("Insufficient "):
        return f"more {reason.removeprefix('Insufficient ')} on one node, or a smaller request"
    return ""


def _rows_with_nodes(options: Options, rows: Mask | None) -> list[int]:
    nodes = options.fleet.nodes
    allowed = range(len(nodes)) if rows is None else np.flatnonzero(rows).tolist()
    return [row for row in allowed if nodes[row] is not None]
