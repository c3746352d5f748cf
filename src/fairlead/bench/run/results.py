"""The folder of a run: `config.yaml`, `summary.json`, `records/`, reports. What cannot be written is said, and costs no
figures."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fairlead.bench.config import Benchmark
from fairlead.bench.config.shown import shown_config
from fairlead.bench.summary import RunSummary


def begin_folder(folder: Path, config: Benchmark) -> None:
    """Make the folder and say in it what is going to run. Raises OSError: better before the run than after it."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(shown_config(config), sort_keys=False, allow_unicode=True)
    write_whole(folder / "config.yaml", text.encode())


def write_summary(folder: Path, summary: RunSummary) -> None:
    """Raises OSError."""
    write_whole(folder / "summary.json", msgspec.json.format(msgspec.json.encode(summary)))


def write_whole(path: Path, data: bytes) -> None:
    """All of it, or nothing under that name. Raises OSError."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
