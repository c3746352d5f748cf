"""The scenario of a study as typed configuration: what arrives, on what fleet, under which policies and mishaps.

A scenario file (YAML or JSON) has exactly these fields; the options of `fairlead simulate run` are the common ones.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from fairlead.workload import Slo, Synthetic

# Upper bounds keep infinities and slips of the keyboard out of loops that would then never end.
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
PositiveCount = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Replicas = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ScenarioError(ValueError):
    """A scenario that cannot be simulated; the message names field, value and remedy."""


class TraceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which trace, and which part of it; see `traces.TraceFile` and `traces.shaped`."""

    path: str
    format: str | None = None
    block_tokens: PositiveCount | None = None
    skip_broken: bool = False
    sort: bool = False
    start_s: Seconds = 0.0
    duration_s: Positive | None = None
    speed: Positive = 1.0
    rate_per_s: Positive | None = None
    limit: PositiveCount | None = None


class ScalingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which scaling policy looks at a pool every `interval_s`, within which bounds, and with which target.

    `target` is what the policy aims at; for `queue` the requests (running and waiting) per replica.
    """

    policy: str = "fixed"
    interval_s: Positive = 15.0
    min_replicas: Replicas = 1
    max_replicas: Replicas = 64
    target: Positive = 32.0


class PoolSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Replicas of one kind.

    An engine is described by a `profile` file, or by `accelerator` and `model` (a name of `model_presets()` or the path
    of a Hugging Face `config.json`) and its parallelism; `engine` overrides fields of `EngineSettings` in either case.
    `startup_s` is from the moment the accelerators are there to the first request. `usd_per_h` is the price of one
    accelerator; None takes the low list price of the table.
    """

    name: str = "main"
    replicas: Replicas = 1
    role: Literal["both", "prefill", "decode"] = "both"
    profile: str | None = None
    accelerator: str | None = None
    model: str | None = None
    tensor_parallel: PositiveCount = 1
    pipeline_parallel: PositiveCount = 1
    data_parallel: PositiveCount = 1
    kv_dtype: str = "auto"
    engine: dict[str, Any] = {}
    startup_s: Seconds = 60.0
    usd_per_h: Seconds | None = None
    scaling: ScalingSpec = ScalingSpec()


class NodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where accelerators come from: nodes with `accelerators` each. Those of the first replicas and `spare` more are
    there from the start; further ones take `provision_s`. A node that is empty for `release_after_s` goes back. Every
    node is paid for while it is there."""

    accelerators: PositiveCount = 8
    spare: Count = 0
    max_nodes: PositiveCount = 1000
    provision_s: Seconds = 180.0
    release_after_s: Seconds = 600.0


class Crash(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A replica of a pool (its number from 0) dies at a moment."""

    at_s: Seconds
    pool: str = "main"
    replica: Count = 0


class FailureSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What dies: at given moments, and at random with a mean time between failures per replica. A dead replica loses
    its cache and everything it served, and starts again after `repair_s` and its start-up time."""

    crashes: tuple[Crash, ...] = ()
    mtbf_s: Positive | None = None
    repair_s: Seconds = 30.0


class GatewaySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How requests are routed.

    `retry` says which requests of a dead replica are sent again: those whose client has seen no token yet, all, or
    none. `no_endpoint` says whether a request without a ready replica waits or fails. A client gives up after
    `patience_s` without a first token, and after `deadline_s` in any case; None: never.

    Policies that watch engines learn the end of a request `log_delay_s` after it, and take prompts for longer or
    shorter than they are: `token_error` is the standard deviation of ln(estimated / true tokens), 0 where a tokenizer
    counts them. `streamed` is the share of answers that come token by token: of others only the end is seen.
    """

    policy: str = "least-loaded"
    scrape_interval_s: Positive = 0.2
    stale_after_s: Positive = 5.0
    retry: Literal["never", "before-first-token", "always"] = "before-first-token"
    max_retries: Count = 2
    no_endpoint: Literal["wait", "fail"] = "wait"
    patience_s: Positive | None = None
    deadline_s: Positive | None = None
    log_delay_s: Seconds = 0.05
    token_error: Share = 0.0
    streamed: Share = 1.0

    def __post_init__(self) -> None:
        if self.stale_after_s < self.scrape_interval_s:
            raise ValueError(
                f"stale_after_s is {self.stale_after_s} and scrape_interval_s {self.scrape_interval_s}: metrics must "
                "not be stale before the next ones come"
            )


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A study. Exactly one of `trace` and `synthetic` says what arrives."""

    name: str = "simulation"
    trace: TraceSpec | None = None
    synthetic: Synthetic | None = None
    pools: tuple[PoolSpec, ...] = (PoolSpec(),)
    gateway: GatewaySpec = GatewaySpec()
    slo: Slo = Slo()
    nodes: NodeSpec | None = None
    failures: FailureSpec = FailureSpec()
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.trace is None) == (self.synthetic is None):
            raise ValueError("give what arrives: either trace or synthetic, not both")
        check_pools(self.pools)
        for crash in self.failures.crashes:
            if crash.pool not in {pool.name for pool in self.pools}:
                raise ValueError(f"failures.crashes names pool {crash.pool!r}, which does not exist")


def check_pools(pools: tuple[PoolSpec, ...]) -> None:
    """Raises ValueError for pools that cannot serve together."""
    if not pools:
        raise ValueError("pools is empty: give at least one")
    names = [pool.name for pool in pools]
    if len(set(names)) < len(names):
        raise ValueError(f"pools have the names {names}: give each its own")
    roles = {pool.role for pool in pools}
    if roles not in ({"both"}, {"prefill", "decode"}):
        raise ValueError(
            f"pools have the roles {sorted(roles)}: either all are `both`, or there are `prefill` and `decode` pools"
        )
    for pool in pools:
        if not pool.scaling.min_replicas <= pool.scaling.max_replicas:
            raise ValueError(f"pool {pool.name}: scaling.min_replicas is greater than scaling.max_replicas")
