"""The configuration of a benchmark: what YAML says, as frozen structs. Unknown fields are refused by name."""

from fairlead.bench.config.benchmark import Benchmark
from fairlead.bench.config.content import Content, DatasetContent, FileContent, SyntheticContent, ToolUse, TraceContent
from fairlead.bench.config.judging import ClientLimits, Cut, Objective
from fairlead.bench.config.load import ClosedLoop, ClosedStage, Load, OpenLoop, OpenStage, Search, TracedTimes
from fairlead.bench.config.scaling import Scaling
from fairlead.bench.config.server import ServerMetrics
from fairlead.bench.config.target import Api, RawRequest, Target, Tensor, Tls, Tokenizer

__all__ = [
    "Api",
    "Benchmark",
    "ClientLimits",
    "ClosedLoop",
    "ClosedStage",
    "Content",
    "Cut",
    "DatasetContent",
    "FileContent",
    "Load",
    "Objective",
    "OpenLoop",
    "OpenStage",
    "RawRequest",
    "Scaling",
    "Search",
    "ServerMetrics",
    "SyntheticContent",
    "Target",
    "Tensor",
    "Tls",
    "Tokenizer",
    "ToolUse",
    "TraceContent",
    "TracedTimes",
]
