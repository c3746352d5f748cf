"""Gateway policies by name: the pure functions of `gateway.pick`, each as the simulator calls it.

A later policy is one more entry of `POLICIES`; it sees what the live gateway's would see and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from fairlead.gateway.pick import Candidate, NoPick, Pick, pick_least_loaded, pick_random, pick_round_robin
from fairlead.simulator.fleet.config import ScenarioError
from fairlead.simulator.traces import TraceRequest

Policy: TypeAlias = Callable[[Sequence[Candidate], TraceRequest], Pick | NoPick]


def _random(rng: random.Random) -> Policy:
    return lambda candidates, request: pick_random(candidates, rng.random())


def _round_robin(rng: random.Random) -> Policy:
    return lambda candidates, request: pick_round_robin(candidates)


def _least_loaded(rng: random.Random) -> Policy:
    return lambda candidates, request: pick_least_loaded(candidates)


POLICIES: dict[str, Callable[[random.Random], Policy]] = {
    "random": _random,
    "round-robin": _round_robin,
    "least-loaded": _least_loaded,
}
"""Name -> maker of the policy, which is given a generator of its own."""


def policy_named(name: str, rng: random.Random) -> Policy:
    """The policy. Raises ScenarioError for an unknown name."""
    try:
        return POLICIES[name](rng)
    except KeyError:
        raise ScenarioError(f"unknown policy {name!r}; known are {', '.join(POLICIES)}") from None
