"""Scenarios from a file and from options that change single fields of it, as one checked configuration."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec

from fairlead.simulator.fleet.config import Scenario, ScenarioError

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "trace": ("trace", "path"),
    "format": ("trace", "format"),
    "block-tokens": ("trace", "block_tokens"),
    "skip-broken": ("trace", "skip_broken"),
    "sort": ("trace", "sort"),
    "start": ("trace", "start_s"),
    "duration": ("trace", "duration_s"),
    "speed": ("trace", "speed"),
    "rate": ("trace", "rate_per_s"),
    "limit": ("trace", "limit"),
    "replicas": ("pools", "replicas"),
    "accelerator": ("pools", "accelerator"),
    "model": ("pools", "model"),
    "profile": ("pools", "profile"),
    "tensor-parallel": ("pools", "tensor_parallel"),
    "usd-per-h": ("pools", "usd_per_h"),
    "policy": ("gateway", "policy"),
    "slo-ttft-ms": ("slo", "ttft_s"),
    "slo-itl-ms": ("slo", "itl_s"),
    "slo-e2e-ms": ("slo", "e2e_s"),
    "name": ("name",),
    "seed": ("seed",),
}
"""Option -> the field of the scenario it sets. Options that end in `-ms` are milliseconds of a field in seconds."""


def read_scenario(path: Path) -> dict[str, Any]:
    """The content of a scenario file (YAML or JSON), not yet checked. Raises ScenarioError."""
    try:
        content = msgspec.yaml.decode(path.read_bytes())
    except OSError as error:
        raise ScenarioError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ScenarioError(f"{path}: a scenario is a mapping with {', '.join(Scenario.__struct_fields__)}")
    return content


def scenario_with(content: Mapping[str, Any], options: Mapping[str, Any], origin: str = "scenario") -> Scenario:
    """The scenario with these options; those that are None change nothing. Raises ScenarioError."""
    changed = deepcopy(dict(content))
    for option, value in options.items():
        if value is not None:
            _set(changed, option, value / 1e3 if option.endswith("-ms") else value)
    if "trace" not in changed and "synthetic" not in changed:
        raise ScenarioError("nothing arrives: give --trace FILE, or a scenario file with `trace` or `synthetic`")
    try:
        return msgspec.convert(changed, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{origin}: {error}") from error


def _set(content: dict[str, Any], option: str, value: Any) -> None:
    *where, field = OPTIONS[option]
    part: Any = content
    if where == ["pools"]:
        pools = content.setdefault("pools", [{}])
        if not isinstance(pools, list) or len(pools) != 1:
            raise ScenarioError(f"--{option} fits a scenario with one pool; change its pools in the file")
        part = pools[0]
    elif where:
        part = content.setdefault(where[0], {})
        if where == ["trace"] and option != "trace" and "path" not in part:
            raise ScenarioError(f"--{option} fits a trace; the scenario has none, so give --trace FILE")
        if option == "trace":
            content.pop("synthetic", None)
    if not isinstance(part, dict):
        raise ScenarioError(f"{'.'.join(where)} is {part!r:.60}: it must be a mapping")
    part[field] = value
