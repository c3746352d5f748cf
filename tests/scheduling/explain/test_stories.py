"""Stories and their pages: of gangs that are refused, fit, have their nodes, or wait for others to leave."""

import json

from fairlead.kube.objects import ResourceClaim
from fairlead.scheduling.explain.claim import claim_document, claim_page, claim_story
from fairlead.scheduling.explain.document import document
from fairlead.scheduling.explain.page import page
from fairlead.scheduling.planner import Planner
from scheduling.explain.told import RACK, story_of
from scheduling.planner_objects import (
    DRIVER,
    NOW_S,
    claim,
    decide_all,
    gang_of,
    gpu_class,
    gpus,
    node,
    planner_with,
    pod,
)


def racks(per_rack: int = 2, count: int = 2, devices: int = 4) -> list[object]:
    made: list[object] = [gpu_class()]
    for number in range(per_rack * count):
        name = f"n{number}"
        made += [node(name, labels={RACK: f"r{number // per_rack}"}), gpus(name, devices)]
    return made


def gang_with_claims(name: str, size: int, devices: int, **extra: object) -> list[object]:
    pods = gang_of(name, size, devices=True, **extra)
    return [*(claim(each.metadata.name, devices) for each in pods), *pods]


def refused_gang() -> Planner:
    """Three pods of four devices that must share a rack of two nodes of four, one of them half held."""
    held = [claim("old", 2), pod("old", devices=True, priority=5, nodeSelector={"kubernetes.io/hostname": "n1"})]
    planner = planner_with(*racks(), *held)
    decide_all(planner)
    for each in gang_with_claims("g", 2, 4, topology={"required": "rack"}):
        planner.see(each)
    planner.see(claim("other", 4))
    planner.see(pod("other", devices=True, priority=5, nodeSelector={"kubernetes.io/hostname": "n2"}))
    decide_all(planner)
    return planner


def test_nearest_domain_says_who_holds_the_rest() -> None:
    story = story_of(refused_gang(), "g")
    assert story.nearest is not None
    assert story.nearest.sentence == (
        f"rack r0 has 6 free {DRIVER} of the 8 wanted; "
        "2 held by default/old, not preemptible: its priority 5 is not lower"
    )
    (holder,) = story.holders
    assert (holder.gang, holder.amounts, holder.priority) == ("default/old", {DRIVER: 2}, 5)
    explanation = story.explanation
    assert explanation is not None
    assert explanation.domains[0].held_by == {"default/old": 2}
    assert explanation.domains[0].note == story.nearest.sentence


def test_page_of_a_refused_gang() -> None:
    assert page(story_of(refused_gang(), "g")).splitlines() == GOLDEN.splitlines()


FULL = "1 cannot allocate all claims: claim gpus, request gpus: found 0 of 4 devices; 4 in use"
HALF = "1 cannot allocate all claims: claim gpus, request gpus: found 2 of 4 devices; no others on this node"
PRIORITY = "not preemptible: its priority 5 is not lower"
GOLDEN = f"""\
gang default/g of 2 pods: has no place
  2 pods without a node, priority 0
  asks for 2 cpu, 8 {DRIVER} in all
  one rack required
  because: all would fit, but in no single domain of a required level
  1 of 2 pods fit in rack r0, the nearest of 2 racks: 0/2 nodes are available: {FULL}, {HALF}
  pod that found no place: default/g-1

  DOMAIN    PODS   FIRST THING AGAINST THE REST
  rack r0   1/2    {FULL}, {HALF}
  rack r1   1/2    2{FULL[1:]}

  nearest: rack r0 has 6 free {DRIVER} of the 8 wanted; 2 held by default/old, {PRIORITY}

  nobody makes room:
    2 held by default, {PRIORITY}

  what would make it fit:
    - prefer one rack instead of requiring it (then on n0, n3)
    - end default/old (then on n0, n1)
    - ask for 2 devices in a request, not 4 (then on n3)
    - lower the gang to 1 pod: so many of its 2 fit now (then on n0)
    - free or add 2 {DRIVER} in rack r0 (reckoned, not tried)
"""


def test_a_gang_that_fits_is_told_where_with_its_devices() -> None:
    planner = planner_with(*racks(), *gang_with_claims("g", 2, 2, topology={"required": "rack"}))
    story = story_of(planner, "g")
    assert story.outcome == "fits"
    assert [each.pod for each in story.places] == ["default/g-0", "default/g-1"]
    first = story.places[0]
    assert first.fitting == 4 and first.weighing is not None
    assert first.claims[0].nearness == "one PCIe switch"
    assert first.claims[0].link_score == 30
    text = page(story)
    assert "gang default/g of 2 pods: fits, would go to n0" in text
    assert "gpu-0, gpu-1 of gpu.example.com; one PCIe switch, mean link score 30 of 70" in text
    assert not planner.fleet.pods


def test_a_gang_that_has_its_nodes_is_told_why_there() -> None:
    planner = planner_with(*racks(), *gang_with_claims("g", 2, 2))
    decide_all(planner)
    story = story_of(planner, "g")
    assert story.outcome == "bound" and story.verdict is None
    for place in story.places:
        assert place.weighing is not None and place.weighing.cost_elsewhere is not None
        assert place.weighing.here <= place.weighing.cost_elsewhere
        assert place.left[DRIVER] + 2 * sum(each.node == place.node for each in story.places) == 4
    assert "gang default/g of 2 pods: on n" in page(story)
    assert len(planner.fleet.pods) == 2


def test_evictions_are_told() -> None:
    planner = planner_with(node("n"), pod("low", cpu="8"))
    decide_all(planner)
    planner.see(pod("high", cpu="8", priority=100))
    story = story_of(planner, "high")
    assert story.outcome == "clears"
    text = page(story)
    assert "pod default/high: fits once others have left" in text
    assert "default/low: 1 pod (all of it)" in text
    made = document(story)
    assert made["clears"]["victims"][0]["pods"] == ["default/low"]


def test_documents_are_json_of_the_same_facts() -> None:
    story = story_of(refused_gang(), "g")
    made = json.loads(json.dumps(document(story)))
    assert made["outcome"] == "refused"
    assert made["refusal"]["nearest"]["sentence"] == story.nearest.sentence if story.nearest else False
    assert [each["text"] for each in made["refusal"]["remedies"]] == [each.text for each in story.remedies]
    assert made["refusal"]["domains"][0]["wanted"] == 2


def test_claims_tell_of_devices_and_users() -> None:
    planner = planner_with(*racks(), claim("p", 2), pod("p", devices=True))
    decide_all(planner)
    told = claim_story(planner.fleet, ("default", "p-gpus"), ())
    assert told.is_allocated and not told.is_written
    assert told.users == ("default/p",)
    lines = claim_page(told).splitlines()
    assert lines[0] == "claim default/p-gpus: has its devices"
    assert lines[1] == f"  asks for 2 {DRIVER}"
    assert lines[2] == f"  devices: gpu-0, gpu-1 of {DRIVER}; one PCIe switch, mean link score 30 of 70"
    assert claim_document(told)["linkScore"] == 30


def test_claims_without_pods_say_so() -> None:
    planner = planner_with(*racks(), claim("c", 2, shared=True))
    told = claim_story(planner.fleet, ("default", "c"), ())
    assert "no pod waits for it" in claim_page(told)
    assert claim_document(told)["devices"] == []


def test_claims_tell_why_their_pods_wait() -> None:
    planner = planner_with(*racks(), claim("p", 5), pod("p", devices=True))
    decide_all(planner)
    told = claim_story(planner.fleet, ("default", "p-gpus"), [story_of(planner, "p", now_s=NOW_S)])
    text = claim_page(told)
    assert "claim default/p-gpus: has no devices" in text
    assert "found 4 of 5 devices" in text
    assert isinstance(told.claim, ResourceClaim)
