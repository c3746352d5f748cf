"""What is scaled during the run, and is to be watched: workloads with replicas in a cluster."""

from __future__ import annotations

from fairlead.bench.config.error import ConfigError
from fairlead.bench.config.part import NotNegative, Part, Positive


class Scaling(Part, frozen=True):
    """`watch`: workloads as `Kind/namespace/name`, or `Kind/name` in the namespace of the kubeconfig's context; any
    kind that has a scale. `kubeconfig` and `context` as kubectl has them (None: as kubectl finds them by itself).

    `accelerators_per_replica` None: as many as its pods ask for, by extended resources and by claims.
    `price_per_hour`: of one accelerator, in any currency (None: that of `server`). `turn_s`: a step the other way
    within so long after the one before is a turn. `every_s`: how often the API server is asked whether it still
    answers."""

    watch: tuple[str, ...]
    kubeconfig: str | None = None
    context: str | None = None
    accelerators_per_replica: NotNegative | None = None
    price_per_hour: NotNegative | None = None
    turn_s: Positive = 300.0
    every_s: Positive = 1.0


def check_scaling(scaling: Scaling) -> None:
    """Raises ConfigError for the first thing that is wrong."""
    if not scaling.watch:
        raise ConfigError("scaling.watch is empty: name what is scaled, e.g. [Deployment/default/vllm]")
    for number, text in enumerate(scaling.watch):
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(part.strip() == part and part for part in parts):
            raise ConfigError(
                f"scaling.watch[{number}] is {text!r}: write Kind/namespace/name, or Kind/name in the namespace of the "
                "kubeconfig's context"
            )
        if text in scaling.watch[:number]:
            raise ConfigError(f"scaling.watch[{number}] is {text!r}, which is there already: name each workload once")
