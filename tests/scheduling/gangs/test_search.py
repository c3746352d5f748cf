"""The search, case by case."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fairlead.kube.selectors import Requirement, Selector
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang, Group, Topology, gang_of_one
from fairlead.scheduling.gangs.search import Limits, place_gang
from fairlead.scheduling.snapshot import HOST, NodeView, PodTerm, PodView, SpreadConstraint
from fairlead.scheduling.verdict import Because, Placed, Refused
from scheduling.gangs.gang_objects import (
    LINK,
    NAMESPACE,
    RACK,
    ZONE,
    add_claims,
    add_devices,
    bound_to,
    claim_for,
    dump,
    exactly,
    first_of,
    gang,
    group,
    is_model,
    node,
    outlook_of,
    pods_of,
    shape,
)


def racks(number: int, of: int, **fields: int) -> list[NodeView]:
    """Racks r0, r1 … of equal nodes; two racks are a zone."""
    return [node(f"n{i}", labels={RACK: f"r{i // of}", ZONE: f"z{i // of // 2}"}, **fields) for i in range(number * of)]


def with_gpus(nodes: list[NodeView], count: int) -> Outlook:
    outlook = outlook_of(nodes)
    for each in nodes:
        add_devices(outlook, each.name, [{"name": f"g{i}", "model": "a"} for i in range(count)])
    return outlook


def put(outlook: Outlook, name: str, pods: tuple[PodView, ...]) -> None:
    """Pods that stand on a node already."""
    add_claims(outlook, pods)
    for pod in pods:
        outlook.fleet.place(pod, outlook.fleet.row_of[name])


def place(outlook: Outlook, wanted: Gang, limits: Limits = Limits()) -> dict[str, str]:  # noqa: B008 (frozen)
    """Pod name -> node, of a gang that must fit."""
    add_claims(outlook, wanted.pods)
    verdict = place_gang(outlook, wanted, limits)
    assert isinstance(verdict, Placed), verdict.explanation
    return {each.pod.name: each.node for each in verdict.assignments}


def refuse(outlook: Outlook, wanted: Gang, limits: Limits = Limits()) -> Refused:  # noqa: B008 (frozen)
    """The verdict about a gang that must not fit; the fleet is as it was."""
    add_claims(outlook, wanted.pods)
    before = dump(outlook)
    verdict = place_gang(outlook, wanted, limits)
    assert isinstance(verdict, Refused), [(each.pod.name, each.node) for each in verdict.assignments]
    assert dump(outlook) == before
    return verdict


GPU = shape(0, own_claims=(claim_for(exactly()),))


class TestDomains:
    def test_a_required_level_is_shared(self) -> None:
        places = place(outlook_of(racks(3, 2)), gang(pods_of(shape(2), 4), required=(RACK,)))
        assert set(places.values()) in ({"n0", "n1"}, {"n2", "n3"}, {"n4", "n5"})

    def test_several_levels_are_shared_at_once(self) -> None:
        nodes = [node(f"n{i}", labels={RACK: f"r{i % 2}", ZONE: f"z{i // 2 % 2}"}) for i in range(8)]
        places = place(outlook_of(nodes), gang(pods_of(shape(4), 2), required=(RACK, ZONE)))
        assert {(int(n[1:]) % 2, int(n[1:]) // 2 % 2) for n in places.values()} in (
            {(a, b)} for a in (0, 1) for b in (0, 1)
        )

    def test_nodes_without_the_label_are_in_no_domain(self) -> None:
        nodes = [node("a"), node("b"), node("c", labels={RACK: "r"})]
        verdict = refuse(outlook_of(nodes), gang(pods_of(shape(4), 2), required=(RACK,)))
        assert verdict.explanation.because is Because.TOPOLOGY
        assert verdict.explanation.domains[0].found == 1

    def test_no_node_with_the_label_is_said(self) -> None:
        verdict = refuse(outlook_of([node("a")]), gang(pods_of(shape(1), 2), required=(RACK,)))
        assert verdict.explanation.sentence == "no node that is allowed has a rack (labels example.com/rack)"

    def test_every_node_is_its_own_host(self) -> None:
        places = place(outlook_of([node("a"), node("b", cpu=8)]), gang(pods_of(shape(3), 2), required=(HOST,)))
        assert set(places.values()) == {"b"}

    def test_the_last_preferred_level_is_given_up_first(self) -> None:
        places = place(outlook_of(racks(4, 2)), gang(pods_of(shape(4), 3), preferred=(ZONE, RACK)))
        assert len({int(n[1:]) // 4 for n in places.values()}) == 1

    def test_the_verdict_names_what_is_shared(self) -> None:
        outlook, wanted = outlook_of(racks(4, 2)), gang(pods_of(shape(4), 3), required=(ZONE,), preferred=(RACK,))
        verdict = place_gang(outlook, wanted)
        assert isinstance(verdict, Placed) and set(verdict.domains) == {ZONE}

    def test_whole_domains_are_used_though_the_preferred_level_cannot_be_had(self) -> None:
        places = place(outlook_of(racks(4, 4)), gang(pods_of(shape(4), 8), preferred=(RACK,)))
        assert len({int(n[1:]) // 4 for n in places.values()}) == 2

    def test_an_empty_rack_is_not_broken_into_for_a_small_gang(self) -> None:
        outlook = outlook_of(racks(3, 2))
        put(outlook, "n2", pods_of(shape(4), 1))
        assert set(place(outlook, gang(pods_of(shape(2), 2), required=(RACK,))).values()) == {"n3"}

    def test_an_empty_node_is_not_broken_into_for_a_small_gang(self) -> None:
        outlook = with_gpus(racks(1, 3), 8)
        put(outlook, "n1", pods_of(GPU, 4))
        assert set(place(outlook, gang(pods_of(GPU, 3), required=(RACK,))).values()) == {"n1"}

    def test_bound_pods_fix_the_domain_and_count(self) -> None:
        pods = pods_of(shape(2), 4)
        wanted = gang(pods[1:], bound=bound_to("n3", pods[:1]), required=(RACK,))
        assert set(place(outlook_of(racks(3, 2)), wanted).values()) == {"n2", "n3"}

    def test_bound_pods_in_two_domains_leave_none(self) -> None:
        pods = pods_of(shape(1), 3)
        bound = (*bound_to("n0", pods[:1]), *bound_to("n2", pods[1:2]))
        verdict = refuse(outlook_of(racks(3, 2)), gang(pods[2:], bound=bound, required=(RACK,)))
        assert verdict.explanation.sentence == "the gang has pods on nodes of several racks already, or of none: n0, n2"

    def test_rows_may_be_limited(self) -> None:
        outlook = outlook_of(racks(2, 2))
        limits = Limits(rows=np.array([False, False, True, True]))
        assert set(place(outlook, gang(pods_of(shape(2), 3)), limits).values()) == {"n2", "n3"}


class TestArrangement:
    def test_packed_pods_use_few_nodes(self) -> None:
        assert len(set(place(outlook_of(racks(1, 4)), gang(pods_of(shape(1), 8))).values())) == 2

    def test_spread_pods_are_even_over_hosts(self) -> None:
        places = place(outlook_of(racks(1, 4)), gang(pods_of(shape(1), 8), arrangement="spread"))
        assert sorted(Counter(places.values()).values()) == [2, 2, 2, 2]

    def test_spread_pods_are_even_over_racks_with_those_that_are_there(self) -> None:
        pods = pods_of(shape(1), 6)
        wanted = gang(pods[2:], bound=bound_to("n0", pods[:2]), arrangement="spread", over=RACK)
        places = place(outlook_of(racks(2, 2)), wanted)
        assert Counter(int(n[1:]) // 2 for n in places.values()) == {0: 1, 1: 3}

    def test_slices_lie_in_one_domain_each(self) -> None:
        places = place(outlook_of(racks(3, 2)), gang(pods_of(shape(2), 9), slice_size=3, slice_level=RACK))
        for i in range(3):
            assert len({int(places[f"p-{k}"][1:]) // 2 for k in range(3 * i, 3 * i + 3)}) == 1

    def test_a_slice_follows_its_bound_pods(self) -> None:
        pods = pods_of(shape(2), 4)
        wanted = gang((pods[0], *pods[2:]), bound=bound_to("n5", pods[1:2]), minimum=4, slice_size=2, slice_level=RACK)
        assert place(outlook_of(racks(3, 2)), wanted)["p-0"] in ("n4", "n5")


class TestGroups:
    def test_groups_have_domains_of_their_own_within_that_of_the_gang(self) -> None:
        within = Topology(required=(RACK,))
        groups = [group(f"g{i}", pods_of(shape(4), 2, f"g{i}"), topology=within) for i in range(2)]
        places = place(outlook_of(racks(4, 2)), gang(groups=groups, required=(ZONE,)))
        by_group = [{int(places[f"g{i}-{k}"][1:]) // 2 for k in range(2)} for i in range(2)]
        assert all(len(each) == 1 for each in by_group) and by_group[0] != by_group[1]
        assert len({next(iter(each)) // 2 for each in by_group}) == 1

    def test_a_group_makes_way_for_another(self) -> None:
        # The small group would fit anywhere, and most exactly where alone the large one does.
        nodes = [
            node("a0", labels={RACK: "a"}), node("a1", labels={RACK: "a"}),
            node("b0", cpu=8, labels={RACK: "b"}),
        ]  # fmt: skip
        within = Topology(required=(RACK,))
        small = group("small", pods_of(shape(2), 3, "s"), topology=within)
        large = group("large", pods_of(shape(5), 1, "l"), topology=within)
        places = place(outlook_of(nodes), gang(groups=[small, large]))
        assert places["l-0"] == "b0" and {places[f"s-{i}"] for i in range(3)} <= {"a0", "a1"}

    def test_as_many_groups_as_must_be_and_no_half_ones(self) -> None:
        groups = [group(f"g{i}", pods_of(shape(3), 2, f"g{i}")) for i in range(3)]
        wanted = gang(groups=groups, minimum=2, minimum_groups=1)
        places = place(outlook_of([node(f"n{i}") for i in range(5)]), wanted)
        assert Counter(name.split("-")[0] for name in places) == {"g0": 2, "g1": 2}

    def test_many_replicas_in_too_few_racks_are_refused_soon(self) -> None:
        leader, worker = shape(8), shape(4)
        groups = [
            group(f"rep{i}", pods_of(leader, 1, f"l{i}") + pods_of(worker, 4, f"w{i}"), topology=Topology((RACK,)))
            for i in range(9)
        ]
        verdict = refuse(outlook_of(racks(8, 4, cpu=8)), gang(groups=groups))
        explanation = verdict.explanation
        assert explanation.because is Because.TOPOLOGY and explanation.steps < 20_000
        assert explanation.sentence.startswith("8 of 9 groups fit; beside them 3 of 5 pods of rep8 fit in rack r")


class TestElastic:
    def test_further_pods_go_where_the_others_are(self) -> None:
        places = place(outlook_of(racks(3, 2)), gang(pods_of(shape(2), 6), minimum=3, required=(RACK,)))
        assert len(places) == 4 and len({int(n[1:]) // 2 for n in places.values()}) == 1

    def test_the_domain_with_room_for_more_of_it_is_chosen(self) -> None:
        outlook = outlook_of(racks(2, 2))
        put(outlook, "n0", pods_of(shape(4), 1))
        assert len(place(outlook, gang(pods_of(shape(2), 4), minimum=2, required=(RACK,)))) == 4

    def test_more_pods_do_not_cost_the_preferred_level(self) -> None:
        places = place(outlook_of(racks(2, 2)), gang(pods_of(shape(4), 4), minimum=2, preferred=(RACK,)))
        assert len(places) == 2 and len({int(n[1:]) // 2 for n in places.values()}) == 1

    def test_surplus_pods_join_those_that_run(self) -> None:
        pods = pods_of(shape(2), 4)
        wanted = gang(pods[2:], bound=bound_to("n2", pods[:2]), minimum=2, required=(RACK,))
        assert set(place(outlook_of(racks(3, 2)), wanted).values()) <= {"n2", "n3"}

    def test_surplus_pods_for_which_there_is_no_room_are_refused(self) -> None:
        pods = pods_of(shape(2), 4)
        outlook = outlook_of([node("a")])
        put(outlook, "a", pods_of(shape(4), 1))
        refuse(outlook, gang(pods[2:], bound=bound_to("a", pods[:2]), minimum=2))

    def test_the_pods_that_count_may_be_any(self) -> None:
        places = place(outlook_of([node("a")]), gang(pods_of(shape(9), 1, "big") + pods_of(shape(1), 2), minimum=2))
        assert set(places) == {"p-0", "p-1"}

    def test_pods_that_wait_are_left_out(self) -> None:
        waiting = pods_of(shape(1), 1, "w", waits_for="waits for its scheduling gates: g")
        assert set(place(outlook_of([node("a")]), gang(pods_of(shape(1), 2) + waiting, minimum=2))) == {"p-0", "p-1"}
        verdict = refuse(outlook_of([node("a")]), gang(pods_of(shape(1), 2) + waiting))
        assert verdict.explanation.because is Because.GATE
        assert "waits for its scheduling gates: g" in verdict.explanation.sentence


class TestDevices:
    def test_the_first_pod_does_not_keep_what_the_second_needs(self) -> None:
        """kubernetes/kubernetes #138765: the first pod takes the whole card, though a part of another would do."""
        outlook = outlook_of([node("n")])
        add_devices(outlook, "n", [{"name": "big", "model": "whole"}, {"name": "small", "model": "part"}])
        either = shape(0, own_claims=(claim_for(first_of(("w", 1, is_model("whole")), ("p", 1, is_model("part")))),))
        whole = shape(0, own_claims=(claim_for(exactly(selector=is_model("whole"))),))
        places = place(outlook, gang(pods_of(either, 1, "first") + pods_of(whole, 1, "second")))
        assert places == {"first-0": "n", "second-0": "n"}
        held = [state.allocation for state in outlook.fleet.claims.values()]
        assert sorted(a.devices.results[0].device for a in held if a and a.devices) == ["big", "small"]

    def test_pods_of_one_shape_do_not_either(self) -> None:
        outlook = outlook_of([node("n")])
        add_devices(outlook, "n", [{"name": f"d{i}", "model": "a" if i < 2 else "b"} for i in range(4)])
        greedy = shape(0, own_claims=(claim_for(first_of(("two", 2, ""), ("one", 1, is_model("a")))),))
        assert len(place(outlook, gang(pods_of(greedy, 3)))) == 3

    def test_domains_and_devices_are_one_search(self) -> None:
        # Only in rack r1 do both kinds fit, and only if the pod that takes any leaves the b.
        outlook = outlook_of(racks(2, 1))
        add_devices(outlook, "n0", [{"name": "x", "model": "a"}, {"name": "y", "model": "a"}])
        add_devices(outlook, "n1", [{"name": "x", "model": "b"}, {"name": "y", "model": "a"}])
        b = shape(0, own_claims=(claim_for(exactly(selector=is_model("b"))),))
        places = place(outlook, gang(pods_of(GPU, 1, "any") + pods_of(b, 1, "b"), required=(RACK,)))
        assert places == {"any-0": "n1", "b-0": "n1"}

    def test_nodes_that_share_a_device_do_not_both_have_it(self) -> None:
        outlook = outlook_of([node(name, cpu=1) for name in ("b", "c", "a")])
        add_devices(outlook, "fabric", [{"name": "far", "model": "a"}], allNodes=True)
        add_devices(outlook, "a", [{"name": "near", "model": "a"}])
        one = shape(1, own_claims=GPU.own_claims)
        assert "a" in place(outlook, gang(pods_of(one, 2))).values()
        refuse(outlook, gang(pods_of(one, 1)))

    def test_a_gang_of_which_no_pod_gets_devices_says_so(self) -> None:
        outlook = with_gpus(racks(1, 2), 2)
        eight = shape(0, own_claims=(claim_for(exactly(count=8)),))
        explanation = refuse(outlook, gang(pods_of(eight, 2))).explanation
        assert explanation.because is Because.DEVICES
        assert explanation.sentence.startswith("pod p-0: 0/2 nodes are available: 2 cannot allocate all claims")

    def test_a_claim_in_error_is_called_that(self) -> None:
        outlook = with_gpus(racks(1, 2), 2)
        broken = shape(0, own_claims=(claim_for(exactly(selector="device.nonsense == 1")),))
        assert refuse(outlook, gang(pods_of(broken, 2))).explanation.because is Because.CLAIM


class TestSharedClaims:
    def shared(self, outlook: Outlook, count: int = 1) -> tuple[tuple[str, str], ...]:
        outlook.fleet.set_claim(claim_for(exactly(count=count), name="shared"))
        return ((NAMESPACE, "shared"),)

    def test_all_users_go_where_its_devices_can_be_used(self) -> None:
        # The node that scores best has room for one user only.
        nodes = [node("a", cpu=1), node("b", cpu=3), node("c", cpu=2)]
        outlook = with_gpus(nodes, 1)
        places = place(outlook, gang(pods_of(shape(1, shared_claims=self.shared(outlook)), 3)))
        assert set(places.values()) == {"b"}

    def test_it_is_told_with_the_first_pod_and_taken_once(self) -> None:
        outlook = with_gpus([node("a")], 1)
        wanted = gang(pods_of(shape(1, shared_claims=self.shared(outlook)), 2))
        verdict = place_gang(outlook, wanted)
        assert isinstance(verdict, Placed)
        assert [sorted(each.allocations) for each in verdict.assignments] == [["shared"], []]

    def test_groups_that_share_one_go_together(self) -> None:
        nodes = [node("a", cpu=2), node("b", cpu=5)]
        outlook = with_gpus(nodes, 1)
        key = self.shared(outlook)
        groups = [
            group("x", pods_of(shape(2, shared_claims=key), 1, "x")),
            group("y", pods_of(shape(3, shared_claims=key), 1, "y")),
        ]
        assert set(place(outlook, gang(groups=groups)).values()) == {"b"}

    def test_where_not_all_users_fit_none_is_placed(self) -> None:
        outlook = with_gpus([node("a", cpu=2), node("b", cpu=2)], 1)
        refuse(outlook, gang(pods_of(shape(1, shared_claims=self.shared(outlook)), 3)))

    def test_one_that_has_its_devices_binds_all_to_them(self) -> None:
        outlook = with_gpus([node("a"), node("b")], 1)
        key = self.shared(outlook)
        put(outlook, "b", pods_of(shape(1, shared_claims=key), 1, "before"))
        assert set(place(outlook, gang(pods_of(shape(1, shared_claims=key), 2))).values()) == {"b"}


class TestPodsThatMindEachOther:
    def term(self, level: str) -> PodTerm:
        return PodTerm(Selector((Requirement("app", "=", ("x",)),)), frozenset(), level)

    def test_those_that_keep_apart_do(self) -> None:
        apart = shape(1, labels={"app": "x"}, far=(self.term(HOST),))
        assert len(set(place(outlook_of(racks(1, 3)), gang(pods_of(apart, 3))).values())) == 3
        refuse(outlook_of(racks(1, 3)), gang(pods_of(apart, 4)))

    def test_those_that_keep_together_do(self) -> None:
        together = shape(2, labels={"app": "x"}, near=(self.term(RACK),))
        places = place(outlook_of(racks(3, 2)), gang(pods_of(together, 4)))
        assert len({int(n[1:]) // 2 for n in places.values()}) == 1
        refuse(outlook_of(racks(3, 2)), gang(pods_of(together, 5)))

    def test_one_that_follows_another_comes_after_it(self) -> None:
        follower = shape(1, near=(self.term(HOST),))
        wanted = gang(pods_of(follower, 2, "f") + pods_of(shape(1, labels={"app": "x"}), 1, "x"))
        assert len(set(place(outlook_of(racks(1, 3)), wanted).values())) == 1

    def test_even_spread_is_kept(self) -> None:
        constraint = SpreadConstraint(RACK, 1, True, self.term(HOST).selector)
        even = shape(1, labels={"app": "x"}, spread=(constraint,))
        places = place(outlook_of(racks(2, 2)), gang(pods_of(even, 6)))
        assert Counter(int(n[1:]) // 2 for n in places.values()) == {0: 3, 1: 3}


class TestSingles:
    def test_the_cleared_node_comes_first(self) -> None:
        outlook = outlook_of(racks(1, 3))
        assert place(outlook, gang_of_one(pods_of(shape(1), 1, nominated="n2")[0])) == {"p-0": "n2"}

    def test_the_sentence_is_kube_schedulers(self) -> None:
        outlook = outlook_of([node("a", cpu=1), node("b", cpu=1), node("c", pods=0)])
        explanation = refuse(outlook, gang_of_one(pods_of(shape(2), 1)[0])).explanation
        assert explanation.sentence == "0/3 nodes are available: 2 Insufficient cpu, 1 Too many pods."
        assert explanation.because is Because.NODES and explanation.pod == "default/p-0"
        assert explanation.rejections == {"Insufficient cpu": 2, "Too many pods": 1}

    def test_a_fleet_without_nodes_is_no_fleet(self) -> None:
        explanation = refuse(outlook_of([]), gang_of_one(pods_of(shape(1), 1)[0])).explanation
        assert explanation.sentence == "no nodes available to schedule pods"

    def test_one_that_waits_is_not_placed(self) -> None:
        explanation = refuse(
            outlook_of([node("a")]), gang_of_one(pods_of(shape(1), 1, waits_for="a gate")[0])
        ).explanation
        assert explanation.because is Because.GATE and explanation.sentence == "a gate"

    def test_one_that_is_bound_is_placed(self) -> None:
        verdict = place_gang(outlook_of([node("a")]), gang_of_one(replace(pods_of(shape(1), 1)[0], node="a")))
        assert isinstance(verdict, Placed) and verdict.assignments == ()


class TestRefusals:
    def test_the_nearest_domain_comes_first(self) -> None:
        outlook = outlook_of(racks(3, 2))
        put(outlook, "n0", pods_of(shape(4), 1))
        put(outlook, "n4", pods_of(shape(3), 1))
        explanation = refuse(outlook, gang(pods_of(shape(2), 5), required=(RACK,))).explanation
        assert [(d.value, d.wanted, d.found) for d in explanation.domains] == [("r1", 5, 4), ("r0", 5, 2), ("r2", 5, 2)]
        assert explanation.because is Because.TOPOLOGY
        assert explanation.sentence == (
            "4 of 5 pods fit in rack r1, the nearest of 3 racks: 0/2 nodes are available: 2 Insufficient cpu"
        )
        assert explanation.domains[1].reasons == {"Insufficient cpu": 2}

    def test_too_little_room_everywhere_is_room(self) -> None:
        explanation = refuse(outlook_of(racks(2, 2)), gang(pods_of(shape(3), 5), required=(ZONE,))).explanation
        assert explanation.because is Because.ROOM
        assert explanation.remedy == "room for 1 more of its pods in zone z0"

    def test_without_levels_the_pods_are_counted(self) -> None:
        explanation = refuse(outlook_of(racks(2, 2)), gang(pods_of(shape(3), 6))).explanation
        assert explanation.sentence == "4 of 6 pods fit: 0/4 nodes are available: 4 Insufficient cpu"

    def test_at_most_twenty_domains_are_told(self) -> None:
        explanation = refuse(outlook_of(racks(30, 1)), gang(pods_of(shape(3), 2), required=(RACK,))).explanation
        assert len(explanation.domains) == 20 and "the nearest of 30 racks" in explanation.sentence

    def test_without_explaining_no_domain_is_told(self) -> None:
        wanted = gang(pods_of(shape(3), 9), required=(RACK,))
        explanation = refuse(outlook_of(racks(3, 2)), wanted, Limits(explains=False)).explanation
        assert explanation.because is Because.TOPOLOGY or explanation.because is Because.ROOM
        assert explanation.sentence

    @pytest.mark.parametrize("explains", [True, False])
    def test_a_search_that_is_cut_off_says_so(self, explains: bool) -> None:
        kinds = [shape(c) for c in (3, 5, 7)]
        pods = tuple(pod for i, kind in enumerate(kinds) for pod in pods_of(kind, 7, f"k{i}"))
        outlook = outlook_of([node(f"n{i}", cpu=11, labels={LINK: str(i)}) for i in range(10)])
        explanation = refuse(outlook, gang(pods), Limits(budget=600, explains=explains)).explanation
        assert explanation.because is Because.BUDGET
        assert explanation.sentence.startswith("the search was stopped after ")


class TestCleared:
    def test_a_gang_goes_to_the_nodes_that_were_cleared_for_it(self) -> None:
        pods = tuple(replace(pod, nominated=name) for pod, name in zip(pods_of(shape(3), 2), ("n2", "n5"), strict=True))
        assert set(place(outlook_of(racks(3, 2)), gang(pods)).values()) == {"n2", "n5"}

    def test_and_elsewhere_where_these_no_longer_do(self) -> None:
        outlook = outlook_of(racks(3, 2))
        put(outlook, "n2", pods_of(shape(4), 1))
        pods = tuple(replace(pod, nominated="n2") for pod in pods_of(shape(3), 2))
        assert "n2" not in place(outlook, gang(pods)).values()


def test_nothing_to_place_is_placed() -> None:
    pods = bound_to("n0", pods_of(shape(1), 2))
    verdict = place_gang(outlook_of(racks(1, 1)), gang((), bound=pods))
    assert isinstance(verdict, Placed) and verdict.assignments == ()


def test_what_is_placed_can_be_undone() -> None:
    outlook = with_gpus(racks(2, 2), 2)
    wanted = gang(pods_of(GPU, 4), required=(RACK,))
    add_claims(outlook, wanted.pods)
    before = dump(outlook)
    with outlook.fleet.trial():
        assert isinstance(place_gang(outlook, wanted), Placed)
        assert dump(outlook) != before
    assert dump(outlook) == before
    assert isinstance(place_gang(outlook, wanted), Placed)


def test_a_group_without_enough_pods_waits() -> None:
    wanted = Gang(NAMESPACE, "gang", Group("gang", pods_of(shape(1), 2), minimum=3), kind="PodGroup")
    explanation = refuse(outlook_of(racks(1, 1)), wanted).explanation
    assert explanation.because is Because.GATE
    assert explanation.sentence == "it needs 3 pods with nodes beside those that have one, and only 2 are there"
