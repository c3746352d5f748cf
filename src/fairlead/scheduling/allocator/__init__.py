"""Which devices a pod's claims get on a node: dynamic resource allocation as a pure function.

Slices, classes, claims and what is in use go in; allocations come out, or the first thing that stands in the way.
"""

from fairlead.scheduling.allocator.allocate import DEFAULT_BUDGET, allocate
from fairlead.scheduling.allocator.allocate_best import allocate_best
from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.allocator.devices import DeviceId, PoolId, prepare_slice
from fairlead.scheduling.allocator.errors import AllocationError, Fault
from fairlead.scheduling.allocator.features import EVERY_FEATURE, Features
from fairlead.scheduling.allocator.held import NOTHING_HELD, Given, Held
from fairlead.scheduling.allocator.in_use import NOTHING_IN_USE, InUse, tally_allocations
from fairlead.scheduling.allocator.nodes import NodePlace
from fairlead.scheduling.allocator.pools import Catalogue, NodePools, build_catalogue
from fairlead.scheduling.allocator.requests import Plan, plan_claims
from fairlead.scheduling.allocator.verdict import Allocated, Decision, DoesNotFit, Failed, Obstacle, Pick, Reason

__all__ = [
    "DEFAULT_BUDGET",
    "EVERY_FEATURE",
    "NOTHING_HELD",
    "NOTHING_IN_USE",
    "Allocated",
    "AllocationError",
    "Catalogue",
    "Cost",
    "Decision",
    "DeviceId",
    "DoesNotFit",
    "Failed",
    "Fault",
    "Features",
    "Given",
    "Held",
    "InUse",
    "NodePlace",
    "NodePools",
    "Obstacle",
    "Pick",
    "Plan",
    "PoolId",
    "Reason",
    "allocate",
    "allocate_best",
    "build_catalogue",
    "plan_claims",
    "prepare_slice",
    "tally_allocations",
]
