"""The whole of a benchmark, as one YAML document says it."""

from __future__ import annotations

from fairlead.bench.config.content import Content, SyntheticContent
from fairlead.bench.config.judging import ClientLimits, Cut, Objective
from fairlead.bench.config.load import Load
from fairlead.bench.config.part import Count, NotNegative, Part, Positive
from fairlead.bench.config.scaling import Scaling
from fairlead.bench.config.server import ServerMetrics
from fairlead.bench.config.target import Target


class Benchmark(Part, frozen=True):
    """`targets`, what is asked (`content`), when (`load`), and how it is judged. `workers` None: as many as this
    machine has cores to spare and the load needs."""

    targets: tuple[Target, ...]
    load: Load
    content: Content = SyntheticContent()
    name: str = ""
    description: str = ""
    labels: dict[str, str] = {}
    objective: Objective | None = None
    cut: Cut = Cut()
    client: ClientLimits = ClientLimits()
    server: ServerMetrics | None = None
    scaling: Scaling | None = None
    workers: Count | None = None
    seed: int = 0
    drain_s: NotNegative = 60.0
    timeout_s: Positive | None = None
