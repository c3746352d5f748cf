"""Requests to replay: readers of public trace formats and of our own, and made workloads, as streams in order of time.

Streams have flat memory, a broken line is named by file and line number, and everything random comes from one seed.
"""

from fairlead.workload.arrivals import Arrivals, Diurnal, Stage
from fairlead.workload.chain import Chains
from fairlead.workload.formats import FORMATS
from fairlead.workload.lengths import Fixed, Lengths, LogNormal, Uniform
from fairlead.workload.read import ReadCounts, TraceFile, write_trace
from fairlead.workload.request import BrokenLine, Slo, TraceError, TraceRequest
from fairlead.workload.shape import shaped
from fairlead.workload.synthetic import Adapters, Conversations, Prefixes, Synthetic, generate

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
