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
from fairlead.perf.model_config import model_geometry
from fairlead.perf.models import Attention, FeedForward, ModelGeometry
from fairlead.perf.precision import ModelConfigError, Precision, precision
from fairlead.perf.step import LinearCost, StepCost, prefill_pairs

__all__ = [
    "Accelerator",
    "AcceleratorError",
    "Attention",
    "FeedForward",
    "LinearCost",
    "ModelConfigError",
    "ModelGeometry",
    "Precision",
    "Price",
    "StepCost",
    "accelerator",
    "accelerators",
    "load_accelerators",
    "model_geometry",
    "precision",
    "prefill_pairs",
]
