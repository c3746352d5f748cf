"""A load that takes another time, or is of another size, with the same shape."""

from __future__ import annotations

import copy
from typing import Any

from fairlead.bench.config.error import ConfigError

_TIMES = ("seconds", "ramp_s")
_SIZES = ("rate_per_s", "to_rate_per_s", "users")


def stretched(document: dict[str, Any], time: float = 1.0, size: float = 1.0) -> dict[str, Any]:
    """Part of a benchmark with a load in stages, as YAML would have it, or a trace: all its times are multiplied by
    `time`, all its rates and users by `size`. A stage told by requests alone stays as it is. Raises ConfigError for
    what is no such load, and for factors that are not above 0."""
    for name, factor in (("time", time), ("size", size)):
        if not 0 < factor < 1e6:
            raise ConfigError(f"a load cannot be {factor:g} times its {name}: give a number above 0")
    result = copy.deepcopy(document)
    load = result.get("load")
    if not isinstance(load, dict):
        raise ConfigError("there is no load whose time or size could be changed: give one, or a preset")
    if load.get("kind") == "trace" and size == 1.0:
        load["speed"] = load.get("speed", 1.0) / time
        return result
    stages = load.get("stages")
    if not isinstance(stages, list):
        raise ConfigError(f"load.kind is {load.get('kind')!r}, which has no stages whose time or size could be changed")
    for stage in stages:
        for fields, factor in ((_TIMES, time), (_SIZES, size)):
            for field in fields:
                if isinstance(stage.get(field), int | float):
                    stage[field] = _sized(field, stage[field] * factor)
    return result


def _sized(field: str, value: float) -> float | int:
    return max(1, round(value)) if field == "users" else float(f"{value:.9g}")
