"""A folder of model files as an artifact: which files, as which layers, with which config. Same files, same digest.

Whole layout: one raw layer per file, as ModelPack describes. Chunked layout: large weights are several raw layers,
cut where `chunks` says. ModelPack knows one path per layer; a part therefore has a path of its own
(`model.safetensors.parts/00007`), so that any other client gets every byte, in files whose names sort in order, and
never a part under the file's own name. What they are parts of says the annotation PART, which `plan` reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from fairlead.serving.store import chunks, describe, modelpack, oci
from fairlead.serving.store.errors import BadArtifact
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.progress import Progress
from fairlead.serving.store.repository import BUFFER_BYTES, Cancel, FileRange, InMemory, Source
from fairlead.serving.store.workers import run_all

Layout = Literal["chunked", "whole"]

PART = "dev.fairlead.model.part+json"
"""Annotation of a layer that is part of a file: the file's path and size, and where in it the layer begins."""
MARK = ".fairlead-model.json"
"""File in a pulled folder that says what it is; never pushed."""
_CHUNKED_FROM_BYTES = 4 << 20
_ORDER = {"weight.config": 0, "code": 1, "doc": 2, "dataset": 3, "weight": 4}


class Part(msgspec.Struct, frozen=True):
    """Value of the annotation PART."""

    path: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file to push: its path within the model (with /), where it is, its size, whether it may be executed."""

    path: str
    at: Path
    size: int
    executable: bool


@dataclass(slots=True)
class Layer:
    """Bytes that become a layer. `diff_id` is the digest before compression, `descriptor` what the manifest says."""

    source: Source
    media_type: str
    annotations: dict[str, str]
    descriptor: Descriptor | None = None
    diff_id: str = ""

    @property
    def described(self) -> Descriptor:
        assert self.descriptor is not None, "hash_layers comes first"
        return self.descriptor


@dataclass(slots=True)
class Artifact:
    """What is pushed: blobs, then manifests in order, of which the last gets the tag."""

    blobs: list[tuple[Descriptor, Source]]
    manifests: list[tuple[bytes, str]]
    scratch: list[Path] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return oci.digest_of(self.manifests[-1][0])

    @property
    def total_bytes(self) -> int:
        return sum({d.digest: d.size for d, _ in self.blobs}.values())


def find_files(folder: Path, note: Callable[[str], None] = lambda text: None) -> list[ModelFile]:
    """The files of a model, by path. Hidden ones are left out, links to files followed, links to folders named.

    Raises BadArtifact if there are none, or the folder is missing. A single file is a model of one file.
    """
    if folder.is_file():
        return [_model_file(folder.name, folder)]
    if not folder.is_dir():
        raise BadArtifact(f"{folder}: there is no such folder or file")
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if path.is_dir():
            if path.is_symlink():
                note(f"{path}: a link to a folder, left out")
            continue
        if not path.is_file():
            note(f"{path}: neither file nor folder, left out")
            continue
        found.append(_model_file(relative.as_posix(), path))
    if not found:
        raise BadArtifact(f"{folder}: no files in it (hidden ones do not count)")
    return sorted(found, key=lambda file: (_ORDER[modelpack.kind_of(file.path)], file.path))


def pack_model(
    files: Sequence[ModelFile],
    *,
    layout: Layout,
    part_bytes: int | None,
    described: dict[str, Any],
    progress: Progress,
    threads: int,
    cancel: Cancel,
) -> Artifact:
    """A ModelPack artifact of raw layers. `part_bytes`: usual length of parts; None: by the model's size."""
    usual = part_bytes or chunks.part_bytes(sum(file.size for file in files))
    layers: list[list[Layer]] = [[] for _ in files]

    def split(i: int) -> None:
        cancel.check()
        layers[i] = raw_layers(files[i], layout, usual)

    run_all(range(len(files)), split, threads, cancel)
    flat = [layer for of_file in layers for layer in of_file]
    hash_layers(flat, progress, threads, cancel)
    return finish_model(files, flat, described, usual if layout == "chunked" else None)


def finish_model(
    files: Sequence[ModelFile], layers: Sequence[Layer], described: dict[str, Any], usual_bytes: int | None
) -> Artifact:
    """Config and manifest for hashed layers."""
    technical = describe.technical({file.path: file.at for file in files})
    config = modelpack.model_config(described, technical, [layer.diff_id for layer in layers])
    config_at = Descriptor(media_type=modelpack.CONFIG_TYPE, digest=oci.digest_of(config), size=len(config))
    annotations = {"dev.fairlead.model.part-bytes": str(usual_bytes)} if usual_bytes else {}
    manifest = Manifest(
        artifact_type=modelpack.ARTIFACT_TYPE,
        config=config_at,
        layers=[layer.described for layer in layers],
        annotations=annotations,
    )
    blobs: list[tuple[Descriptor, Source]] = [(config_at, InMemory(config))]
    blobs += [(layer.described, layer.source) for layer in layers]
    return Artifact(blobs, [(oci.encode(manifest), oci.MANIFEST)])


def raw_layers(file: ModelFile, layout: Layout, usual_bytes: int) -> list[Layer]:
    """The layers of one file: itself, or its parts."""
    kind = modelpack.kind_of(file.path)
    media_type = modelpack.media_type(kind, "raw")
    parts = [file.size]
    if layout == "chunked" and kind == "weight" and file.size >= _CHUNKED_FROM_BYTES:
        parts = chunks.cut(file.at, usual_bytes)
        chunks.check_ends(parts, file.size, str(file.at))
    if len(parts) == 1:
        annotations = {modelpack.FILEPATH: file.path, oci.TITLE: file.path, modelpack.FILE_METADATA: _metadata(file)}
        return [Layer(FileRange(file.at, 0, file.size), media_type, annotations)]
    return [
        Layer(FileRange(file.at, start, end - start), media_type, _part_annotations(file, i, start))
        for i, (start, end) in enumerate(zip([0, *parts], parts, strict=False))
    ]


def hash_layers(layers: Sequence[Layer], progress: Progress, threads: int, cancel: Cancel) -> None:
    """Give each layer its descriptor; raw and plain tar layers are their own diff id."""
    progress.begin("hashing", sum(layer.source.size for layer in layers))

    def work(layer: Layer) -> None:
        digest = hash_source(layer.source, progress, cancel)
        layer.descriptor = Descriptor(
            media_type=layer.media_type, digest=digest, size=layer.source.size, annotations=layer.annotations
        )
        layer.diff_id = layer.diff_id or digest

    run_all(layers, work, threads, cancel)


def hash_source(source: Source, progress: Progress, cancel: Cancel) -> str:
    """The digest of all bytes of a source."""
    hashed = hashlib.sha256()
    for part in read_through(source):
        cancel.check()
        hashed.update(part)
        progress.advance(len(part))
    return f"sha256:{hashed.hexdigest()}"


def read_through(source: Source) -> Iterator[memoryview]:
    """All bytes of a source; each view is valid until the next. Raises BadArtifact if it ends before its size."""
    room = memoryview(bytearray(min(BUFFER_BYTES, max(1, source.size))))
    at = 0
    while count := source.read_at(at, room):
        yield room[:count]
        at += count
    if at != source.size:
        raise BadArtifact(f"a file changed while it was read: {at} bytes, not {source.size}")


def _model_file(path: str, at: Path) -> ModelFile:
    status = at.stat()
    return ModelFile(path, at, status.st_size, bool(status.st_mode & 0o100))


def _metadata(file: ModelFile) -> str:
    # Owner and time would make two pushes of the same model differ; who serves it needs neither.
    return msgspec.json.encode(
        modelpack.FileMetadata(
            name=file.path.rpartition("/")[2],
            mode=0o755 if file.executable else 0o644,
            uid=0,
            gid=0,
            size=file.size,
            mtime="1970-01-01T00:00:00Z",
            typeflag=ord("0"),
        )
    ).decode()


def _part_annotations(file: ModelFile, i: int, start: int) -> dict[str, str]:
    path = f"{file.path}.parts/{i:05}"
    part = msgspec.json.encode(Part(file.path, start, file.size)).decode()
    return {modelpack.FILEPATH: path, oci.TITLE: path, PART: part}
