"""Runs in a folder: each has a folder of its own, named by its id, with `summary.json` and what else there is of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from fairlead.bench.paths import user_path
from fairlead.bench.records.spool import is_being_written
from fairlead.bench.results.decoding import decode_summary, summary_from
from fairlead.bench.summary import RunSummary

SUMMARY, CONFIG, RECORDS = "summary.json", "config.yaml", "records"


def default_store() -> Path:
    """$XDG_DATA_HOME/fairlead/bench, or ~/.local/share/fairlead/bench."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "fairlead" / "bench"


def store_of(results: Path | None) -> Path:
    """The folder that a person names, or the usual one."""
    return user_path(results or default_store())


@dataclass(frozen=True, slots=True)
class Kept:
    """A run and where it is kept: its folder, or the one file that was given. `records`: None where there are none."""

    run: RunSummary
    path: Path
    records: Path | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A folder that should be a run's, and why it cannot be read."""

    path: Path
    why: str


class NotFound(LookupError):
    """No such run, or more than one."""


def kept_runs(store: Path) -> Iterator[Kept]:
    """Newest first; folders that hold no readable run are passed over."""
    return (entry for entry in entries(store) if isinstance(entry, Kept))


def entries(store: Path) -> Iterator[Kept | Broken]:
    """Every folder of the store that is, or was to be, of a run, newest first. One is read when it is asked for; the
    records of unfinished ones are not."""
    for folder in sorted(_folders(store), key=lambda f: f.name, reverse=True):
        try:
            yield load(folder, measured=False)
        except OSError as error:
            yield Broken(folder, f"{error.filename or folder}: {error.strerror or error}")
        except ValueError as error:
            yield Broken(folder, str(error))


def _folders(store: Path) -> list[Path]:
    """Those with a summary, or with what a run leaves before it has one."""
    if not store.is_dir():
        return []
    with os.scandir(store) as found:
        folders = [Path(entry.path) for entry in found if entry.is_dir() and not entry.name.startswith(".")]
    return [f for f in folders if any((f / name).exists() for name in (SUMMARY, CONFIG, RECORDS))]


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
    path = user_path(what)
    if path.exists():
        return load(path)
    if what == "last" and (folders := _folders(store)):
        return load(max(folders, key=lambda folder: folder.name))
    folder = _by_id(what, store)
    if folder is not None:
        return load(folder)
    named = next((kept for kept in kept_runs(store) if kept.run.name == what), None)
    if named is not None:
        return load(named.path)
    raise NotFound(f"{what!r} is neither a file or folder, nor a run in {store}; see `fairlead bench list`")


class Removed(NamedTuple):
    """What is gone, and how much there is free for it."""

    path: Path
    bytes: int


def remove(what: str, store: Path, records: bool = False) -> Removed:
    """A run of the store by its id or the unique beginning of one; only its `records` where that is asked for. Nothing
    outside of the store is ever removed, and no run whose process goes on. Raises NotFound and OSError."""
    folder = _by_id(what, store)
    if folder is None:
        raise NotFound(f"{what!r} begins the id of no run in {store}; see `fairlead bench list`")
    if any(is_being_written(spool) for spool in (folder / RECORDS).glob("*.spool")):
        raise NotFound(f"{folder.name} goes on: end it first")
    gone = folder / RECORDS if records else folder
    size = sum(file.lstat().st_size for file in gone.rglob("*") if file.is_file()) if gone.exists() else 0
    if gone.exists():
        shutil.rmtree(gone)
    return Removed(gone, size)


def _by_id(what: str, store: Path) -> Path | None:
    """None where no id begins so. Raises NotFound where several do."""
    found = [folder for folder in _folders(store) if what and folder.name.startswith(what)]
    exact = [folder for folder in found if folder.name == what]
    if len(found) > 1 and not exact:
        names = ", ".join(sorted(folder.name for folder in found)[:5])
        raise NotFound(f"{what!r} begins the ids of {len(found)} runs: {names}; give more of it")
    return next(iter(exact or found), None)


def load(path: Path, measured: bool = True) -> Kept:
    """Of a folder or a file. A folder without a summary is of a run that has not ended, or was killed: what there is of
    it, without `measured` no figures (they take reading all of its records); or it holds Benchmark Reports of one
    experiment. Raises OSError and ValueError."""
    folder = path if path.is_dir() else path.parent
    records = folder / RECORDS
    if path.is_dir() and not (path / SUMMARY).exists():
        if (path / CONFIG).is_file():
            from fairlead.bench.results.unfinished import unfinished

            return Kept(unfinished(path, measured), path, records if records.is_dir() else None)
        return Kept(_of_reports(path), path)
    file = path / SUMMARY if path.is_dir() else path
    mine = records if file.name == SUMMARY and records.is_dir() else None
    return Kept(read_summary(file), path, mine)


def _of_reports(folder: Path) -> RunSummary:
    from fairlead.bench.report.standard_reading import summary_of_all

    files = sorted(file for file in folder.iterdir() if file.suffix in (".yaml", ".yml", ".json") and file.is_file())
    reports = [found for file in files if (found := _report(file)) is not None]
    if not reports:
        raise ValueError(f"{folder} is no run: it has neither {SUMMARY} nor {CONFIG} nor a Benchmark Report")
    return summary_of_all(reports)


def _report(file: Path) -> RunSummary | None:
    """None for a file that is something else."""
    from fairlead.bench.report.standard_reading import is_standard, summary_of

    document = _document(file)
    if not is_standard(document):
        return None
    try:
        return summary_of(document)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def read_summary(file: Path) -> RunSummary:
    """`summary.json`, or a Benchmark Report v0.2 of any tool, in YAML or JSON. Raises OSError and ValueError."""
    if file.name == SUMMARY:
        try:
            return decode_summary(file.read_bytes())
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ValueError(f"{file} is not a summary of a run: {error}") from error
    if (report := _report(file)) is not None:
        return report
    try:
        return summary_from(_document(file))
    except ValueError as error:
        raise ValueError(f"{file} is neither a summary of a run nor a Benchmark Report v0.2: {error}") from error


def _document(file: Path) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(file.read_bytes(), Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
