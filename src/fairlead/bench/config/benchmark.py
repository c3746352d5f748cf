"""The whole of a benchmark, as one YAML document says it."""

from __future__ import annotations

from fairlead.bench.config.content import Content, SyntheticContent
from fairlead.bench.config.judging import ClientLimits, Cut, Objective
from fairlead.bench.config.load import Load
from fairlead.bench.config.part import Count, NotNegative, Part, Positive
from fairlead.bench.config.scaling import Scaling
from fairlead.bench.config.target import Target


class ServerMetrics(Part, frozen=True):
    """Pages to read during the run: of engines (by the names that `fairlead engines` knows; "auto" tells by the page)
    and of the gateway. `pool` takes the endpoints of an InferencePool from the cluster, `namespace/name`."""

    engines: tuple[str, ...] = ()
    engine: str = "auto"
    gateway: str | None = None
    pool: str | None = None
    every_s: Positive = 1.0
    accelerator: str | None = None
    accelerators: NotNegative = 0.0
    price_per_hour: NotNegative | None = None


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
