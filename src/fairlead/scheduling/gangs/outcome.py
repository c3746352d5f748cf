"""What a search that succeeded has to say: which pod is where, with which devices, in which domains."""

from __future__ import annotations

from fairlead.kube.objects.devices import AllocationResult
from fairlead.scheduling.fleet.fleet import ClaimKey, Fleet
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.trial import Trial
from fairlead.scheduling.verdict import Assignment, Placed


def lacking_claims(fleet: Fleet, gang: Gang) -> frozenset[ClaimKey]:
    """The claims of the gang's pods that have no devices."""
    keys = {(pod.namespace, name) for pod in gang.pods for name in pod.claims}
    return frozenset(key for key in keys if fleet.is_lacking(key))


def placed(gang: Gang, trial: Trial, lacking: frozenset[ClaimKey], steps: int) -> Placed:
    """The verdict about what the trial has put down. A claim without devices goes with the first pod that uses it."""
    fleet = trial.outlook.fleet
    given: set[ClaimKey] = set()
    assignments = []
    for pod, row in trial.put:
        node = fleet.nodes[row]
        assert node is not None
        allocations: dict[str, AllocationResult] = {}
        for name in pod.claims:
            key = (pod.namespace, name)
            state = fleet.claims.get(key)
            if key in lacking and key not in given and state is not None and state.allocation is not None:
                given.add(key)
                allocations[name] = state.allocation
        assignments.append(Assignment(pod, node.name, allocations))
    return Placed(gang, tuple(assignments), _shared_domains(fleet, gang, trial), steps)


def _shared_domains(fleet: Fleet, gang: Gang, trial: Trial) -> dict[str, str]:
    """The levels that the whole gang asked for and has, with their values."""
    topology = gang.root.topology
    rows = [row for _, row in trial.put]
    rows += [fleet.row_of[pod.node] for pod in gang.bound if pod.node in fleet.row_of]
    nodes = [node for row in rows if (node := fleet.nodes[row]) is not None]
    shared: dict[str, str] = {}
    for level in (*topology.required, *topology.preferred):
        values = {node.value(level) for node in nodes}
        value = next(iter(values)) if len(values) == 1 else None
        if value is not None:
            shared[level] = value
    return shared
