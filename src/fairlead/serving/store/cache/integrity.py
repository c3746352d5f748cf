"""Whether the files in the cache still are what came in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairlead.serving.store.cache.cache import FILES, ModelCache
from fairlead.serving.store.cache.record import ModelRecord
from fairlead.serving.store.sources.checksums import file_checksums


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problem` is empty for a model that is whole."""

    record: ModelRecord
    problem: str = ""


def check(cache: ModelCache, seen: Callable[[int], None] = lambda _: None) -> list[Verdict]:
    """Reads every model; one that is damaged is set aside, so that no pod gets it. Raises CacheError."""
    verdicts = []
    for cached in cache.models():
        problem = _problem(cache, cached.record, seen)
        if problem:
            cache.set_aside(cached.record.digest)
        verdicts.append(Verdict(cached.record, problem))
    return verdicts


def _problem(cache: ModelCache, record: ModelRecord, seen: Callable[[int], None]) -> str:
    folder = cache.places.entry(record.digest) / FILES
    expected = {file.name: file for file in record.files}
    for file in record.files:
        path = folder / file.name
        try:
            size = path.stat().st_size
            if size != file.size:
                return f"{file.name} has {size} bytes in place of {file.size}"
            sha256, _ = file_checksums(path, None, seen)
        except OSError as error:
            return f"{file.name} cannot be read: {error.strerror}"
        if sha256 != file.sha256:
            return f"{file.name} is not what came in: sha256 {sha256} in place of {file.sha256}"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    strangers = sorted(there - expected.keys())
    return f"{strangers[0]} is there and does not belong to it" if strangers else ""
