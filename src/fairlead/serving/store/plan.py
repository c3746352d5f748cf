"""What a manifest's layers become on disk: files made of layers, and archives to unpack. Pure.

Takes ModelPack artifacts (whole and chunked), plain OCI images whose files lie below `models/`, and what oras pushes
(a title per layer). Everything that would leave the folder, or be written twice, is refused before a byte is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from fairlead.serving.store import modelpack, oci
from fairlead.serving.store.errors import BadArtifact
from fairlead.serving.store.oci import Descriptor, Index, Manifest
from fairlead.serving.store.pack import PART, Part

Compression = Literal["", "gzip", "zstd"]

IMAGE_FOLDER = "models/"
"""Folder of an image that holds the model's files."""
_UNPACK = "io.deis.oras.content.unpack"
_IMAGE_TAR = re.compile(
    r"application/vnd\.(oci\.image\.layer(\.nondistributable)?\.v1|docker\.image\.rootfs\.diff)\.tar([+.](gzip|zstd))?\Z"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A layer as bytes [offset, offset + size) of a file."""

    layer: Descriptor
    offset: int


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file made of layers, in order of offset, without gaps."""

    path: str
    size: int
    executable: bool
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Archive:
    """A tar layer. Members below `strip` go into the folder, without it; with `strip` empty, all do."""

    layer: Descriptor
    compression: Compression
    strip: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All of an artifact."""

    files: tuple[PlannedFile, ...]
    archives: tuple[Archive, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes to fetch."""
        pieces = sum(piece.layer.size for file in self.files for piece in file.pieces)
        return pieces + sum(archive.layer.size for archive in self.archives)


def choose(index: Index, architecture: str, where: str) -> Descriptor:
    """The manifest of an index that is meant here: the model, else the image for Linux on this architecture."""
    entries = [d for d in index.manifests if d.media_type in (oci.MANIFEST, oci.DOCKER_MANIFEST)]
    models = [d for d in entries if d.artifact_type == modelpack.ARTIFACT_TYPE]
    fitting = [d for d in entries if (d.platform or {}).get("architecture") == architecture]
    for found in (models, fitting, entries if len(entries) == 1 else []):
        if found:
            return found[0]
    kinds = ", ".join(sorted({str((d.platform or {}).get("architecture", "?")) for d in entries})) or "none"
    raise BadArtifact(f"{where}: an index without a model, and without an image for {architecture} (it has: {kinds})")


def plan(manifest: Manifest, where: str) -> Plan:
    """Files and archives of a manifest. Raises BadArtifact with the layer that cannot be."""
    parts: dict[str, list[tuple[Descriptor, Part]]] = {}
    files: list[PlannedFile] = []
    archives: list[Archive] = []
    for i, layer in enumerate(manifest.layers):
        at = f"{where}: layers[{i}]"
        if (archive := _archive(layer)) is not None:
            archives.append(archive)
        elif (raw_part := layer.annotations.get(PART)) is not None:
            part = _part(raw_part, at)
            parts.setdefault(check_path(part.path, at), []).append((layer, part))
        elif layer.media_type != oci.EMPTY:
            files.append(_whole(layer, at))
    files += [_joined(path, found, where) for path, found in parts.items()]
    check_paths((file.path for file in files), where)
    if not files and not archives:
        raise BadArtifact(
            f"{where}: no layers with files; is it a model? ({manifest.artifact_type or 'no artifact type'})"
        )
    return Plan(tuple(files), tuple(archives))


def check_path(path: str, where: str) -> str:
    """The path, if it stays below its folder. Raises BadArtifact."""
    segments = path.split("/")
    if path.startswith("/") or "\0" in path or "\\" in path or any(s in ("", ".", "..") for s in segments):
        raise BadArtifact(f"{where}: the path {path!r} is refused: it must be relative and lead nowhere but down")
    if len(path.encode()) > 4000 or any(len(s.encode()) > 255 for s in segments):
        raise BadArtifact(f"{where}: the path {path[:80]!r}… is longer than a file system takes")
    return path


def check_paths(paths: Iterable[str], where: str) -> None:
    """Raises BadArtifact if a file is named twice, or is also a folder."""
    seen: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        if path in seen:
            raise BadArtifact(f"{where}: two layers for the file {path!r}")
        seen.add(path)
        segments = path.split("/")
        folders.update("/".join(segments[:n]) for n in range(1, len(segments)))
    if both := sorted(seen & folders):
        raise BadArtifact(f"{where}: {both[0]!r} is both a file and a folder")


def _archive(layer: Descriptor) -> Archive | None:
    if (kind := modelpack.parse_media_type(layer.media_type)) is not None:
        form = kind[1]
        return None if form == "raw" else Archive(layer, _compression(form.partition("+")[2]), "")
    if found := _IMAGE_TAR.match(layer.media_type):
        if layer.annotations.get(oci.TITLE) and layer.annotations.get(_UNPACK) != "true":
            return None
        strip = "" if layer.annotations.get(_UNPACK) == "true" else IMAGE_FOLDER
        return Archive(layer, _compression(found.group(4) or ""), strip)
    return None


def _compression(text: str) -> Compression:
    return "gzip" if text == "gzip" else "zstd" if text == "zstd" else ""


def _part(raw: str, at: str) -> Part:
    try:
        return msgspec.json.decode(raw, type=Part)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadArtifact(f"{at}: annotation {PART}: {error}") from error


def _whole(layer: Descriptor, at: str) -> PlannedFile:
    notes = layer.annotations
    path = notes.get(modelpack.FILEPATH) or notes.get(modelpack.OLD_FILEPATH) or notes.get(oci.TITLE)
    if not path:
        raise BadArtifact(
            f"{at}: a layer of {layer.media_type} without the annotation {modelpack.FILEPATH}: no file name"
        )
    executable = False
    if raw := notes.get(modelpack.FILE_METADATA):
        try:
            executable = bool(msgspec.json.decode(raw, type=modelpack.FileMetadata).mode & 0o100)
        except (msgspec.DecodeError, msgspec.ValidationError):
            # The spec leaves the annotation optional; what cannot be read is as if absent.
            executable = False
    return PlannedFile(check_path(path, at), layer.size, executable, (Piece(layer, 0),))


def _joined(path: str, found: Sequence[tuple[Descriptor, Part]], where: str) -> PlannedFile:
    ordered = sorted(found, key=lambda layer_part: layer_part[1].offset)
    size = ordered[0][1].size
    at = 0
    for layer, part in ordered:
        if part.offset != at or part.size != size:
            raise BadArtifact(
                f"{where}: the parts of {path!r} do not fit together: one begins at {part.offset} of {part.size}, "
                f"where {at} of {size} is wanted"
            )
        at += layer.size
    if at != size:
        raise BadArtifact(f"{where}: the parts of {path!r} end at {at}, the file at {size}")
    return PlannedFile(path, size, False, tuple(Piece(layer, part.offset) for layer, part in ordered))
