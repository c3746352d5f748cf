"""The figures of what scaled during a run: lives of pods, replicas over time, reactions, what it cost and served.

Times in seconds from the origin of the run. Formulas: `docs/bench-autoscale.md`, and at each function of
`fairlead.bench.replicas`.
"""

from __future__ import annotations

import msgspec


class Moments(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a pod: stored in the API, given a node, all its containers running, ready for the first time, told to go (or
    to drain), gone; and its engine has served the first token. None: it has not come, or is not known."""

    created: float | None = None
    scheduled: float | None = None
    started: float | None = None
    ready: float | None = None
    leaving: float | None = None
    gone: float | None = None
    served: float | None = None


class PodLife(msgspec.Struct, frozen=True, omit_defaults=True):
    """`seen`: by our clock, when we were told of it; `told`: by the API's own timestamps, which are whole seconds of
    another clock. `ready`: from when to when it was ready and not told to go. `accelerators` None: not known, or it
    asks for none. `unsure_s`: how much earlier it may have gone, as nobody looked."""

    name: str
    replica: str
    seen: Moments
    told: Moments
    ready: tuple[tuple[float, float | None], ...] = ()
    accelerators: float | None = None
    size: int = 1
    unsure_s: float = 0.0

    def at(self, moment: str) -> float | None:
        """What was seen; else what was told."""
        seen: float | None = getattr(self.seen, moment)
        told: float | None = getattr(self.told, moment)
        return told if seen is None else seen


class ReplicaTime(msgspec.Struct, frozen=True):
    """What was there over a stretch: replica-seconds and accelerator-seconds that were wanted, paid for (from a node
    until gone) and ready. `unknown_s`: for so long the wanted number was not known, and is not counted. `unsure_s`: of
    the accelerator-seconds (of replica-seconds, where no accelerators are known) so many may not have been."""

    name: str
    begin_s: float
    end_s: float
    desired_replica_s: float
    allocated_replica_s: float
    ready_replica_s: float
    desired_accelerator_s: float | None = None
    allocated_accelerator_s: float | None = None
    ready_accelerator_s: float | None = None
    unknown_s: float = 0.0
    unsure_s: float = 0.0


class ScaleStep(msgspec.Struct, frozen=True):
    """The wanted number changed. Up: when so many were on nodes, and ready. Down: when no more than so many were on
    nodes. None with `overtaken`: the number changed again before that. `failed`: requests that failed meanwhile."""

    at_s: float
    before: int
    after: int
    scheduled_s: float | None = None
    ready_s: float | None = None
    gone_s: float | None = None
    overtaken: bool = False
    failed: int = 0


class Reaction(msgspec.Struct, frozen=True):
    """A rise of the load, and what came of it until the load changed again. `desired_s`: the wanted number rose for the
    first time; `first_ready_s`: one more replica was ready; `first_token_s`: one that came since has served a token;
    `ready_s`: as many as were wanted at most. None: not before the load changed again, or not known. `lost`: requests
    of that time that did not keep the objective, of `judged`; `short_s`: for so long too few of them did;
    `recovered_s`: from then on enough did (None: not before the load changed again, or nothing was lost)."""

    stage: int
    name: str
    rise_s: float
    until_s: float
    before: int | None
    after: int | None
    desired_s: float | None = None
    first_ready_s: float | None = None
    ready_s: float | None = None
    judged: int | None = None
    lost: int | None = None
    short_s: float | None = None
    recovered_s: float | None = None
    first_token_s: float | None = None


class StartUp(msgspec.Struct, frozen=True):
    """From creation to each moment, of the pods that were created during the run and got there: how many, the median
    and the longest, in seconds. `to`: scheduled, started, ready, served."""

    to: str
    count: int
    median_s: float
    longest_s: float


class WorkloadScaling(msgspec.Struct, frozen=True):
    """One workload. `times_s` with the numbers from then on (None: not known then); of a replica of several pods the
    part that is on nodes is allocated. `turns`: steps the other way within `scaling.turn_s` after the one before.
    `blind`: when nobody could look."""

    name: str
    times_s: tuple[float, ...]
    desired: tuple[int | None, ...]
    allocated: tuple[float | None, ...]
    ready: tuple[int | None, ...]
    steps: tuple[ScaleStep, ...]
    reactions: tuple[Reaction, ...]
    starts: tuple[StartUp, ...]
    turns: int
    pods: tuple[PodLife, ...]
    accelerators_per_replica: float | None = None
    blind: tuple[tuple[float, float], ...] = ()


class ScalingSlice(msgspec.Struct, frozen=True):
    """A slice of time: requests due per second, means of the replicas of all workloads (None: not known), what became
    of the requests that were due in it (`good` of `judged`; None without an objective) and what ended in it."""

    begin_s: float
    end_s: float
    due_per_s: float
    desired: float | None
    allocated: float | None
    ready: float | None
    judged: int | None = None
    good: int | None = None
    failed: int = 0
    output_tokens_per_s: float = 0.0
    ttft_mean_s: float | None = None


class Efficiency(msgspec.Struct, frozen=True):
    """What the fleet cost, in `unit`-seconds (accelerator, or replica where no accelerators are known), against others.

    `paid_s`: from a node until gone. `fixed_s`: a fleet of the highest wanted number for all the time. `least_s`: one
    that was shown to be enough to keep the objective, with replicas there when they are needed, by what one replica was
    shown to carry: `carried_per_s` requests per second kept the objective, `failed_per_s` did not. A fleet smaller than
    `least_low_s` would not have done. None with `why_no_least`. `cost`: of what was paid for, at the price that `price`
    tells of; up to `cost_high`, where that is a range."""

    unit: str
    paid_s: float
    ready_s: float
    fixed_s: float | None
    least_s: float | None = None
    least_low_s: float | None = None
    carried_per_s: float | None = None
    failed_per_s: float | None = None
    why_no_least: str = ""
    good_requests_per_unit_hour: float | None = None
    output_tokens_per_unit_hour: float | None = None
    cost: float | None = None
    cost_high: float | None = None
    price: str = ""


class ScalingSummary(msgspec.Struct, frozen=True):
    """A whole run. `load_turns`: how often the load itself changed direction (None: nobody knows beforehand).
    `short_s`: for so long fewer requests kept the objective than it asks for."""

    workloads: tuple[WorkloadScaling, ...]
    time: tuple[ReplicaTime, ...]
    all: ReplicaTime
    slices: tuple[ScalingSlice, ...]
    efficiency: Efficiency
    load_turns: int | None = None
    judged: int | None = None
    good: int | None = None
    short_s: float | None = None
    failed: int = 0
    notes: tuple[str, ...] = ()
