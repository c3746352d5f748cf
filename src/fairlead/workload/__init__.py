"""Requests to replay: readers of public trace formats and of our own, and made workloads, as streams in order of time.

Streams have flat memory, a broken line is named by file and line number, and everything random comes from one seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fairlead.workload.arrivals import Arrivals, Diurnal, Stage
from fairlead.workload.formats import FORMATS
from fairlead.workload.lengths import Fixed, Lengths, LogNormal, Uniform
from fairlead.workload.read import ReadCounts, TraceFile, write_trace
from fairlead.workload.request import BrokenLine, Slo, TraceError, TraceRequest
from fairlead.workload.shape import shaped
from fairlead.workload.synthetic import Adapters, Conversations, Prefixes, Synthetic, generate

if TYPE_CHECKING:
    from fairlead.workload.chain import Chains

__all__ = [
    "FORMATS",
    "Adapters",
    "Arrivals",
    "BrokenLine",
    "Chains",
    "Conversations",
    "Diurnal",
    "Fixed",
    "Lengths",
    "LogNormal",
    "Prefixes",
    "ReadCounts",
    "Slo",
    "Stage",
    "Synthetic",
    "TraceError",
    "TraceFile",
    "TraceRequest",
    "Uniform",
    "generate",
    "shaped",
    "write_trace",
]


def __getattr__(name: str) -> Any:
    """Chains need numpy, which takes longer to import than all the rest; readers of traces do without it."""
    if name == "Chains":
        from fairlead.workload.chain import Chains

        return Chains
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
