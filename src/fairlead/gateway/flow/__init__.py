"""Flow control: which request of a pool goes to its engines now, which waits and which is refused, fairly and bounded.

The decisions are pure (`FlowControl`, the detectors); `Gate` acts on them on the event loop. `scale_from_zero`, which
talks to Kubernetes and is imported by its own name, asks for a replica where a pool has none.
"""

from fairlead.gateway.flow.control import BandState, Budget, FlowControl, FlowState
from fairlead.gateway.flow.gate import Gate, Gates, Waiting, Waker
from fairlead.gateway.flow.item import Item, Outcome, Reason, Rejection, Verdict
from fairlead.gateway.flow.meter import FlowMeter
from fairlead.gateway.flow.saturation import (
    NO_ENDPOINTS,
    Detector,
    Saturation,
    concurrency_detector,
    headroom_detector,
    utilization_detector,
)
from fairlead.gateway.flow.settings import Fairness, FlowSettings, Holdback, HoldbackDomain, Limits, Order
from fairlead.gateway.pick.room import Headroom

__all__ = [
    "NO_ENDPOINTS",
    "BandState",
    "Budget",
    "Detector",
    "Fairness",
    "FlowControl",
    "FlowMeter",
    "FlowSettings",
    "FlowState",
    "Gate",
    "Gates",
    "Headroom",
    "Holdback",
    "HoldbackDomain",
    "Item",
    "Limits",
    "Order",
    "Outcome",
    "Reason",
    "Rejection",
    "Saturation",
    "Verdict",
    "Waiting",
    "Waker",
    "concurrency_detector",
    "headroom_detector",
    "utilization_detector",
]
