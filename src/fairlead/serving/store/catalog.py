"""What repositories hold: their tags, what an artifact consists of, copies from place to place, and what may go."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.serving.store import modelpack, oci
from fairlead.serving.store.errors import BadArtifact, NotFound, StoreError, WrongContent
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.plan import plan
from fairlead.serving.store.progress import Progress
from fairlead.serving.store.pull import resolve
from fairlead.serving.store.push import Pushed
from fairlead.serving.store.repository import Cancel, Repository
from fairlead.serving.store.workers import Counter, run_all

_SIGNATURES = re.compile(r"sha256-([0-9a-f]{64})(\.sig)?\Z")


@dataclass(frozen=True, slots=True)
class Listed:
    """A tag and what is under it; `problem` where that cannot be read. `bytes`: of all layers."""

    tag: str
    digest: str = ""
    kind: str = ""
    files: int = 0
    bytes: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Inspected:
    """An artifact in full. `config`: the document that its config is; None if it is none. `files`: path to bytes."""

    digest: str
    manifest: Manifest
    config: dict[str, Any] | None
    files: dict[str, int]
    archives: int
    bytes: int
    signatures: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed (or would), what it left, and why it left what it should have removed."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]
    problems: tuple[str, ...]
    freed_bytes: int = 0


def list_tags(repository: Repository, threads: int, cancel: Cancel) -> list[Listed]:
    """Every tag that is not cosign's or the referrers', newest version first."""
    tags = ordered(tag for tag in repository.tags() if not _SIGNATURES.match(tag))
    found: dict[str, Listed] = {}

    def work(tag: str) -> None:
        try:
            digest, manifest = resolve(repository, tag)
            planned = plan(manifest, f"{repository.name}:{tag}")
        except (BadArtifact, NotFound) as error:
            found[tag] = Listed(tag, problem=str(error))
            return
        size = sum(layer.size for layer in manifest.layers)
        found[tag] = Listed(tag, digest, kind_of(manifest), len(planned.files), size)

    run_all(tags, work, threads, cancel)
    return [found[tag] for tag in tags]


def kind_of(manifest: Manifest) -> str:
    """A word for what an artifact is."""
    if manifest.artifact_type == modelpack.ARTIFACT_TYPE or manifest.config.media_type == modelpack.CONFIG_TYPE:
        return "modelpack"
    if manifest.config.media_type in (oci.IMAGE_CONFIG, "application/vnd.docker.container.image.v1+json"):
        return "image"
    return manifest.artifact_type or manifest.config.media_type


def inspect(repository: Repository, selector: str) -> Inspected:
    """All that is to be said of an artifact without its layers. Raises NotFound, BadArtifact."""
    from fairlead.serving.store.sign import read_blob, signature_tag

    digest, manifest = resolve(repository, selector)
    planned = plan(manifest, f"{repository.name}@{digest}")
    raw = read_blob(repository, manifest.config)
    try:
        config = msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        config = None
    signatures = 0
    with suppress(NotFound):
        signatures = len(oci.decode_manifest(repository.manifest(signature_tag(digest))[1], "signatures").layers)
    return Inspected(
        digest,
        manifest,
        config if isinstance(config, dict) else None,
        {file.path: file.size for file in planned.files},
        len(planned.archives),
        planned.total_bytes,
        signatures,
    )


def put_tag(repository: Repository, selector: str, tag: str) -> str:
    """Give an artifact another tag; its digest."""
    descriptor, raw = repository.manifest(selector)
    repository.put_manifest(raw, descriptor.media_type, tag)
    return descriptor.digest


class Remote:
    """A blob of one repository as the source for another; read in order by one thread."""

    def __init__(self, repository: Repository, descriptor: Descriptor) -> None:
        self._repository, self._descriptor, self.size = repository, descriptor, descriptor.size
        self._reader: Any = None
        self._at = 0

    def read_at(self, offset: int, into: memoryview) -> int:
        if offset >= self.size:
            self.close()
            return 0
        if self._reader is None or offset != self._at:
            self.close()
            self._reader, self._at = self._repository.open_blob(self._descriptor, offset, self.size), offset
        count: int = self._reader.readinto(into[: self.size - offset])
        self._at += count
        return count

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def copy(
    origin: Repository,
    selector: str,
    target: Repository,
    tag: str,
    *,
    progress: Progress,
    threads: int,
    cancel: Cancel,
    signatures: bool = True,
) -> Pushed:
    """Copy an artifact byte for byte, so with the same digest, with cosign's signatures of it, in either form."""
    manifests = _manifests(origin, selector)
    blobs: dict[str, Descriptor] = {}
    for descriptor, raw in manifests:
        if descriptor.media_type in (oci.MANIFEST, oci.DOCKER_MANIFEST):
            manifest = oci.decode_manifest(raw, f"{origin.name}@{descriptor.digest}")
            blobs.update({d.digest: d for d in (manifest.config, *manifest.layers)})
    progress.begin("copying", sum(d.size for d in blobs.values()))
    sent_bytes, sent_blobs = Counter(), Counter()

    def work(descriptor: Descriptor) -> None:
        cancel.check()
        if target.has_blob(descriptor):
            progress.advance(descriptor.size)
            return
        source = Remote(origin, descriptor)
        try:
            sent_bytes.add(target.put_blob(descriptor, source, progress.advance))
            sent_blobs.add(1)
        finally:
            source.close()

    run_all(blobs.values(), work, threads, cancel)
    for descriptor, raw in manifests[:-1]:
        target.put_manifest(raw, descriptor.media_type)
    last, raw = manifests[-1]
    stored = target.put_manifest(raw, last.media_type, tag)
    if signatures:
        _copy_signatures(origin, stored.digest, target, threads, cancel, progress)
    total = sum(d.size for d in blobs.values())
    return Pushed(stored.digest, total, sent_bytes.value, len(blobs), sent_blobs.value)


def prune(repository: Repository, *, keep: int, pattern: str, dry_run: bool) -> Pruned:
    """Remove all tags that match but the `keep` highest (as versions: v1.10 is above v1.9), and what only they led to.

    A manifest that a kept tag also names stays. Blobs of a layout go at once; those of a registry with its own
    garbage collection.
    """
    everything = repository.tags()
    matching = ordered(tag for tag in everything if not _SIGNATURES.match(tag) and fnmatch.fnmatchcase(tag, pattern))
    going = matching[keep:]
    kept = [tag for tag in everything if tag not in going]
    digests = {tag: _digest(repository, tag) for tag in [*going, *kept] if not _SIGNATURES.match(tag)}
    wanted = {digests[tag] for tag in kept if tag in digests}
    removed, problems = list(going), []
    if not dry_run:
        removed = []
        for tag in going:
            try:
                _remove(repository, tag, digests[tag], wanted)
                removed.append(tag)
            except NotFound:
                removed.append(tag)
            except StoreError as error:
                problems.append(f"{tag}: {error}")
    gone = {digests[tag] for tag in removed} - wanted
    removed += _remove_signatures(repository, everything, gone, dry_run)
    freed = 0
    if isinstance(repository, LayoutRepository) and not dry_run:
        try:
            freed = repository.collect()
        except StoreError as error:
            problems.append(str(error))
    return Pruned(tuple(removed), tuple(tag for tag in kept if not _SIGNATURES.match(tag)), tuple(problems), freed)


def _digest(repository: Repository, tag: str) -> str:
    """What a tag means; empty where its manifest is lost: such a tag can still be taken off."""
    try:
        return repository.manifest(tag)[0].digest
    except (NotFound, WrongContent):
        return ""


def ordered(tags: Iterable[str]) -> list[str]:
    """Tags as versions, the highest first: numbers within them count as numbers, `latest` above all."""
    return sorted(tags, key=_version, reverse=True)


def _version(tag: str) -> tuple[bool, list[tuple[int, int, str]]]:
    return tag == "latest", [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in re.split(r"(\d+)", tag) if p]


def _remove(repository: Repository, tag: str, digest: str, wanted: set[str]) -> None:
    try:
        repository.delete(tag)
    except NotFound:
        raise
    except StoreError:
        if not digest or digest in wanted:
            raise
        # A registry that takes off no single tag: the manifest goes, as no tag that stays names it.
        repository.delete(digest)
        return
    if digest and digest not in wanted and not isinstance(repository, LayoutRepository):
        with suppress(StoreError):
            repository.delete(digest)


def _remove_signatures(repository: Repository, tags: Sequence[str], gone: set[str], dry_run: bool) -> list[str]:
    removed = []
    for tag in tags:
        found = _SIGNATURES.match(tag)
        if found is None or f"sha256:{found.group(1)}" not in gone:
            continue
        removed.append(tag)
        if not dry_run:
            with suppress(StoreError):
                _remove(repository, tag, repository.manifest(tag)[0].digest, set())
    return removed


def _manifests(origin: Repository, selector: str) -> list[tuple[Descriptor, bytes]]:
    """A manifest after all that it leads to."""
    descriptor, raw = origin.manifest(selector)
    if descriptor.media_type not in (oci.INDEX, oci.DOCKER_INDEX):
        return [(descriptor, raw)]
    found = []
    for entry in oci.decode_index(raw, f"{origin.name}@{descriptor.digest}").manifests:
        below, content = origin.manifest(entry.digest)
        found.append((msgspec.structs.replace(below, media_type=entry.media_type), content))
    return [*found, (descriptor, raw)]


def _copy_signatures(
    origin: Repository, digest: str, target: Repository, threads: int, cancel: Cancel, progress: Progress
) -> None:
    from fairlead.serving.store.sign import BUNDLES, signature_tag

    bundles = [d.digest for d in origin.referrers(digest) if (d.artifact_type or "").startswith(BUNDLES)]
    tag = signature_tag(digest)
    for selector, name in [(tag, tag), *((bundle, "") for bundle in bundles)]:
        with suppress(NotFound):
            origin.manifest(selector)
            copy(origin, selector, target, name, progress=progress, threads=threads, cancel=cancel, signatures=False)
