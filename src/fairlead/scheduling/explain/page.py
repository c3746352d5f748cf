"""A story as a page of text, for `fairlead explain`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from fairlead.scheduling.explain.line import cleared_sentence, gang_name
from fairlead.scheduling.explain.standing import ClaimDevices, Place, Weighing
from fairlead.scheduling.explain.story import Story
from fairlead.scheduling.explain.words import amount, counted, level_name, listed, resource_name
from fairlead.scheduling.gangs.model import Group
from fairlead.scheduling.snapshot import Amounts, add
from fairlead.scheduling.verdict import Because, Cleared, DomainReport, Placed, Refused

MOST_DOMAINS: Final = 12
_MOST_REASONS: Final = 8
_FEW_REASONS: Final = 2
"""So many are told well enough by the sentence."""
_MOST_PLACES: Final = 32
_GAP: Final = "   "

_BECAUSE: Final = {
    Because.GATE: "it waits for something that is not the nodes' business",
    Because.NODES: "no node passes the filters",
    Because.DEVICES: "nodes pass the filters, but too few devices satisfy the claims",
    Because.ROOM: "each pod fits somewhere, but not all of them together",
    Because.TOPOLOGY: "all would fit, but in no single domain of a required level",
    Because.QUOTA: "the queue's limit or quota",
    Because.CLAIM: "a claim, class or selector is in error",
    Because.BUDGET: "the search was cut off: whether it fits is not known",
}


def page(story: Story) -> str:
    """All of it, with a line for each fact and a table of domains."""
    lines = [f"{gang_name(story.gang)}: {_outcome(story)}", *_indented(_facts(story), 1)]
    if isinstance(story.verdict, Refused):
        lines += _refusal(story)
    if isinstance(story.verdict, Cleared):
        lines += _clearance(story.verdict)
    lines += _places(story)
    return "\n".join(lines)


def _outcome(story: Story) -> str:
    if story.outcome == "bound":
        nodes = dict.fromkeys(place.node for place in story.places)
        return f"on {listed(list(nodes))}"
    if isinstance(story.verdict, Placed):
        nodes = dict.fromkeys(each.node for each in story.verdict.assignments)
        return f"fits, would go to {listed(list(nodes))}"
    return "fits once others have left" if story.outcome == "clears" else "has no place"


def _facts(story: Story) -> Iterator[str]:
    gang = story.gang
    waiting, placed = len(gang.pods), len(gang.bound)
    counts = [f"{counted(waiting, 'pod')} without a node"] if waiting else []
    counts += [f"{placed} with one" if waiting else counted(placed, "pod")] if placed else []
    queue = f", queue {gang.queue}" if gang.queue else ""
    yield f"{', '.join(counts) or 'no pods'}{queue}, priority {gang.priority}"
    demand: Amounts = {}
    for pod in gang.pods or gang.bound:
        demand = add(demand, pod.shape.demand)
    asked = [f"{amount(name, value)} {resource_name(name)}" for name, value in sorted(demand.items()) if name != "pods"]
    if asked:
        yield f"asks for {', '.join(asked)} in all"
    topology = gang.root.topology
    for word, levels in (("required", topology.required), ("preferred", topology.preferred)):
        if levels:
            yield f"one {', one '.join(map(level_name, levels))} {word}"
    for group in gang.root.groups:
        yield from _group(group)
    if isinstance(story.verdict, Placed) and story.verdict.domains:
        shared = ", ".join(f"{level_name(level)} {value}" for level, value in story.verdict.domains.items())
        yield f"all of it in {shared}"


def _group(group: Group) -> Iterator[str]:
    """`group decode: 4 pods, one NVLink domain required`, and the groups in it."""
    count = len(group.all_pods) + len(group.all_bound)
    levels = [f"one {level_name(level)} required" for level in group.topology.required]
    levels += [f"one {level_name(level)} preferred" for level in group.topology.preferred]
    yield f"group {group.name}: {', '.join([counted(count, 'pod'), *levels])}"
    for below in group.groups:
        yield from (f"  {line}" for line in _group(below))


def _refusal(story: Story) -> list[str]:
    explanation = story.explanation
    assert explanation is not None
    lines = _indented([f"because: {_BECAUSE[explanation.because]}", explanation.sentence], 1)
    if explanation.pod and not story.gang.is_single:
        lines += _indented([f"pod that found no place: {explanation.pod}"], 1)
    if len(explanation.rejections) > _FEW_REASONS:
        lines += ["", "  nodes, by the first thing that spoke against them:"]
        ordered = sorted(explanation.rejections.items(), key=lambda each: (-each[1], each[0]))
        lines += _indented([f"{count:>5}  {reason}" for reason, count in ordered[:_MOST_REASONS]], 1)
        lines += _more(len(ordered), _MOST_REASONS)
    if explanation.domains:
        lines += ["", *_indented(_domains(explanation.domains), 1), *_more(len(explanation.domains), MOST_DOMAINS)]
    if story.nearest is not None:
        lines += ["", f"  nearest: {story.nearest.sentence}"]
    elif story.holders:
        held = [f"{listed(_amounts(each.amounts), 3)} by {each}" for each in story.holders]
        lines += ["", f"  held: {listed(held, 4)}"]
    if explanation.held_back:
        lines += ["", "  nobody makes room:"]
        lines += _indented(list(explanation.held_back[:_MOST_REASONS]), 2)
    lines += _remedies(story)
    return lines


def _amounts(amounts: Amounts) -> list[str]:
    return [f"{amount(name, value)} {resource_name(name)}" for name, value in sorted(amounts.items())]


def _remedies(story: Story) -> list[str]:
    explanation = story.explanation
    if not story.remedies:
        told = explanation.remedy if explanation is not None else ""
        if told:
            return ["", f"  what would make it fit: {told}"]
        if explanation is not None and explanation.because in (Because.GATE, Because.CLAIM):
            return []
        return ["", "  what would make it fit: no single change that was tried does"]
    lines = ["", "  what would make it fit:"]
    lines += _indented([f"- {remedy}" for remedy in story.remedies], 2)
    if story.is_cut:
        lines += _indented(["(more was left untried: the budget for trials is used up)"], 2)
    return lines


def _domains(reports: Sequence[DomainReport]) -> list[str]:
    """A table of domains, the nearest first."""
    rows = [["DOMAIN", "PODS", "FIRST THING AGAINST THE REST"]]
    for report in reports[:MOST_DOMAINS]:
        reasons = sorted(report.reasons.items(), key=lambda each: (-each[1], each[0]))
        told = listed([f"{count} {reason}" for reason, count in reasons], 2)
        rows.append([f"{level_name(report.level)} {report.value}", f"{report.found}/{report.wanted}", told])
    widths = [max(len(row[n]) for row in rows) for n in range(2)]
    return [_GAP.join([row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2]]).rstrip() for row in rows]


def _clearance(verdict: Cleared) -> list[str]:
    lines = _indented([cleared_sentence(verdict)], 1)
    lines += ["", "  who would leave:"] if verdict.victims else []
    for victims in verdict.victims:
        whole = "all of it" if victims.is_whole else "pods beyond its minimum"
        head = f"{victims.gang.key}: {counted(len(victims.pods), 'pod')} ({whole})"
        lines += _indented([f"{head}{f', {victims.why}' if victims.why else ''}"], 2)
    nodes = dict.fromkeys(verdict.nominations.values())
    lines += _indented([f"then on {listed(list(nodes), _MOST_PLACES)}"], 1)
    if verdict.moves:
        lines += ["", "  and go on elsewhere:"]
        lines += _indented([f"{move.pod.full_name} on {move.node}" for move in verdict.moves], 2)
    return lines


def _places(story: Story) -> list[str]:
    lines: list[str] = []
    for place in story.places[:_MOST_PLACES]:
        lines += ["", *_indented(_place(place), 1)]
    if len(story.places) > _MOST_PLACES:
        lines += ["", f"  … and {len(story.places) - _MOST_PLACES} more pods (all with -o json)"]
    return lines


def _place(place: Place) -> Iterator[str]:
    yield f"{place.pod} on {place.node}"
    for claim in place.claims:
        yield f"  claim {claim.claim}: {claim_text(claim, place.node)}"
    if place.left:
        left = ", ".join(f"{count or 'no'} more {name}" for name, count in place.left.items())
        yield f"  {place.node} has {left} to give"
    if place.weighing is not None:
        yield f"  {_weighing(place.weighing)}"
    if place.fitting > 1:
        yield f"  {place.fitting} nodes would do; the next best: {', '.join(place.alternatives)}"
    elif place.fitting == 1:
        yield "  no other node would do"


def claim_text(claim: ClaimDevices, node: str) -> str:
    """`gpu-0, gpu-1 of gpu.nvidia.com; one PCIe switch, mean link score 70`; pools that are not the node's by name."""
    by_pool: dict[str, list[str]] = {}
    for device in claim.devices:
        pool = device.driver if device.pool == node else f"{device.driver}/{device.pool}"
        by_pool.setdefault(pool, []).append(device.device)
    text = ", ".join(f"{listed(names, 8)} of {pool}" for pool, names in by_pool.items())
    facts = [claim.nearness] if claim.nearness else []
    if claim.link_score is not None:
        facts.append(f"mean link score {claim.link_score:.3g} of 70")
    return f"{text}; {', '.join(facts)}" if facts else text


def _weighing(weighing: Weighing) -> str:
    """Costs as the `best` mode compares them: less is better, link before waste."""
    text = f"devices cost {weighing.here} here"
    if weighing.cost_elsewhere is None:
        return f"{text}, and can be had nowhere else"
    return f"{text}; the cheapest elsewhere, on {weighing.elsewhere}, {weighing.cost_elsewhere}"


def _more(count: int, shown: int) -> list[str]:
    return [f"       … and {count - shown} more"] if count > shown else []


def _indented(lines: Iterable[str], depth: int) -> list[str]:
    return ["  " * depth + line for line in lines]
