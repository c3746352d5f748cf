"""Loads to begin with, by name. What a benchmark's YAML says takes their place, field by field."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from fairlead.bench.config.error import ConfigError


class Preset(msgspec.Struct, frozen=True):
    """`says` in one sentence what it is like; `document` is part of a benchmark, as YAML would have it."""

    says: str
    document: dict[str, Any]


def _spread(mean: int, cv: float, high: int) -> dict[str, Any]:
    return {"kind": "lognormal", "mean": mean, "cv": cv, "high": high}


def _steps(*rates: float, seconds: float = 60) -> dict[str, Any]:
    return {"kind": "open", "stages": [{"rate_per_s": rate, "seconds": seconds} for rate in rates]}


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        "Half a minute of 64-token prompts and 32-token answers at two requests a second: does it work at all?",
        {"content": {"kind": "synthetic", "prompt_tokens": 64, "output_tokens": 32}, "load": _steps(2, seconds=30)},
    ),
    "chat": Preset(
        "Conversations of about four turns behind a system prompt of 200 tokens, with pauses to read and think.",
        {
            "content": {
                "kind": "synthetic",
                "prompt_tokens": _spread(120, 1.0, 2048),
                "output_tokens": _spread(220, 0.8, 1024),
                "prefixes": [{"count": 4, "tokens": 200, "zipf": 1.0}],
                "conversations": {"turns": {"kind": "uniform", "low": 1, "high": 7}, "pause_s": 8},
            },
            "load": _steps(1, 2, 4),
            "objective": {"ttft_ms": 500, "itl_ms": 100},
        },
    ),
    "rag": Preset(
        "One question over about 4,000 tokens of found text, half of it from documents that many ask about.",
        {
            "content": {
                "kind": "synthetic",
                "prompt_tokens": _spread(2000, 0.5, 16_000),
                "output_tokens": _spread(150, 0.6, 1024),
                "prefixes": [{"count": 500, "tokens": _spread(2000, 0.3, 8000), "zipf": 1.0}],
            },
            "load": _steps(0.5, 1, 2),
            "objective": {"ttft_ms": 2000, "itl_ms": 100},
        },
    ),
    "code": Preset(
        "Completions in an editor: about 1,500 tokens of context, of which files are shared, and short quick answers.",
        {
            "content": {
                "kind": "synthetic",
                "prompt_tokens": _spread(500, 1.0, 8000),
                "output_tokens": _spread(40, 1.0, 512),
                "prefixes": [{"count": 200, "tokens": _spread(1000, 0.8, 8000), "zipf": 0.8}],
            },
            "load": {**_steps(2, 4, 8), "process": "gamma", "cv": 2.0},
            "objective": {"ttft_ms": 200, "itl_ms": 50},
        },
    ),
    "agent": Preset(
        "Agents that call about six tools each, whose definitions stand in front, and go on with their results.",
        {
            "content": {
                "kind": "synthetic",
                "prompt_tokens": _spread(300, 0.8, 4000),
                "output_tokens": _spread(120, 0.8, 1024),
                "tools": {
                    "calls": {"kind": "uniform", "low": 2, "high": 10},
                    "result_tokens": _spread(400, 1.0, 4000),
                    "seconds": 1.5,
                    "definition_tokens": 1500,
                },
            },
            "load": {"kind": "closed", "stages": [{"users": users, "seconds": 120} for users in (4, 16)]},
            "objective": {"ttft_ms": 1000, "itl_ms": 100},
        },
    ),
    "prefix": Preset(
        "A tree of shared beginnings, 20 products of 1,500 tokens with 10 tasks of 500 each: what does the cache save?",
        {
            "content": {
                "kind": "synthetic",
                "prompt_tokens": _spread(100, 0.5, 1024),
                "output_tokens": _spread(60, 0.5, 512),
                "prefixes": [{"count": 20, "tokens": 1500, "zipf": 1.0}, {"count": 10, "tokens": 500, "zipf": 0.5}],
            },
            "load": _steps(1, 2, 4),
            "objective": {"ttft_ms": 500},
        },
    ),
    "lora": Preset(
        "Eight adapters lora-0 … lora-7, some asked for far more often than others, and the base model for a fifth.",
        {
            "content": {
                "kind": "synthetic",
                "prompt_tokens": _spread(256, 0.8, 4096),
                "output_tokens": _spread(128, 0.8, 1024),
                "adapters": {"count": 8, "zipf": 1.0, "base_share": 0.2},
            },
            "load": _steps(1, 2, 4),
            "objective": {"ttft_ms": 500, "itl_ms": 100},
        },
    ),
    "autoscale": Preset(
        "A quiet start, a step to four times that, a peak of twelve, back, a ramp down, and quiet again: 20 minutes.",
        {
            "content": {
                "kind": "synthetic",
                "prompt_tokens": _spread(512, 1.0, 8192),
                "output_tokens": _spread(200, 0.8, 2048),
            },
            "load": {
                "kind": "open",
                "stages": [
                    {"name": "quiet", "rate_per_s": 1, "seconds": 120},
                    {"name": "step", "rate_per_s": 4, "seconds": 300},
                    {"name": "peak", "rate_per_s": 12, "seconds": 120},
                    {"name": "back", "rate_per_s": 4, "seconds": 180},
                    {"name": "ramp down", "rate_per_s": 4, "to_rate_per_s": 1, "seconds": 180},
                    {"name": "after", "rate_per_s": 1, "seconds": 300},
                ],
            },
            "objective": {"ttft_ms": 1000, "itl_ms": 100},
        },
    ),
}


def preset(name: str) -> dict[str, Any]:
    """Part of a benchmark, to be changed as one likes. Raises ConfigError for a name that there is none of."""
    if name not in PRESETS:
        raise ConfigError(f"preset is {name!r}, expected one of {', '.join(PRESETS)}")
    return copy.deepcopy(PRESETS[name].document)
