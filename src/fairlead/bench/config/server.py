"""What is looked at beside the load: servers' own pages, and what their accelerators cost."""

from __future__ import annotations

from fairlead.bench.config.part import NotNegative, Part, Positive
from fairlead.bench.config.target import Tls


class ServerMetrics(Part, frozen=True):
    """Pages to read during the run.

    `engines`: addresses (`host:port`, or the whole URL of a page); without them, and without a `pool`, the targets are
    asked. `engine` names their runtime (`fairlead engines`); "auto" tells by the page. `pool` takes the endpoints of an
    InferencePool from the cluster, `namespace/name`, as they come and go. `gateway` is the page of an endpoint picker,
    `power` are pages of exporters of power or energy, of which `power_labels` chooses series: label -> value, or values
    of which one must fit; `*` stands for any text. `key_env` or `key_file` hold a token for all pages.

    `accelerators` is how many there are in all, `accelerators_per_engine` how many each engine has that is seen;
    `price_per_hour` is of one, in any currency; without it the dated list prices of `accelerator` count, in US dollars.
    `input_ratio`: how many input tokens cost as much as one of output.
    """

    engines: tuple[str, ...] = ()
    engine: str = "auto"
    gateway: str | None = None
    pool: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    power: tuple[str, ...] = ()
    power_labels: dict[str, str | tuple[str, ...]] = {}
    every_s: Positive = 1.0
    key_env: str | None = None
    key_file: str | None = None
    tls: Tls = Tls()
    accelerator: str | None = None
    accelerators: NotNegative | None = None
    accelerators_per_engine: Positive | None = None
    price_per_hour: NotNegative | None = None
    input_ratio: Positive = 4.0
