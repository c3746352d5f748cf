"""What a configuration's fields have to do with each other, and with the files that they name."""

from __future__ import annotations

import math
from pathlib import Path
from urllib.parse import urlsplit

from fairlead.bench.config.benchmark import Benchmark
from fairlead.bench.config.content import Content, FileContent, SyntheticContent, TraceContent
from fairlead.bench.config.error import ConfigError
from fairlead.bench.config.load import ClosedLoop, Load, OpenLoop, Search, TracedTimes
from fairlead.bench.config.scaling import check_scaling
from fairlead.bench.config.server_check import check_server
from fairlead.bench.paths import user_path
from fairlead.workload import FORMATS


def check(config: Benchmark, files: bool = True) -> None:
    """Raises ConfigError for the first thing that is wrong. `files`: whether those that it names are
    to be here, and variables of the environment too."""
    _targets(config)
    _load(config.load, config.content, config.workers)
    _content(config.content)
    if files:
        _files(config)
    if config.scaling is not None:
        check_scaling(config.scaling)
    if config.server is not None:
        check_server(config.server, config.targets, files)
    objective = config.objective
    bounds = () if objective is None else (objective.ttft_ms, objective.itl_ms, objective.tpot_ms, objective.e2e_ms)
    if objective is not None and all(bound is None for bound in bounds):
        raise ConfigError("objective bounds nothing: give one of ttft_ms, itl_ms, tpot_ms and e2e_ms")
    if isinstance(config.load, Search) and objective is None:
        raise ConfigError("load.kind is search, and there is no objective: give one, e.g. objective: {ttft_ms: 300}")


def _targets(config: Benchmark) -> None:
    if not config.targets:
        raise ConfigError("targets is empty: give at least one, e.g. {url: http://127.0.0.1:8000, model: m}")
    for number, target in enumerate(config.targets):
        name = f"targets[{number}]"
        try:
            parts = urlsplit(target.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigError(f"{name}.url is {target.url!r}: write http://HOST:PORT or https://HOST:PORT")
        if target.api == "raw" and target.raw is None:
            raise ConfigError(f"{name}.api is raw, and there is no {name}.raw: give its body, with ${{prompt}} in it")
        if target.key_env is not None and target.key_file is not None:
            raise ConfigError(f"{name} has both key_env and key_file: give one of them")


def _files(config: Benchmark) -> None:
    for number, target in enumerate(config.targets):
        for field, path in (("key_file", target.key_file), ("tls.ca_file", target.tls.ca_file)):
            if path is not None and not Path(path).is_file():
                raise ConfigError(f"targets[{number}].{field} is {path!r}: there is no such file")
    content = config.content
    if isinstance(content, TraceContent | FileContent) and not user_path(content.path).is_file():
        raise ConfigError(f"content.path is {content.path!r}: there is no such file")


def _load(load: Load, content: Content, workers: int | None) -> None:
    if isinstance(load, OpenLoop | ClosedLoop):
        if not load.stages:
            raise ConfigError("load.stages is empty: give at least one, e.g. {rate_per_s: 10, seconds: 30}")
        ends = [(stage.seconds, stage.requests) for stage in load.stages]
        for number, (seconds, requests) in enumerate(ends):
            if seconds is None and requests is None:
                raise ConfigError(f"load.stages[{number}] has no end: give seconds or requests")
        if isinstance(load, OpenLoop) and load.max_in_flight is not None and (workers or 1) > load.max_in_flight:
            raise ConfigError(
                f"workers is {workers} and load.max_in_flight {load.max_in_flight}: each worker needs a part of it, "
                "give fewer workers, or more in flight"
            )
    elif isinstance(load, TracedTimes) and not isinstance(content, TraceContent):
        raise ConfigError(
            "load.kind is trace, and content.kind is not: give content: {kind: trace, path: …}, or another load.kind"
        )
    elif isinstance(load, Search):
        if load.high is not None and load.high < load.low:
            raise ConfigError(f"load.high is {load.high:g} and load.low {load.low:g}: high must not be the lower")
        if load.max_step_s < load.step_s:
            raise ConfigError(
                f"load.max_step_s is {load.max_step_s:g} and load.step_s {load.step_s:g}: it must not be the lower"
            )


def _content(content: Content) -> None:
    if isinstance(content, SyntheticContent) and content.adapters is not None and content.adapter_weights:
        raise ConfigError("content has both adapters and adapter_weights: give one of them")
    if isinstance(content, TraceContent):
        if content.format is not None and content.format not in FORMATS:
            raise ConfigError(f"content.format is {content.format!r}, expected one of {', '.join(FORMATS)}")
        if content.last_s is not None and content.last_s <= content.first_s:
            raise ConfigError(
                f"content.last_s is {content.last_s:g} and content.first_s {content.first_s:g}: the last must be later"
            )
    for name, weight in content.adapter_weights.items():
        if not math.isfinite(weight):
            raise ConfigError(f"content.adapter_weights.{name} is {weight}, expected a number above 0")
