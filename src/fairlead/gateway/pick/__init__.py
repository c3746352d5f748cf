"""The decision which endpoint gets a request: pure functions from a snapshot to a decision with its reasons."""

from fairlead.gateway.pick.candidate import Candidate, NoPick, Pick, Speed
from fairlead.gateway.pick.least_loaded import pick_least_loaded
from fairlead.gateway.pick.profile import (
    MAX_FALLBACKS,
    NamedFilter,
    NamedPicker,
    NamedScorer,
    Profile,
    decide,
)
from fairlead.gateway.pick.query import Context, Query, Step
from fairlead.gateway.pick.random_choice import pick_random
from fairlead.gateway.pick.round_robin import pick_round_robin

__all__ = [
    "MAX_FALLBACKS",
    "Candidate",
    "Context",
    "NamedFilter",
    "NamedPicker",
    "NamedScorer",
    "NoPick",
    "Pick",
    "Profile",
    "Query",
    "Speed",
    "Step",
    "decide",
    "pick_least_loaded",
    "pick_random",
    "pick_round_robin",
]
