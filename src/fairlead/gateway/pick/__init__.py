"""The decision which endpoint gets a request: pure functions from a snapshot to a decision with its reasons."""

from fairlead.gateway.pick.candidate import Candidate, NoPick, Pick, Speed
from fairlead.gateway.pick.defaults import DEFAULT_PROFILE, default_profile, llm_d_profile
from fairlead.gateway.pick.explain import DecisionRecord, Explanation, explain
from fairlead.gateway.pick.least_loaded import pick_least_loaded
from fairlead.gateway.pick.profile import (
    MAX_FALLBACKS,
    NamedFilter,
    NamedPicker,
    NamedScorer,
    Profile,
    Use,
    decide,
)
from fairlead.gateway.pick.query import Context, Query, Step
from fairlead.gateway.pick.random_choice import pick_random
from fairlead.gateway.pick.registry import PLUGIN_TYPES, BadPlugin, build_profile
from fairlead.gateway.pick.round_robin import pick_round_robin
from fairlead.gateway.pick.sessions import SessionTable

__all__ = [
    "DEFAULT_PROFILE",
    "MAX_FALLBACKS",
    "PLUGIN_TYPES",
    "BadPlugin",
    "Candidate",
    "Context",
    "DecisionRecord",
    "Explanation",
    "NamedFilter",
    "NamedPicker",
    "NamedScorer",
    "NoPick",
    "Pick",
    "Profile",
    "Query",
    "SessionTable",
    "Speed",
    "Step",
    "Use",
    "build_profile",
    "decide",
    "default_profile",
    "explain",
    "llm_d_profile",
    "pick_least_loaded",
    "pick_random",
    "pick_round_robin",
]
