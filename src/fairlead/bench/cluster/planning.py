"""What a benchmark comes to before anything is made for it: its configuration read, its workers counted. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.api.benchmark import MAX_WORKERS, Benchmark
from fairlead.api.overlay import OverlayError
from fairlead.bench.cluster.render import MAX_CONFIG_BYTES, Plan, job
from fairlead.bench.cluster.status import Problem

MOST_BY_LOAD = 32
"""Workers that are asked for by nobody; more are the person's to want."""


def config_of(config: dict[str, Any], workers: int | None) -> dict[str, Any]:
    """What is read: with the number of workers that the benchmark says, where it says one."""
    return config if workers is None else {**config, "workers": workers}


def plan_of(benchmark: Benchmark, image: str) -> Plan | Problem:
    """`image`: the controller's own."""
    # Half a second to import, for a controller that may never have a benchmark.
    from fairlead.bench.config.error import ConfigError
    from fairlead.bench.config.read import read_config
    from fairlead.bench.run.workers import workers_for

    spec = benchmark.spec
    try:
        config = read_config(config_of(spec.config, spec.workers), files=False)
    except ConfigError as error:
        return Problem("ConfigInvalid", f"spec.config: {error}")
    encoded = msgspec.json.encode(spec.config, order="sorted")
    if len(encoded) > MAX_CONFIG_BYTES:
        remedy = "put what is long (a body, a list of prompts) into a file, on a volume of spec.template"
        return Problem("ConfigInvalid", f"spec.config has {len(encoded):,} bytes, above {MAX_CONFIG_BYTES:,}: {remedy}")
    workers = spec.workers or workers_for(config, MOST_BY_LOAD + 1)
    if workers > MAX_WORKERS:
        return Problem("ConfigInvalid", f"spec.config.workers is {workers}, above {MAX_WORKERS}: give fewer")
    plan = Plan(encoded, workers, spec.image or image)
    try:
        job(benchmark, plan)
    except OverlayError as error:
        return Problem("TemplateInvalid", f"spec.{error}")
    return plan
