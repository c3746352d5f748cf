"""The models of one server: found on disk, loaded in threads, replaced and removed while requests go on.

A reload puts the new graph in the place of the old one only when it has loaded; requests accepted by the old one are
answered by it.

Protocol: model repository extension of the Open Inference Protocol (states READY, LOADING, UNAVAILABLE).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.runtimes.onnx.batching import Batcher
from fairlead.runtimes.onnx.errors import InferenceError, invalid, not_ready, shortened, unknown
from fairlead.runtimes.onnx.layout import LayoutError, ModelFiles, find_models, version_order
from fairlead.runtimes.onnx.metrics import RuntimeMetrics
from fairlead.runtimes.onnx.model import LoadError, Model
from fairlead.runtimes.onnx.settings import ModelSettings, override, settings_of

_UNLOADED = "unloaded"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded version of a model, ready for requests."""

    name: str
    version: str
    model: Model
    batcher: Batcher


@dataclass(slots=True)
class _Version:
    """`served` is None unless READY (or loading anew)."""

    state: str
    reason: str = ""
    served: Served | None = None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A line of the repository's index."""

    name: str
    version: str
    state: str
    reason: str


class Repository:
    """Use it in one event loop; only reading files and building sessions happens in threads."""

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        defaults: ModelSettings,
        metrics: RuntimeMetrics,
        clock: Clock = SYSTEM,
        *,
        lazy: bool = False,
    ) -> None:
        """`names` are what clients call the models: names of models at `root`, or further names of its only one."""
        self._root = root
        self._names = tuple(dict.fromkeys(names))
        self._defaults = defaults
        self._metrics = metrics
        self._clock = clock
        self._lazy = lazy
        # model -> version -> what is known of it
        self._models: dict[str, dict[str, _Version]] = {}
        self._aliases: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loads: dict[str, int] = {}
        self._loaders = ThreadPoolExecutor(2, "onnx-load")
        self._finishing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Find the models and load them, unless lazy. Raises LayoutError, and LoadError for one that was named."""
        found = await self._scan()
        self._aliases = _aliases(self._root, self._names, found)
        for name, files in found.items():
            self._models[name] = {version: _Version("UNAVAILABLE", "not loaded yet") for version in files.versions}
        if self._lazy:
            return
        results = await asyncio.gather(*(self.load(name) for name in found), return_exceptions=True)
        required = {self._aliases.get(name, name) for name in self._names}
        for name, result in zip(found, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, InferenceError):
                raise result
            if name in required and not self._ready_versions(name):
                raise LoadError(str(result))

    def names(self) -> list[str]:
        """Every name that requests may give."""
        return [*self._models, *self._aliases]

    def versions(self, name: str) -> list[str]:
        """The loaded versions of a model, oldest first."""
        return self._ready_versions(self._aliases.get(name, name))

    def ready(self, name: str, version: str = "") -> bool:
        """Raises InferenceError 404."""
        name, _ = self._known(name, version)
        ready = self._ready_versions(name)
        return version in ready if version else bool(ready)

    async def get(self, name: str, version: str = "") -> Served:
        """The version asked for, or the newest that is loaded. Raises InferenceError: 404, 503."""
        own_name, versions = self._known(name, version)
        served = self._newest(own_name, version)
        if served is None and self._lazy and all(v.reason != _UNLOADED for v in versions):
            try:
                await self.load(own_name, only_missing=True)
            except InferenceError as error:
                if not self._ready_versions(own_name):
                    raise not_ready(f"model '{shortened(name)}' is not ready: {error.message}") from error
            served = self._newest(own_name, version)
        if served is None:
            entry = versions[-1]
            raise not_ready(f"model '{shortened(name)}' is not ready: {entry.state.lower()}, {entry.reason}")
        return served

    async def index(self, *, only_ready: bool = False) -> list[IndexEntry]:
        """Everything that is loaded, failed or could be loaded."""
        try:
            found = await self._scan()
        except LayoutError:
            found = {}
        entries = {
            (name, version): IndexEntry(name, version, state.state, state.reason)
            for name, versions in self._models.items()
            for version, state in versions.items()
        }
        for name, files in found.items():
            for version in files.versions:
                entries.setdefault((name, version), IndexEntry(name, version, "UNAVAILABLE", "not loaded yet"))
        return [e for e in entries.values() if e.state == "READY" or not only_ready]

    async def load(self, name: str, config: str | None = None, *, only_missing: bool = False) -> None:
        """Load or reload every version of a model that is on disk; versions that are gone from disk are unloaded.

        `config` is a JSON object of settings in place of the model's file. Raises InferenceError: 404 for a model that
        is not there, 400 for one that cannot be loaded; what was loaded of it then goes on.
        """
        name = self._aliases.get(name, name)
        if name not in self._models:
            await self._files(name)
        loads_before = self._loads.get(name, 0)
        async with self._locks.setdefault(name, asyncio.Lock()):
            # Requests that waited here together for a lazy model share one attempt, good or bad.
            if only_missing and self._loads.get(name, 0) != loads_before:
                return
            files = await self._files(name)
            settings = await asyncio.to_thread(self._settings, files, config)
            self._loads[name] = self._loads.get(name, 0) + 1
            versions = self._models.setdefault(name, {})
            for version in [v for v in versions if v not in files.versions]:
                self._remove(name, version)
                del versions[version]
            failures = []
            for version in sorted(files.versions, key=version_order):
                state = versions.setdefault(version, _Version("LOADING"))
                try:
                    await self._load_version(name, version, files.versions[version], settings, state)
                except LoadError as error:
                    failures.append(str(error))
            if failures:
                raise invalid("; ".join(failures))

    async def unload(self, name: str) -> None:
        """Take a model out of service. Raises InferenceError 404."""
        name, _ = self._known(name, "")
        async with self._locks.setdefault(name, asyncio.Lock()):
            for version, state in self._models[name].items():
                self._remove(name, version)
                state.state, state.reason = "UNAVAILABLE", _UNLOADED

    async def close(self) -> None:
        """End all threads. What still waits or runs has had its time: it is answered with an error."""
        for name, versions in self._models.items():
            for version, entry in versions.items():
                if entry.served is not None:
                    entry.served.model.interrupt()
                self._remove(name, version)
        await asyncio.gather(*self._finishing)
        self._loaders.shutdown(wait=False)

    async def _scan(self) -> dict[str, ModelFiles]:
        single = self._names[0] if self._names else None
        try:
            return await asyncio.to_thread(find_models, self._root, single)
        except OSError as error:
            raise LayoutError(f"{error.filename or self._root} cannot be read: {error.strerror}") from error

    async def _files(self, name: str) -> ModelFiles:
        """Raises InferenceError 404."""
        try:
            files = (await self._scan()).get(name)
        except LayoutError as error:
            raise unknown(str(error)) from error
        if files is None:
            raise unknown(f"there is no model '{shortened(name)}' in {self._root}")
        return files

    def _settings(self, files: ModelFiles, config: str | None) -> ModelSettings:
        if config is not None:
            return override(self._defaults, config.encode(), "parameter 'config'")
        return settings_of(files.settings, self._defaults)

    async def _load_version(
        self, name: str, version: str, file: Path, settings: ModelSettings, entry: _Version
    ) -> None:
        before = entry.served
        entry.state = "LOADING"
        began_s = self._clock.monotonic_s()
        try:
            model = await asyncio.get_running_loop().run_in_executor(self._loaders, Model, file, settings)
        except LoadError as error:
            _log.warning("model '%s' version %s: %s", name, version, error)
            entry.state, entry.reason = ("READY" if before else "UNAVAILABLE"), str(error)
            raise
        self._metrics.loaded(name, version, self._clock.monotonic_s() - began_s)
        _log.info(
            "model '%s' version %s loaded from %s; dynamic batching %s",
            name,
            version,
            file,
            f"off: {model.unbatched_because}" if model.unbatched_because else f"up to {settings.max_batch_size} rows",
        )
        observer = self._metrics.model(name, version)
        entry.served = Served(name, version, model, Batcher(name, model, settings, observer, self._clock))
        entry.state, entry.reason = "READY", ""
        if before is not None:
            self._finish(before)

    def _remove(self, name: str, version: str) -> None:
        entry = self._models[name][version]
        served, entry.served = entry.served, None
        if served is not None:
            self._finish(served, last=True)

    def _finish(self, served: Served, *, last: bool = False) -> None:
        """End a queue after what it holds; the `last` of its version ends its gauges too."""
        task = asyncio.create_task(served.batcher.finish())
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        if last:
            task.add_done_callback(lambda _: self._end_gauges(served))

    def _end_gauges(self, served: Served) -> None:
        entry = self._models.get(served.name, {}).get(served.version)
        if entry is None or entry.served is None:
            self._metrics.unloaded(served.name, served.version)

    def _known(self, name: str, version: str) -> tuple[str, list[_Version]]:
        """The model's own name and its versions, or the one asked for. Raises InferenceError 404."""
        own_name = self._aliases.get(name, name)
        versions = self._models.get(own_name)
        if not versions:
            known = ", ".join(sorted(self.names())) or "none"
            raise unknown(f"unknown model '{shortened(name)}'; models of this server: {shortened(known)}")
        if not version:
            return own_name, [versions[v] for v in sorted(versions, key=version_order)]
        if version not in versions:
            known = ", ".join(sorted(versions, key=version_order))
            raise unknown(f"model '{shortened(name)}' has no version '{shortened(version)}'; its versions: {known}")
        return own_name, [versions[version]]

    def _ready_versions(self, name: str) -> list[str]:
        versions = self._models.get(name, {})
        return sorted((v for v, entry in versions.items() if entry.served is not None), key=version_order)

    def _newest(self, name: str, version: str) -> Served | None:
        wanted = version or next(reversed(self._ready_versions(name)), "")
        entry = self._models[name].get(wanted)
        return entry.served if entry else None


def _aliases(root: Path, names: Sequence[str], found: dict[str, ModelFiles]) -> dict[str, str]:
    """Name -> model, for the names that are not models themselves. Raises LayoutError."""
    missing = [name for name in names if name not in found]
    if missing and len(found) > 1:
        raise LayoutError(
            f"{root} has no model '{missing[0]}': it holds {', '.join(found)}. Serve it under one of these names, "
            "or name a path with a single model"
        )
    (only,) = found if len(found) == 1 else ("",)
    return dict.fromkeys(missing, only)
