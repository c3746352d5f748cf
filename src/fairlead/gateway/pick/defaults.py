"""Profiles that have a name: ours, which pools get whose owner names none, and the one of llm-d's Helm chart.

Ours was chosen by replay of traces (`benchmarks/gateway_routing.py`). It has one scorer, which compares endpoints by
the waiting a request would cause there, its own and that of others, in seconds. Queue, cached prefixes, speed of the
hardware, room in the KV cache and adapters enter as what they cost in time, so there are no weights between unlike
things to be tuned for each fleet. Among endpoints of nearly equal cost the one that has waited longest is taken.
"""

from __future__ import annotations

import msgspec

from fairlead.gateway.pick.profile import Profile, Use
from fairlead.gateway.pick.registry import build_profile
from fairlead.gateway.pick.scorers.least_cost import LeastCostParameters

DEFAULT_PROFILE = "default"

PARAMETERS = LeastCostParameters()


def default_profile(parameters: LeastCostParameters = PARAMETERS) -> Profile:
    """The profile, with other parameters where they are given."""
    return build_profile(DEFAULT_PROFILE, [Use("least-cost-scorer", parameters=msgspec.to_builtins(parameters))])


def llm_d_profile(name: str = "llm-d") -> Profile:
    """The weights of llm-d's Helm chart: queue 2, KV cache 2, prefix 3; ties at random, as there."""
    return build_profile(
        name,
        [
            Use("queue-scorer", 2.0),
            Use("kv-cache-utilization-scorer", 2.0),
            Use("prefix-cache-scorer", 3.0),
            Use("max-score-picker", parameters={"ties": "random"}),
        ],
    )
