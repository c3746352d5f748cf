"""A simulation keeps what any cluster keeps: no device twice, no node overfull, no gang in part, everyone told of."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.cli.schedule_inputs import Inputs
from fairlead.cli.schedule_planning import Plan, Simulation
from fairlead.scheduling.settings import Settings
from scheduling.planner_objects import NOW_S, claim, gang_of, gpu_class, gpus, node, pod

jobs = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 3), st.sampled_from([0, 100]))
"""Pods, cpu, devices, priority."""


def objects_of(name: str, job: tuple[int, int, int, int]) -> list[object]:
    size, cpu, devices, priority = job
    made = {"cpu": str(cpu), "devices": bool(devices), "priority": priority}
    pods = [pod(name, **made)] if size == 1 else gang_of(name, size, **made)
    return [*(claim(each.metadata.name, devices) for each in pods if devices), *pods]


def run(first: list[object], later: list[object]) -> tuple[Simulation, Plan]:
    simulation = Simulation(Settings(), NOW_S)
    simulation.add(Inputs(first))
    simulation.run()
    simulation.now_s += 3600
    simulation.add(Inputs(later))
    return simulation, simulation.run()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4)), min_size=1, max_size=3), st.lists(jobs, max_size=4),
       st.lists(jobs, max_size=3))  # fmt: skip
def test_plans_keep_what_clusters_keep(
    nodes: list[tuple[int, int]], first: list[tuple[int, int, int, int]], later: list[tuple[int, int, int, int]]
) -> None:
    cluster: list[object] = [gpu_class()]
    for number, (cpu, devices) in enumerate(nodes):
        cluster += [node(f"n{number}", cpu=str(cpu)), *([gpus(f"n{number}", devices)] if devices else [])]
    begun = [each for number, job in enumerate(first) for each in objects_of(f"a{number}", job)]
    come = [each for number, job in enumerate(later) for each in objects_of(f"b{number}", job)]
    simulation, plan = run([*cluster, *begun], come)
    sizes = {f"a{n}": job[0] for n, job in enumerate(first)} | {f"b{n}": job[0] for n, job in enumerate(later)}
    for (_, _, name), placed in plan.placed.items():
        assert len(placed.assignments) == sizes[name]
    fleet = simulation.planner.fleet
    for row, each in enumerate(fleet.nodes):
        assert each is None or all(fleet.free(row, name) >= 0 for name in each.allocatable)
    held: Counter[tuple[str, str, str]] = Counter()
    for state in fleet.claims.values():
        results = state.allocation.devices.results if state.allocation and state.allocation.devices else ()
        held.update((each.driver, each.pool, each.device) for each in results)
    assert not [device for device, count in held.items() if count > 1]
    told = {identity[2] for identity in (*plan.placed, *plan.refused)} | {
        name.partition("/")[2].partition("-")[0] for name in plan.evicted
    }
    assert told == sizes.keys()
    assert not {identity for identity in plan.placed if identity in plan.refused}
