"""Profiles that have a name: ours, which pools get that ask for none, and the one that llm-d's Helm chart installs."""

from __future__ import annotations

from typing import Any

from fairlead.gateway.pick.profile import Profile
from fairlead.gateway.pick.registry import Use, build_profile

DEFAULT_PROFILE = "fairlead"


def default_profile(**parameters: Any) -> Profile:
    """Least cost by predicted times; `parameters` are those of `least-cost-scorer`, in place of its own defaults."""
    return build_profile(DEFAULT_PROFILE, [Use("least-cost-scorer", parameters=parameters)])


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
