"""The decision which endpoint gets a request: pure functions from a snapshot to a decision with its reasons."""

from fairlead.gateway.pick.candidate import Candidate, NoPick, Pick
from fairlead.gateway.pick.least_loaded import MAX_FALLBACKS, pick_least_loaded
from fairlead.gateway.pick.random_choice import pick_random
from fairlead.gateway.pick.round_robin import pick_round_robin

__all__ = ["MAX_FALLBACKS", "Candidate", "NoPick", "Pick", "pick_least_loaded", "pick_random", "pick_round_robin"]
