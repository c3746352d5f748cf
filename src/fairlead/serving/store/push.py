"""Sending an artifact into a repository: what is missing there, blobs first, the tag last."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.serving.store.oci import Descriptor
from fairlead.serving.store.pack import Artifact
from fairlead.serving.store.progress import Progress
from fairlead.serving.store.repository import Cancel, Repository, Source
from fairlead.serving.store.workers import Counter, run_all


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did. `total_bytes` and `sent_bytes` are of blobs; what the repository had is not sent."""

    digest: str
    total_bytes: int
    sent_bytes: int
    blobs: int
    sent_blobs: int


def push(
    artifact: Artifact, repository: Repository, tag: str, *, progress: Progress, threads: int, cancel: Cancel
) -> Pushed:
    """Blobs in parallel, then the manifests; the tag moves once everything is there.

    A push that was stopped finds its blobs when it is repeated.
    """
    unique: dict[str, tuple[Descriptor, Source]] = {d.digest: (d, source) for d, source in artifact.blobs}
    progress.begin("pushing", artifact.total_bytes)
    sent_bytes, sent_blobs = Counter(), Counter()

    def work(blob: tuple[Descriptor, Source]) -> None:
        cancel.check()
        descriptor, source = blob
        if repository.has_blob(descriptor):
            progress.advance(descriptor.size)
            return
        if sent := repository.put_blob(descriptor, source, progress.advance):
            sent_bytes.add(sent)
            sent_blobs.add(1)

    run_all(unique.values(), work, threads, cancel)
    for raw, media_type in artifact.manifests[:-1]:
        repository.put_manifest(raw, media_type)
    stored = repository.put_manifest(*artifact.manifests[-1], tag)
    return Pushed(stored.digest, artifact.total_bytes, sent_bytes.value, len(unique), sent_blobs.value)
