"""From a scenario to its findings: opens what it names, runs the fleet, writes what was asked for."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from fairlead.simulator.fleet.config import Scenario, ScenarioError
from fairlead.simulator.fleet.fleet import Fleet, Progress
from fairlead.simulator.fleet.model import ReplicaModel, replica_model
from fairlead.simulator.fleet.policies import policy_named
from fairlead.simulator.fleet.records import RecordSink
from fairlead.simulator.fleet.scaling import scaling_named
from fairlead.simulator.fleet.summary import Summary, summarise
from fairlead.workload import TraceFile, TraceRequest, generate, shaped


def run_study(
    scenario: Scenario,
    *,
    records: RecordSink | None = None,
    progress: Progress | None = None,
    models: Sequence[ReplicaModel] | None = None,
    variant: str = "",
) -> Summary:
    """Simulate a scenario.

    `variant` names it among those it is compared with; `models` replaces what its pools describe. Raises ScenarioError
    and TraceError.
    """
    policy_named(scenario.gateway.policy, random.Random(0), scenario.gateway)
    for spec in scenario.pools:
        scaling_named(spec.scaling.policy)
    made = models if models is not None else [replica_model(spec) for spec in scenario.pools]
    trace, requests = workload(scenario)
    fleet = Fleet(
        list(zip(scenario.pools, made, strict=True)),
        gateway=scenario.gateway,
        slo=scenario.slo,
        failures=scenario.failures,
        nodes=scenario.nodes,
        seed=scenario.seed,
        records=records,
    )
    fleet.run(requests, progress)
    if not fleet.measures.arrived:
        raise ScenarioError("nothing arrives: the trace, or the part of it that was asked for, has no requests")
    return summarise(
        fleet,
        name=scenario.name,
        seed=scenario.seed,
        workload=_described(scenario),
        variant=variant,
        notes=_notes(trace, fleet),
    )


def workload(scenario: Scenario) -> tuple[TraceFile | None, Iterable[TraceRequest]]:
    """What arrives: a stream, and the file behind it. Raises TraceError and ScenarioError."""
    if scenario.synthetic is not None:
        return None, generate(scenario.synthetic, random.Random(f"workload/{scenario.seed}"))
    spec = scenario.trace
    assert spec is not None
    trace = TraceFile(
        Path(spec.path),
        format_name=spec.format,
        block_tokens=spec.block_tokens,
        skip_broken=spec.skip_broken,
        sort=spec.sort,
    )
    requests = shaped(
        trace,
        start_s=spec.start_s,
        duration_s=spec.duration_s,
        speed=spec.speed,
        rate_per_s=spec.rate_per_s,
        limit=spec.limit,
        rng=random.Random(f"arrivals/{scenario.seed}"),
    )
    return trace, requests


def write_summary(summary: Summary, path: Path) -> None:
    """As indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")


def _described(scenario: Scenario) -> str:
    if scenario.synthetic is not None:
        return "synthetic"
    spec = scenario.trace
    assert spec is not None
    said = [Path(spec.path).name]
    if spec.start_s or spec.duration_s is not None:
        end = "the end" if spec.duration_s is None else f"{spec.start_s + spec.duration_s:g} s"
        said.append(f"from {spec.start_s:g} s to {end}")
    if spec.speed != 1:
        said.append(f"{spec.speed:g} times as fast")
    if spec.rate_per_s is not None:
        said.append(f"Poisson arrivals at {spec.rate_per_s:g}/s")
    if spec.limit is not None:
        said.append(f"first {spec.limit}")
    return ", ".join(said)


def _notes(trace: TraceFile | None, fleet: Fleet) -> list[str]:
    """What a reader of the numbers should know."""
    notes = []
    if trace is not None and trace.counts.unanswered:
        notes.append(f"{trace.counts.unanswered} requests of the trace were never answered and are left out")
    if trace is not None and trace.counts.broken:
        notes.append(f"{trace.counts.broken} broken lines are left out; the first: {trace.counts.first_broken}")
    if not fleet.measures.named:
        notes.append(
            "the requests do not tell what they have in common (no hash_ids): prefix hits are unknown, none are assumed"
        )
    if too_long := fleet.measures.reasons.get("too_long"):
        notes.append(f"{too_long} requests are longer than the engine's context or cache and fail")
    return notes
