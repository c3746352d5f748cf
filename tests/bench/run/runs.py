"""Small runs for tests: limits wide enough for a machine that is busy with other tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from fairlead.bench.config import Benchmark

WIDE = {"lag_ms": 60_000, "cpu_share": 1.0, "loop_lag_ms": 60_000, "rate_error": 1.0}
"""Not what is tested here, and not what a shared machine can keep."""


def benchmark(url: str, load: dict[str, Any], **more: Any) -> Benchmark:
    """Against one target that streams, with short prompts."""
    target = {"url": url, "model": "m", **more.pop("target", {})}
    content = {
        "kind": "synthetic",
        "prompt_tokens": {"kind": "fixed", "tokens": 16},
        "output_tokens": {"kind": "fixed", "tokens": 3},
    }
    document = {"targets": [target], "load": load, "content": content, "client": WIDE, "drain_s": 5.0, **more}
    return msgspec.convert(document, Benchmark)


def steady(rate_per_s: float, seconds: float) -> dict[str, Any]:
    """One stage, evenly."""
    return {"kind": "open", "process": "constant", "stages": [{"rate_per_s": rate_per_s, "seconds": seconds}]}


def records_of(folder: Path) -> list[Any]:
    """What was kept, whole."""
    from fairlead.bench.records import read_records

    return list(read_records(folder / "records"))
