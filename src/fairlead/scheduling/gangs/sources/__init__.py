"""Where gangs are described: one module per source, each from objects and pods to a plan of groups."""

from fairlead.scheduling.gangs.sources.reference import RAW_RESOURCES, GangContext, GangRef, Member, UnreadableError

__all__ = ["RAW_RESOURCES", "GangContext", "GangRef", "Member", "UnreadableError"]
