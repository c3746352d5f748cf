"""How replicas leave without losing a request: when one may be stopped, and the watch that asks engines what they still
have."""

from fairlead.serving.drain.engine_watch import EngineWatch, Target
from fairlead.serving.drain.limits import DrainLimits, drain_limits
from fairlead.serving.drain.sight import with_views
from fairlead.serving.drain.step import Done, Waiting, drain_step

__all__ = [
    "Done",
    "DrainLimits",
    "EngineWatch",
    "Target",
    "Waiting",
    "drain_limits",
    "drain_step",
    "with_views",
]
