"""Capacity: what is counted is placed, and one more is refused; the fleet is as before."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.objects import Pod
from fairlead.scheduling.capacity import SEVERAL, count_more, is_independent
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.verdict import Placed, Refused
from scheduling.planner_objects import (
    claim,
    decide_all,
    gang_of,
    gpu_class,
    gpus,
    node,
    planner_with,
    pod,
)

RACK = "fabric.topograph.run/tier-0"


def fleet_of(nodes: Sequence[tuple[int, int]], *, per_rack: int = 2) -> list[object]:
    """Nodes of (cpu, devices)."""
    made: list[object] = [gpu_class()]
    for number, (cpu, devices) in enumerate(nodes):
        made += [node(f"n{number}", cpu=str(cpu), labels={RACK: f"r{number // per_rack}"})]
        made += [gpus(f"n{number}", devices)] if devices else []
    return made


def asked(pods: Sequence[Pod], claims: Sequence[object] = ()) -> Gang:
    """The gang of pods that no cluster has."""
    planner = planner_with(gpu_class(), *claims, *pods)
    gang = planner.roster.gang_of(pods[0].metadata.uid)
    assert gang is not None
    return gang


def test_single_pods_are_counted_by_node_and_domain() -> None:
    planner = planner_with(*fleet_of([(8, 8), (3, 8), (8, 2)]))
    fit = count_more(planner.outlook, [asked([pod("p", cpu="2", devices=True)], [claim("p", 2)])], levels=[RACK])
    assert (fit.count, fit.is_most) == (4 + 1 + 1, True)
    assert dict(fit.by_node) == {"n0": 4, "n1": 1, "n2": 1}
    assert fit.by_level[RACK] == {"r0": 5, "r1": 1}
    assert fit.stopped_by is not None and fit.stopped_by.sentence.startswith("0/3 nodes are available: ")


def test_what_runs_already_is_counted_in() -> None:
    planner = planner_with(*fleet_of([(8, 8)]), claim("other", 6), pod("other", devices=True))
    decide_all(planner)
    assert count_more(planner.outlook, [asked([pod("p", devices=True)], [claim("p", 1)])]).count == 2


def test_gangs_are_placed_whole_within_their_domain() -> None:
    gang = asked(gang_of("g", 2, cpu="4", topology={"required": "rack"}))
    planner = planner_with(*fleet_of([(8, 0), (4, 0), (4, 0)]))
    fit = count_more(planner.outlook, [gang], levels=[RACK, "kubernetes.io/hostname"])
    # Rack r0 has room for three pods, so one gang; r1 for one pod, so none.
    assert (fit.count, fit.is_most) == (1, True)
    assert fit.by_level[RACK] == {"r0": 1}
    assert sum(fit.by_node.values()) == 2


def test_replicas_of_several_gangs_count_when_all_are_placed() -> None:
    small, large = asked([pod("small", cpu="1")]), asked([pod("large", cpu="6")])
    planner = planner_with(*fleet_of([(8, 0), (8, 0)]))
    fit = count_more(planner.outlook, [small, large], levels=["kubernetes.io/hostname"])
    assert fit.count == 2
    spread = fit.by_level["kubernetes.io/hostname"]
    assert sum(spread.values()) == 2 and set(spread) <= {"n0", "n1", SEVERAL}


def test_counting_ends_at_the_limit() -> None:
    planner = planner_with(*fleet_of([(8, 0)]))
    for gang in (asked([pod("p")]), asked(gang_of("g", 2, cpu="1"))):
        fit = count_more(planner.outlook, [gang], limit=2)
        assert (fit.count, fit.is_most, fit.stopped_by) == (2, False, None)


def test_pods_that_look_around_are_placed_one_by_one() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    gang = asked([pod("p", labels={"app": "a"}, affinity=affinity)])
    assert not is_independent(gang)
    planner = planner_with(*fleet_of([(8, 0), (8, 0), (8, 0)]))
    assert count_more(planner.outlook, [gang]).count == 3


cpus = st.integers(0, 6)
counts = st.integers(0, 4)


@given(
    nodes=st.lists(st.tuples(cpus, counts), min_size=1, max_size=4),
    size=st.integers(1, 3),
    cpu=st.integers(1, 3),
    devices=st.integers(0, 3),
    required=st.booleans(),
)
def test_so_many_are_placed_and_one_more_is_refused(
    nodes: list[tuple[int, int]], size: int, cpu: int, devices: int, required: bool
) -> None:
    topology = {"topology": {"required": "rack"}} if required else {}
    names = [f"g-{i}" for i in range(size)] if size > 1 else ["g"]
    claims = [claim(name, devices) for name in names] if devices else []
    pods = (
        gang_of("g", size, cpu=str(cpu), devices=bool(devices), **topology)
        if size > 1
        else [pod("g", cpu=str(cpu), devices=bool(devices))]
    )
    gang = asked(pods, claims)
    planner = planner_with(*fleet_of(nodes))
    before = holding(planner)
    fit = count_more(planner.outlook, [gang])
    assert holding(planner) == before
    assert sum(fit.by_node.values()) == fit.count * size
    assert fit.is_most and fit.stopped_by is not None
    # The same as API objects, so many and one more.
    real = planner_with(*fleet_of(nodes))
    for number in range(fit.count + 1):
        for each, name in zip(pods, names, strict=True):
            copied = f"{name}-{number}"
            if devices:
                real.see(claim(copied, devices))
            labels = {**each.metadata.labels}
            if "fairlead.dev/gang" in labels:
                labels["fairlead.dev/gang"] = f"g{number}"
            real.see(
                pod(copied, cpu=str(cpu), devices=bool(devices), labels=labels,
                    annotations=dict(each.metadata.annotations))
            )  # fmt: skip
    verdicts = decide_all(real)
    assert sum(isinstance(each, Placed) for each in verdicts) == fit.count
    refused = [each for each in verdicts if isinstance(each, Refused)]
    assert len({each.gang.key for each in refused}) == 1


def holding(planner: Planner) -> object:
    """What the fleet holds."""
    fleet = planner.fleet
    used = [{name: amount for name, amount in each.items() if amount} for each in fleet.used]
    return [sorted(on) for on in fleet.on], sorted(fleet.claims), used
