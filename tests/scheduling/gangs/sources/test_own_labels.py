"""Gangs by Fairlead's labels and annotations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.scheduling.gangs.assemble import assemble, gang_key, single
from fairlead.scheduling.gangs.levels import ALIASES
from fairlead.scheduling.gangs.sources import GangContext, GangRef, Member
from scheduling.gangs.sources.members import NOTHING_ELSE, gang_of, member, names

PREFILL_DECODE = {
    "topology": {"required": "block"},
    "groups": [
        {"name": "prefill", "min": 1, "topology": {"required": ["nvlink"]}},
        {"name": "decode", "min": 2, "count": 3, "topology": {"preferred": "rack,block"}},
    ],
    "recovery": "member",
}


def pod(name: str, spec: Any = None, group: str = "", **more: Any) -> Member:
    labels = {"fairlead.dev/gang": "g"} | ({"fairlead.dev/group": group} if group else {}) | more.pop("labels", {})
    text = spec if isinstance(spec, str) else json.dumps(spec)
    annotations = ({"fairlead.dev/gang-spec": text} if spec is not None else {}) | more.pop("annotations", {})
    return member(name, labels=labels, annotations=annotations, **more)


def test_a_flat_gang() -> None:
    gang = gang_of([pod("a-10", {"min": 3}, priority=5), pod("a-2", priority=7, created_s=3), pod("a-1", node="n")])
    assert (gang.identity, gang.priority, gang.waits_for) == (("Annotations", "team", "g"), 7, "")
    assert names(gang.root.pods) == ["a-2", "a-10"], "in order of the numbers in their names"
    assert names(gang.root.bound) == ["a-1"] and gang.root.minimum == 3
    assert (gang.recovery, gang.disruption) == ("gang", "surplus")


def test_a_number_is_a_gang_of_that_many() -> None:
    assert gang_of([pod("a", "2"), pod("b")]).root.minimum == 2


def test_replicas_of_a_model_service_are_gangs_of_theirs() -> None:
    gang = gang_of([pod("a", "1", labels={"fairlead.dev/model-service": "llama"})])
    assert gang.kind == "ModelService"


def test_groups_within_a_gang_with_topologies_of_their_own() -> None:
    pods = [pod("p", PREFILL_DECODE, "prefill"), *(pod(f"d-{i}", None, "decode") for i in range(3)), pod("router")]
    ref = gang_key(pods[0][0], NOTHING_ELSE)
    assert ref == GangRef("Annotations", "team", "g") and ref.path == ("prefill",)
    gang = gang_of(pods)
    prefill, decode = gang.root.groups
    assert (gang.waits_for, gang.recovery) == ("", "member")
    assert names(gang.root.pods) == ["router"] and names(prefill.pods) == ["p"]
    assert names(decode.pods) == ["d-0", "d-1", "d-2"]
    assert (gang.root.minimum, prefill.minimum, decode.minimum) == (1 + 1 + 2, 1, 2), "the third decode pod is surplus"
    assert gang.root.topology.required == (ALIASES["block"],)
    assert prefill.topology.required == (ALIASES["nvlink"],)
    assert decode.topology.preferred == (ALIASES["rack"], ALIASES["block"])


def test_topology_annotations_are_those_of_the_pods_group() -> None:
    spec = {"groups": [{"name": "prefill", "min": 1}, {"name": "decode", "min": 1, "topology": {"required": "zone"}}]}
    gang = gang_of(
        [
            pod("p", spec, "prefill", annotations={"fairlead.dev/topology-preferred": "rack"}),
            pod("d", None, "decode", annotations={"fairlead.dev/topology-required": "host"}),
        ]
    )
    prefill, decode = gang.root.groups
    assert gang.root.topology.required == ()
    assert prefill.topology.preferred == (ALIASES["rack"],)
    assert decode.topology.required == (ALIASES["zone"], ALIASES["host"])


def test_all_of_topology_is_read() -> None:
    topology = {"arrangement": "spread", "over": "rack", "sliceSize": 4, "sliceLevel": "nvlink"}
    found = gang_of([pod("a", {"min": 1, "topology": topology})]).root.topology
    assert (found.arrangement, found.over) == ("spread", ALIASES["rack"])
    assert (found.slice_size, found.slice_level) == (4, ALIASES["nvlink"])


def test_a_gang_waits_until_its_minimum_is_there() -> None:
    pods = [pod(f"a-{i}", {"min": 8}) for i in range(5)]
    assert gang_of(pods).waits_for == "waits for 3 more pods (5 of 8 are there)"
    assert gang_of([*pods, *(pod(f"b-{i}") for i in range(2))]).waits_for == "waits for 1 more pod (7 of 8 are there)"
    assert gang_of([pod("p", PREFILL_DECODE, "prefill"), pod("d", None, "decode")]).waits_for == (
        "waits for 1 more pod of group decode (1 of 2 are there)"
    )


def test_pods_that_leave_or_failed_do_not_count_and_finished_ones_do() -> None:
    spec = {"min": 3}
    pods = [pod("a", spec), pod("b", spec, is_leaving=True, node="n"), pod("c", spec, phase="Failed", node="n")]
    assert gang_of(pods).waits_for == "waits for 2 more pods (1 of 3 are there)"
    done = gang_of([*pods, pod("d", spec, phase="Succeeded", node="n"), pod("e", spec, node="n")])
    assert (done.waits_for, done.root.minimum) == ("", 2)
    assert names(done.root.bound) == ["e"]


def test_a_pod_that_waits_holds_the_gang_up_only_if_it_is_needed() -> None:
    pods = [pod("a", {"min": 2}), pod("b"), pod("c", waits_for="scheduling gate example.com/gate")]
    gang = gang_of(pods)
    assert gang.waits_for == "" and names(gang.root.pods) == ["a", "b"]
    needed = gang_of([pods[0], pods[2]])
    assert needed.waits_for == "pod team/c waits: scheduling gate example.com/gate"


def test_enough_groups_are_enough() -> None:
    spec = {"min": 1, "minGroups": 1, "groups": [{"name": "x", "min": 2}, {"name": "y", "min": 2}]}
    pods = [pod("x-0", spec, "x"), pod("x-1", None, "x"), pod("y-0", None, "y")]
    gang = gang_of(pods)
    assert gang.waits_for == "" and [group.name for group in gang.root.groups] == ["x"]
    assert gang.root.minimum_groups == 1 and gang.root.minimum == 2
    running = gang_of([*pods, pod("y-1", None, "y", node="n")][:3] + [pod("y-9", None, "y", node="n", is_leaving=True)])
    assert running.waits_for == ""
    short = gang_of([pods[0], pods[2]])
    assert short.waits_for == (
        "waits for 1 more complete group of g (0 of 1): waits for 1 more pod of group x (1 of 2 are there)"
    )


def test_what_runs_of_an_incomplete_group_stays_in_the_gang() -> None:
    spec = {"min": 1, "minGroups": 1, "groups": [{"name": "x", "min": 2}, {"name": "y", "min": 3}]}
    pods = [pod(f"x-{i}", spec, "x") for i in range(2)]
    gang = gang_of([*pods, pod("y-0", None, "y", node="n"), pod("y-1", None, "y")])
    assert gang.waits_for == "" and names(gang.root.groups[1].bound) == ["y-0"]
    assert gang.root.groups[1].pods == () and gang.root.groups[1].minimum == 1


def test_too_few_pods_in_enough_groups() -> None:
    spec = {"min": 4, "minGroups": 1, "groups": [{"name": "x", "min": 2}, {"name": "y", "min": 3}]}
    pods = [*(pod(f"x-{i}", spec, "x") for i in range(2)), *(pod(f"y-{i}", None, "y") for i in range(2))]
    assert gang_of(pods).waits_for == "waits for 1 more pod of group y (2 of 3 are there)"


def test_the_newest_description_counts() -> None:
    gang = gang_of([pod("a", {"min": 1}, created_s=2), pod("b", {"min": 2}, created_s=3), pod("c", {"min": 9})])
    assert gang.root.minimum == 2


def test_the_queue_is_the_pods_then_the_describing_objects_then_the_namespaces() -> None:
    context = GangContext(namespace_queue={"team": "home"}.__getitem__)
    assert gang_of([pod("a", "1")], context).queue == "home"
    assert gang_of([pod("a", "2"), pod("b", labels={"fairlead.dev/queue": "q"})], context).queue == "q"
    for labels, told in (
        ({"kai.scheduler/queue": "q"}, {}),
        ({"kueue.x-k8s.io/queue-name": "q"}, {}),
        ({"kueue.x-k8s.io/queue-name": "other", "fairlead.dev/queue": "q"}, {}),
        ({}, {"scheduling.volcano.sh/queue-name": "q"}),
    ):
        assert gang_of([pod("a", "1", labels=labels, annotations=told)], context).queue == "q"
        alone = member("p", labels=labels, annotations=told)
        assert single(*alone, context).queue == "q"
    two = gang_of([pod("a", "2", labels={"fairlead.dev/queue": "q"}), pod("b", labels={"fairlead.dev/queue": "r"})])
    assert two.waits_for == (
        "pod team/a is of queue 'q' and pod team/b of queue 'r': "
        "give all pods of the gang the same label fairlead.dev/queue"
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{", "pod team/a is '{': "),
        ('{"min": "two"}', "Expected `int | null`, got `str` - at `$.min`; write for example"),
        ('{"minimum": 3}', "unknown field `minimum`"),
        ('{"min": -1}', ">= 0"),
        ("{}", "the gang has neither min nor count: write how many"),
        ('{"min": 5, "count": 3}', "the gang has min 5, but only 3 pods (count): lower min or raise count"),
        ('{"groups": [{"min": 1}]}', "a group has no name"),
        ('{"groups": [{"name": "x", "min": 1}, {"name": "x", "min": 1}]}', "two groups are called 'x'"),
        ('{"groups": [{"name": "x"}]}', "group 'x' has neither min nor count"),
        ('{"minGroups": 2, "groups": [{"name": "x", "min": 1}]}', "minGroups 2, but 1 groups"),
        ('{"min": 1, "topology": {"sliceSize": 2}}', "write both sliceSize and sliceLevel"),
        ('{"min": 1, "topology": {"over": "rack"}}', "write arrangement spread"),
        ('{"min": 1, "recovery": "never"}', "recovery"),
        ("null", "write for example"),
        ("[1]", "write for example"),
    ],
)
def test_a_bad_description_says_what_is_wrong(spec: str, said: str) -> None:
    gang = gang_of([pod("a", spec), pod("b", node="n")])
    assert said in gang.waits_for, gang.waits_for
    assert gang.waits_for.startswith("annotation fairlead.dev/gang-spec of pod team/a is ")
    assert names(gang.pods) == ["a"] and names(gang.bound) == ["b"]


def test_groups_nested_too_deeply_and_too_many_of_them_are_refused() -> None:
    spec: dict[str, Any] = {"min": 1}
    for depth in range(30):
        spec = {"groups": [{"name": f"x{depth}", **spec}]}
    assert "nested 31 deep; at most 8 levels" in gang_of([pod("a", spec)]).waits_for
    assert gang_of([pod("a", '{"groups":[' * 20_000)]).waits_for
    many = {"groups": [{"name": f"x{i}", "min": 0} for i in range(600)]}
    assert "there are 601 groups; at most 512" in gang_of([pod("a", many)]).waits_for


def test_other_bad_labels_and_annotations_say_what_is_wrong() -> None:
    nothing = gang_of([pod("a")]).waits_for
    assert "no pod of the gang has the annotation fairlead.dev/gang-spec" in nothing and '{"min": 8}' in nothing
    unknown = gang_of([pod("a", PREFILL_DECODE, "prefil")]).waits_for
    assert "label fairlead.dev/group of pod team/a is 'prefil': the groups" in unknown and "decode, prefill" in unknown
    level = gang_of([pod("a", "1", annotations={"fairlead.dev/topology-required": "rok"})]).waits_for
    assert "annotation fairlead.dev/topology-required of pod team/a is 'rok'" in level
    recovery = gang_of([pod("a", "1", annotations={"fairlead.dev/recovery": "never"})]).waits_for
    assert recovery.endswith("is 'never': write gang or member")


def test_an_unknown_level_is_told_with_its_group() -> None:
    spec = {"groups": [{"name": "x", "min": 1, "topology": {"preferred": ["zone", "raack"]}}]}
    assert gang_of([pod("a", spec, "x")]).waits_for.startswith(
        "annotation fairlead.dev/gang-spec of pod team/a, topology of 'x': "
        "there is no topology level 'raack': did you mean 'rack'? write one of host, nvlink"
    )


def test_a_gang_may_be_called_like_one_of_its_groups() -> None:
    gang = gang_of([pod("a", {"groups": [{"name": "g", "min": 1}]}, "g")])
    assert names(gang.root.groups[0].pods) == ["a"]


def test_an_empty_gang_is_no_exception() -> None:
    assert assemble(GangRef("Annotations", "team", "g"), [], NOTHING_ELSE).waits_for
    leaving = pod("a", {"min": 2}, is_leaving=True)
    assert assemble(GangRef("Annotations", "team", "g"), [leaving], NOTHING_ELSE).waits_for


def test_a_plain_pod_is_a_gang_of_one() -> None:
    plain = member("p", labels={"app": "x"}, annotations={"fairlead.dev/topology-required": "rack"})
    assert gang_key(plain[0], NOTHING_ELSE) is None
    gang = single(*plain, NOTHING_ELSE)
    assert gang.is_single and gang.root.topology.required == ()


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from(["", "x", "rack", "spread", "gang"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["min", "count", "minGroups", "topology", "groups", "name", "required", "recovery", "sliceSize"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ANY_JSON, st.lists(st.sampled_from(["", "x", "rack"]), max_size=6))
def test_whatever_is_written_a_gang_holds_exactly_its_pods_or_waits(spec: Any, groups: list[str]) -> None:
    pods = [pod("p", spec), *(pod(f"q-{i}", None, group) for i, group in enumerate(groups))]
    gang = gang_of(pods)
    held = names(gang.pods)
    assert len(held) == len(set(held)), "no pod twice"
    if gang.waits_for:
        return
    for group in gang.root.walk():
        below = sum(len(one.pods) for one in group.walk())
        assert below >= group.minimum, "what is asked for can be placed, as far as counts go"
        assert group.minimum_groups is None or len(group.groups) >= group.minimum_groups
