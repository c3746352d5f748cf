"""Facts and formulas of inference performance: what accelerators can do, what models ask of them, how long steps take.

Everything here is a pure function or a typed table, imports nothing of Fairlead, and names the source of its formula.
"""

from fairlead.perf.accelerators import (
    Accelerator,
    AcceleratorError,
    Price,
    accelerator,
    accelerators,
    load_accelerators,
)
from fairlead.perf.footprint import Footprint
from fairlead.perf.measured import MeasuredCost
from fairlead.perf.model_config import model_geometry
from fairlead.perf.models import Attention, FeedForward, ModelGeometry
from fairlead.perf.parallelism import Parallelism
from fairlead.perf.precision import ModelConfigError, Precision, precision
from fairlead.perf.queueing import BatchQueue, QueueState, max_arrivals_per_s, queue_state, replicas_for
from fairlead.perf.roofline import Efficiencies, Roofline
from fairlead.perf.steady import Limits, SteadyState, Workload, steady_state
from fairlead.perf.step import LinearCost, StepCost, prefill_pairs

__all__ = [
    "Accelerator",
    "AcceleratorError",
    "Attention",
    "BatchQueue",
    "Efficiencies",
    "FeedForward",
    "Footprint",
    "Limits",
    "LinearCost",
    "MeasuredCost",
    "ModelConfigError",
    "ModelGeometry",
    "Parallelism",
    "Precision",
    "Price",
    "QueueState",
    "Roofline",
    "SteadyState",
    "StepCost",
    "Workload",
    "accelerator",
    "accelerators",
    "load_accelerators",
    "max_arrivals_per_s",
    "model_geometry",
    "precision",
    "prefill_pairs",
    "queue_state",
    "replicas_for",
    "steady_state",
]
