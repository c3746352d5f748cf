"""A fleet of engines under the virtual clock: arrivals, gateway, scaling and mishaps, event by event.

Deterministic for a seed, flat in memory; decisions are the live components' own pure functions.
"""

from fairlead.simulator.fleet.config import (
    Crash,
    FailureSpec,
    GatewaySpec,
    NodeSpec,
    PoolSpec,
    ScalingSpec,
    Scenario,
    ScenarioError,
    TraceSpec,
)
from fairlead.simulator.fleet.fleet import Fleet, Progress
from fairlead.simulator.fleet.model import ReplicaModel, replica_model, with_defaults
from fairlead.simulator.fleet.options import OPTIONS, read_scenario, scenario_with
from fairlead.simulator.fleet.policies import POLICIES
from fairlead.simulator.fleet.policy import Decision, End, Policy, Seen
from fairlead.simulator.fleet.presets import DEFAULT_ACCELERATOR, DEFAULT_MODEL, PRESETS
from fairlead.simulator.fleet.records import COLUMNS, JsonlRecords, ListedRecords, NoRecords, ParquetRecords, sink_for
from fairlead.simulator.fleet.scaling import SCALING, PoolSnapshot, ScalingDecision, ScalingPolicy
from fairlead.simulator.fleet.study import run_study, workload, write_summary
from fairlead.simulator.fleet.summary import Distribution, Summary, summarise

__all__ = [
    "COLUMNS",
    "DEFAULT_ACCELERATOR",
    "DEFAULT_MODEL",
    "OPTIONS",
    "POLICIES",
    "PRESETS",
    "SCALING",
    "Crash",
    "Decision",
    "Distribution",
    "End",
    "FailureSpec",
    "Fleet",
    "GatewaySpec",
    "JsonlRecords",
    "ListedRecords",
    "NoRecords",
    "NodeSpec",
    "ParquetRecords",
    "Policy",
    "PoolSnapshot",
    "PoolSpec",
    "Progress",
    "ReplicaModel",
    "ScalingDecision",
    "ScalingPolicy",
    "ScalingSpec",
    "Scenario",
    "ScenarioError",
    "Seen",
    "Summary",
    "TraceSpec",
    "read_scenario",
    "replica_model",
    "run_study",
    "scenario_with",
    "sink_for",
    "summarise",
    "with_defaults",
    "workload",
    "write_summary",
]
