"""A model as a plain OCI image: tar layers that a kubelet can mount (`volumes[].image`), the files below `models/`.

One layer per large file, so that unchanged files are shared between versions; small files share the first layer. The
tar archives are reproducible (names in order, owner 0, time 0) and, uncompressed, never written to disk: a layer is
made of headers in memory and the files themselves. The index offers the same layers for amd64 and arm64.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tarfile
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from fairlead.serving.store import modelpack, oci
from fairlead.serving.store.errors import NoSpace
from fairlead.serving.store.oci import Descriptor, Index, Manifest
from fairlead.serving.store.pack import (
    Artifact,
    Layer,
    ModelFile,
    finish_model,
    hash_layers,
    read_through,
)
from fairlead.serving.store.plan import IMAGE_FOLDER
from fairlead.serving.store.progress import Progress
from fairlead.serving.store.repository import Cancel, FileRange, InMemory, Source
from fairlead.serving.store.workers import run_all

Compression = Literal["none", "zstd"]
_ARCHITECTURES = ("amd64", "arm64")
_LARGE_BYTES = 16 << 20


class Concatenation:
    """Sources one after the other, as one."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = [part for part in parts if part.size]
        self._starts: list[int] = []
        self.size = 0
        for part in self._parts:
            self._starts.append(self.size)
            self.size += part.size

    def read_at(self, offset: int, into: memoryview) -> int:
        i = bisect_right(self._starts, offset) - 1
        done = 0
        while i < len(self._parts) and done < len(into) and offset + done < self.size:
            count = self._parts[i].read_at(offset + done - self._starts[i], into[done:])
            if count == 0:
                break
            done += count
            if offset + done >= self._starts[i] + self._parts[i].size:
                i += 1
        return done


def tar_source(files: Sequence[ModelFile], prefix: str) -> Concatenation:
    """A tar archive of these files, with the folders they are in, as a source."""
    parts: list[Source] = []
    folders: set[str] = set()
    for file in sorted(files, key=lambda file: file.path):
        path = prefix + file.path
        for end in (i for i, letter in enumerate(path) if letter == "/"):
            if (folder := path[:end]) not in folders:
                folders.add(folder)
                parts.append(InMemory(_header(folder, 0, 0o755, tarfile.DIRTYPE)))
        parts.append(InMemory(_header(path, file.size, 0o755 if file.executable else 0o644, tarfile.REGTYPE)))
        parts.append(FileRange(file.at, 0, file.size))
        parts.append(InMemory(b"\0" * (-file.size % tarfile.BLOCKSIZE)))
    parts.append(InMemory(b"\0" * 2 * tarfile.BLOCKSIZE))
    return Concatenation(parts)


def pack_image(
    files: Sequence[ModelFile],
    *,
    compression: Compression,
    labels: dict[str, str],
    progress: Progress,
    threads: int,
    cancel: Cancel,
) -> Artifact:
    """An image for image volumes. With zstd the layers are compressed into files of a temporary folder (`scratch`)."""
    small = [file for file in files if file.size < _LARGE_BYTES]
    groups = ([small] if small else []) + [[file] for file in files if file.size >= _LARGE_BYTES]
    layers = [Layer(tar_source(group, IMAGE_FOLDER), oci.IMAGE_LAYER, {}) for group in groups]
    scratch = _finish_layers(layers, compression, oci.IMAGE_LAYER + "+zstd", progress, threads, cancel)
    blobs: list[tuple[Descriptor, Source]] = [(layer.described, layer.source) for layer in layers]
    manifests: list[tuple[bytes, str]] = []
    entries = []
    for architecture in _ARCHITECTURES:
        config = _image_config(architecture, [layer.diff_id for layer in layers], labels)
        config_at = Descriptor(media_type=oci.IMAGE_CONFIG, digest=oci.digest_of(config), size=len(config))
        manifest = oci.encode(Manifest(config=config_at, layers=[layer.described for layer in layers]))
        blobs.append((config_at, InMemory(config)))
        manifests.append((manifest, oci.MANIFEST))
        entries.append(
            Descriptor(
                media_type=oci.MANIFEST,
                digest=oci.digest_of(manifest),
                size=len(manifest),
                platform={"architecture": architecture, "os": "linux"},
            )
        )
    manifests.append((oci.encode(Index(manifests=entries)), oci.INDEX))
    return Artifact(blobs, manifests, scratch)


def pack_model_tar(
    files: Sequence[ModelFile],
    *,
    compression: Compression,
    described: dict[str, Any],
    progress: Progress,
    threads: int,
    cancel: Cancel,
) -> Artifact:
    """A ModelPack artifact whose layers are tar archives of one file each, compressed with zstd or not."""
    layers = [
        Layer(
            tar_source([file], ""),
            modelpack.media_type(modelpack.kind_of(file.path), "tar"),
            {modelpack.FILEPATH: file.path},
        )
        for file in files
    ]
    scratch = _finish_layers(layers, compression, "", progress, threads, cancel)
    artifact = finish_model(files, layers, described, None)
    artifact.scratch = scratch
    return artifact


def _finish_layers(
    layers: Sequence[Layer],
    compression: Compression,
    compressed_type: str,
    progress: Progress,
    threads: int,
    cancel: Cancel,
) -> list[Path]:
    """Compress if asked to, then hash; the temporary folders that the layers are in."""
    if compression == "none":
        hash_layers(layers, progress, threads, cancel)
        return []
    folder = Path(tempfile.mkdtemp(prefix="fairlead-push-"))
    progress.begin("compressing", sum(layer.source.size for layer in layers))

    def work(numbered: tuple[int, Layer]) -> None:
        number, layer = numbered
        at = folder / str(number)
        layer.diff_id = compress(layer.source, at, progress, cancel)
        layer.source = FileRange(at, 0, at.stat().st_size)
        layer.media_type = compressed_type or layer.media_type + "+zstd"

    try:
        run_all(list(enumerate(layers)), work, threads, cancel)
        hash_layers(layers, progress, threads, cancel)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"{folder.parent}: no room for the compressed layers; TMPDIR names another folder for them"
            ) from error
        raise
    return [folder]


def compress(source: Source, at: Path, progress: Progress, cancel: Cancel) -> str:
    """Write a source compressed with zstd; the digest of what it was before."""
    import pyarrow

    hashed = hashlib.sha256()
    with pyarrow.OSFile(os.fspath(at), mode="wb") as file, pyarrow.CompressedOutputStream(file, "zstd") as stream:
        for part in read_through(source):
            cancel.check()
            hashed.update(part)
            stream.write(part)
            progress.advance(len(part))
    return f"sha256:{hashed.hexdigest()}"


def _header(name: str, size: int, mode: int, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.type, member.mtime = size, mode, kind, 0
    return member.tobuf(format=tarfile.PAX_FORMAT)


def _image_config(architecture: str, diff_ids: list[str], labels: dict[str, str]) -> bytes:
    return msgspec.json.encode(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": labels} if labels else {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    )
