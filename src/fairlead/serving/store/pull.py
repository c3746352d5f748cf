"""Fetching an artifact into a folder: in parallel, resumable, verified, in place at once or not at all.

The files are written where they stay: there is no second copy of a model at any time.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.serving.store import oci
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import Crawling, NoSpace, NotFound, Unreachable, WrongContent
from fairlead.serving.store.folder import (
    Journal,
    Mark,
    Partial,
    check_space,
    check_target,
    copy_range,
    files_of,
    told,
    write_mark,
)
from fairlead.serving.store.landing import Landing, OpenFile, fetch
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.plan import Archive, Plan, choose, plan
from fairlead.serving.store.progress import Progress
from fairlead.serving.store.repository import Cancel, Repository
from fairlead.serving.store.reuse import Known, known_files
from fairlead.serving.store.unpack import unpack
from fairlead.serving.store.workers import Counter, run_all

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did. `bytes` were fetched; `reused_bytes` came from folders on this machine."""

    digest: str
    bytes: int
    files: tuple[str, ...]
    reused_bytes: int = 0
    total_bytes: int = 0
    was_there: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How to pull.

    `reuse`: folders pulled earlier, whose bytes need not be fetched. `durable`: on disk, not only in the page cache,
    before the folder takes its place. `replace`: even if the target was not pulled.
    """

    threads: int = 8
    reuse: Sequence[Path] = ()
    durable: bool = True
    replace: bool = False


def resolve(repository: Repository, selector: str) -> tuple[str, Manifest]:
    """The digest that was asked for, and the manifest of the model under it (they differ for an index)."""
    descriptor, raw = repository.manifest(selector)
    where = f"{repository.name}@{descriptor.digest}"
    if b'"manifests"' not in raw or descriptor.media_type not in (oci.INDEX, oci.DOCKER_INDEX):
        return descriptor.digest, oci.decode_manifest(raw, where)
    machine = platform.machine()
    chosen = choose(oci.decode_index(raw, where), _ARCHITECTURES.get(machine, machine), where)
    return descriptor.digest, oci.decode_manifest(repository.manifest(chosen.digest)[1], where)


def pull(
    repository: Repository,
    digest: str,
    manifest: Manifest,
    target: Path,
    *,
    reference: str,
    settings: Settings,
    options: Options,
    progress: Progress,
    cancel: Cancel,
) -> Pulled:
    """Fetch what `resolve` found into `target`, a folder that appears when everything is there and right.

    Raises the store's errors: NoSpace before anything is fetched where that can be told, WrongContent for a layer that
    is not what its digest says, Unreachable, BadArtifact, Stopped. What was fetched stays beside the target and is
    taken up by the next pull of the same content.
    """
    planned = plan(manifest, f"{repository.name}@{digest}")
    check_target(target, options.replace)
    if (there := files_of(target, digest, planned)) is not None:
        return Pulled(digest, 0, there, total_bytes=planned.total_bytes, was_there=True)
    partial = Partial(target, digest)
    try:
        with partial.locked(cancel, progress.note):
            if (there := files_of(target, digest, planned)) is not None:
                # Another process has brought it while this one waited.
                shutil.rmtree(partial.folder, ignore_errors=True)
                return Pulled(digest, 0, there, total_bytes=planned.total_bytes, was_there=True)
            partial.tidy(planned)
            pulling = _Pulling(repository, planned, partial, settings, options, progress, cancel)
            try:
                with partial.journal() as journal:
                    files, unpacked = pulling.run(journal)
            except BaseException:
                partial.drop_if_empty()
                raise
            write_mark(partial.files, Mark(reference=reference, digest=digest, manifest=manifest, unpacked=unpacked))
            partial.take_place(options.durable)
    except OSError as error:
        raise told(error, Path(error.filename or target)) from error
    return Pulled(digest, pulling.fetched.value, files, pulling.reused.value, planned.total_bytes)


@dataclass(frozen=True, slots=True)
class _Segment:
    number: int
    landing: Landing
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Unpacking:
    number: int
    archive: Archive


class _Pulling:
    """One pull: its files, layers and counters."""

    def __init__(
        self,
        repository: Repository,
        planned: Plan,
        partial: Partial,
        settings: Settings,
        options: Options,
        progress: Progress,
        cancel: Cancel,
    ) -> None:
        self._repository, self._plan, self._partial = repository, planned, partial
        self._settings, self._options, self._progress, self._cancel = settings, options, progress, cancel
        self.fetched, self.reused = Counter(), Counter()
        self._landings: list[Landing] = []
        self._left: dict[Path, Counter] = {}
        self._modes: dict[Path, int] = {}

    def run(self, journal: Journal) -> tuple[tuple[str, ...], dict[str, int]]:
        """Everything into the partial folder; the paths of the files, and the sizes of those out of archives."""
        self._journal = journal
        ranges = self._partial.remembered()
        known = known_files([self._partial.target, *self._options.reuse])
        linked = self._link_same(known)
        check_space(self._plan, self._partial, linked)
        self._progress.begin("pulling", self._plan.total_bytes)
        self._progress.advance(sum(f.size for f in self._plan.files if f.path in linked))
        self._lay_out(ranges, linked)
        try:
            self._take_local(known)
            run_all(self._jobs(), self._work, self._options.threads, self._cancel)
        finally:
            for landing in self._landings:
                landing.file.abandon()
        unpacked: dict[str, int] = {}
        if self._plan.archives:
            folders = [self._layer_folder(number) for number in range(len(self._plan.archives))]
            unpacked = self._partial.lay_layers(self._plan, folders, self._repository.name)
        return tuple(sorted({*(file.path for file in self._plan.files), *unpacked})), unpacked

    def _link_same(self, known: Known) -> set[str]:
        """Hard-link files that a folder on this machine has whole; their bytes are hashed as if they were fetched."""
        linked: set[str] = set()
        for file in self._plan.files:
            origin = known.whole(file)
            at = self._partial.files / file.path
            if origin is None or (at.exists() and not at.samefile(origin)):
                continue
            at.parent.mkdir(parents=True, exist_ok=True)
            try:
                if not at.exists():
                    os.link(origin, at)
            except OSError:
                # Another file system, or one without hard links: its pieces are copied below.
                continue
            if known.is_sound(file, at, self._cancel):
                linked.add(file.path)
                self.reused.add(file.size)
            else:
                at.unlink()
        return linked

    def _lay_out(self, ranges: dict[int, set[tuple[int, int]]], linked: set[str]) -> None:
        number = 0
        for file in self._plan.files:
            path = self._partial.files / file.path
            if file.path in linked:
                number += len(file.pieces)
                continue
            opened = OpenFile(path, file.size, self._options.durable)
            self._left[path] = Counter()
            self._left[path].add(len(file.pieces))
            self._modes[path] = 0o755 if file.executable else 0o644
            if path.exists() and path.stat().st_nlink > 1:
                # An earlier attempt linked it to a file of another folder, which is not ours to write to.
                path.unlink()
            for piece in file.pieces:
                before = ranges.get(number, set()) if path.exists() else set()
                landing = Landing(piece.layer, opened, piece.offset, before, number)
                self._landings.append(landing)
                number += 1

    def _take_local(self, known: Known) -> None:
        """Layers that lie in a folder on this machine, copied; and what an earlier attempt had fetched, hashed."""

        def work(landing: Landing) -> None:
            self._cancel.check()
            place = known.find(landing.layer.digest)
            if place is not None and not landing.resumed:
                if copy_range(place.path, place.offset, landing.file.descriptor(), landing.offset, landing.layer.size):
                    self._settle(landing, reused=True)
            elif landing.resumed:
                self._settle(landing, reused=False)

        wanted = [x for x in self._landings if x.resumed or known.find(x.layer.digest) is not None]
        run_all(wanted, work, self._options.threads, self._cancel)

    def _settle(self, landing: Landing, *, reused: bool) -> None:
        size = landing.layer.size
        try:
            if reused:
                complete = landing.finish(0, size, False)
            else:
                complete = landing.hash_on()
        except WrongContent:
            # Not what it was thought to be; the registry's bytes are asked for instead.
            landing.forget()
            return
        if reused:
            self.reused.add(size)
        self._progress.advance(landing.there_bytes())
        if complete:
            self._complete(landing)

    def _jobs(self) -> Iterable[_Segment | _Unpacking]:
        """Segments in the order of the files, so that hashing keeps up with fetching; archives one by one."""
        for number, archive in enumerate(self._plan.archives):
            if self._layer_folder(number).is_dir():
                self._progress.advance(archive.layer.size)
            else:
                yield _Unpacking(number, archive)
        for landing in self._landings:
            for start, end in landing.segments():
                yield _Segment(landing.number, landing, start, end)

    def _work(self, job: _Segment | _Unpacking) -> None:
        self._cancel.check()
        if isinstance(job, _Unpacking):
            self._unpack(job)
        else:
            self._fetch(job)

    def _fetch(self, job: _Segment) -> None:
        landing = job.landing
        hashing = landing.claim(job.start)

        def take(view: memoryview, at: int) -> None:
            landing.take(view, at, hashing)
            self.fetched.add(len(view))
            self._progress.advance(len(view))

        fetch(self._repository, landing.layer, job.start, job.end, take, self._settings, self._cancel)
        self._journal.add("range", job.number, job.start, job.end)
        try:
            complete = landing.finish(job.start, job.end, hashing)
        except WrongContent as error:
            if not landing.resumed:
                self._partial.forget()
                raise WrongContent(
                    f"{self._repository.name}: {error}: it sends something else than it promises; nothing of it is used"
                ) from error
            # What an earlier attempt left may be at fault, after a power cut say: once more, all of it.
            self._progress.advance(-landing.layer.size)
            landing.forget()
            self._fetch(_Segment(job.number, landing, 0, landing.layer.size))
            return
        if complete:
            self._complete(landing)

    def _complete(self, landing: Landing) -> None:
        left = self._left[landing.file.path]
        left.add(-1)
        if left.value == 0:
            landing.file.close(self._modes[landing.file.path])

    def _layer_folder(self, number: int) -> Path:
        """Where an archive is when all of it is there and, if that was asked for, on the disk.

        What may not be on the disk is unpacked anew after a kill: the machine may have stopped in between.
        """
        return self._partial.layers / (str(number) if self._options.durable else f"{number}.part")

    def _unpack(self, job: _Unpacking) -> None:
        archive, growing = job.archive, self._partial.layers / f"{job.number}.part"
        growing.mkdir(parents=True)
        reader = _Steady(self._repository, archive.layer, self._settings, self._cancel, self._progress, self.fetched)

        def reserve(size: int) -> None:
            stats = os.statvfs(self._partial.folder)
            if size > stats.f_bavail * stats.f_frsize:
                raise NoSpace(
                    f"{self._partial.target}: {size:,} bytes to unpack, {stats.f_bavail * stats.f_frsize:,} free"
                )

        try:
            unpack(archive, reader.readinto, growing, reserve, durable=self._options.durable)
        except WrongContent as error:
            raise WrongContent(
                f"{self._repository.name}: {error}: it sends something else than it promises; nothing of it is used"
            ) from error
        finally:
            reader.close()
        if growing != (whole := self._layer_folder(job.number)):
            growing.rename(whole)


class _Steady:
    """A blob read from its beginning to its end, over connections that may break off."""

    def __init__(
        self,
        repository: Repository,
        layer: Descriptor,
        settings: Settings,
        cancel: Cancel,
        progress: Progress,
        fetched: Counter,
    ) -> None:
        self._repository, self._layer, self._settings = repository, layer, settings
        self._cancel, self._progress, self._fetched = cancel, progress, fetched
        self._at = 0
        self._failures, self._crawled = 0, False
        self._reader = repository.open_blob(layer, 0, layer.size) if layer.size else None

    def readinto(self, into: memoryview) -> int:
        while self._at < self._layer.size:
            self._cancel.check()
            reason = "the connection broke off"
            try:
                if self._reader is None:
                    self._reader = self._repository.open_blob(self._layer, self._at, self._layer.size)
                if count := self._reader.readinto(into[: self._layer.size - self._at]):
                    self._at += count
                    # Bytes that crawl are no reason to hope.
                    self._failures = self._failures if self._crawled else 0
                    self._fetched.add(count)
                    self._progress.advance(count)
                    return count
            except (Unreachable, NotFound) as error:
                reason, self._crawled = str(error), isinstance(error, Crawling)
            self._failures += 1
            self.close()
            if self._failures >= self._settings.attempts:
                raise Unreachable(f"{self._repository.name}: {self._layer.digest} stops at byte {self._at}: {reason}")
            self._cancel.sleep(self._settings.first_wait_s * 2**self._failures)
        return 0

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
