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
from fairlead.perf.step import LinearCost, StepCost, prefill_pairs

__all__ = [
    "Accelerator",
    "AcceleratorError",
    "LinearCost",
    "Price",
    "StepCost",
    "accelerator",
    "accelerators",
    "load_accelerators",
    "prefill_pairs",
]
