"""Runs in a folder: each has a folder of its own, named by its id, with `summary.json` and what else there is of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fairlead.bench.summary import RunSummary


def default_store() -> Path:
    """$XDG_DATA_HOME/fairlead/bench, or ~/.local/share/fairlead/bench."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "fairlead" / "bench"


@dataclass(frozen=True, slots=True)
class Kept:
    """A run and where it is kept: its folder, or the one file that was given. `records`: None where there are none."""

    run: RunSummary
    path: Path
    records: Path | None = None


class NotFound(LookupError):
    """No such run, or more than one."""


def kept_runs(store: Path) -> Iterator[Kept]:
    """Newest first; folders that hold no readable run are passed over, and the records of unfinished ones are not
    read."""
    if not store.is_dir():
        return
    for folder in sorted(store.iterdir(), key=lambda f: f.name, reverse=True):
        if _holds_run(folder):
            try:
                yield load(folder, measured=False)
            except (OSError, ValueError):
                continue


def matching(kept: Kept, model: str | None, labels: Mapping[str, str], name: str | None) -> bool:
    """Whether a run is of this model, has all these labels, and has `name` in its name or id."""
    config = kept.run.config
    mine = config.get("labels")
    mine = mine if isinstance(mine, dict) else {}
    return (
        (model is None or model in models(kept.run))
        and all(mine.get(key) == value for key, value in labels.items())
        and (name is None or name in kept.run.name or kept.run.id.startswith(name))
    )


def models(run: RunSummary) -> tuple[str, ...]:
    """The models that were asked."""
    targets = run.config.get("targets")
    return tuple(dict.fromkeys(str(t.get("model", "")) for t in targets)) if isinstance(targets, list | tuple) else ()


def find(what: str, store: Path) -> Kept:
    """A folder, a `summary.json`, a Benchmark Report, an id or the unique beginning of one, a name, or `last`. Raises
    NotFound, OSError, and ValueError for what cannot be read."""
    path = Path(what)
    if path.exists():
        return load(path)
    folders = sorted(f.name for f in store.iterdir() if _holds_run(f)) if store.is_dir() else []
    if what == "last" and folders:
        return load(store / folders[-1])
    found = [name for name in folders if name.startswith(what)]
    if len(found) == 1:
        return load(store / found[0])
    if len(found) > 1:
        raise NotFound(f"{what!r} begins the ids of {len(found)} runs: {', '.join(found[:5])}; give more of it")
    named = [kept for kept in kept_runs(store) if kept.run.name == what]
    if named:
        return named[0]
    raise NotFound(f"{what!r} is neither a file or folder, nor a run in {store}; see `fairlead bench list`")


def load(path: Path, measured: bool = True) -> Kept:
    """Of a folder or a file. Without `measured`, no figures of a run that is not finished: they take reading all of its
    records. Raises OSError and ValueError."""
    if path.is_dir() and is_unfinished(path):
        from fairlead.bench.results.unfinished import unfinished

        kept = path / "records"
        return Kept(unfinished(path, measured), path, kept if kept.is_dir() else None)
    file = path / "summary.json" if path.is_dir() else path
    records = file.parent / "records"
    mine = records if file.name == "summary.json" and records.is_dir() else None
    return Kept(read_summary(file), path, mine)


def is_unfinished(folder: Path) -> bool:
    """Whether a run began here that has not told its figures."""
    return (folder / "config.yaml").is_file() and not (folder / "summary.json").exists()


def _holds_run(folder: Path) -> bool:
    return (folder / "summary.json").is_file() or is_unfinished(folder)


def read_summary(file: Path) -> RunSummary:
    """`summary.json`, or a Benchmark Report v0.2 of any tool, in YAML or JSON. Raises OSError and ValueError."""
    data = file.read_bytes()
    if file.name == "summary.json":
        try:
            return msgspec.json.decode(data, type=RunSummary)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ValueError(f"{file} is not a summary of a run: {error}") from error
    import yaml

    from fairlead.bench.report.standard_reading import is_standard, summary_of

    try:
        document = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    try:
        if is_standard(document):
            return summary_of(document)
        return msgspec.convert(document, RunSummary, strict=False)
    except ValueError as error:
        raise ValueError(f"{file} is neither a summary of a run nor a Benchmark Report v0.2: {error}") from error
