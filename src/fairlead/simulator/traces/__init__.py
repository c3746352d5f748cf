"""Requests to replay: readers of public trace formats and of our own, and made workloads, as streams in order of time.

Streams have flat memory, a broken line is named by file and line number, and everything random comes from one seed.
"""

from fairlead.simulator.traces.arrivals import Arrivals, Diurnal, Stage
from fairlead.simulator.traces.chain import Chains
from fairlead.simulator.traces.formats import FORMATS
from fairlead.simulator.traces.lengths import Fixed, Lengths, LogNormal, Uniform
from fairlead.simulator.traces.read import ReadCounts, TraceFile, write_trace
from fairlead.simulator.traces.request import BrokenLine, Slo, TraceError, TraceRequest
from fairlead.simulator.traces.shape import shaped
from fairlead.simulator.traces.synthetic import Adapters, Conversations, Prefixes, Synthetic, generate

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
