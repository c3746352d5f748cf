"""An OCI image layout on disk (image specification, image-layout.md): oci-layout, index.json, blobs/sha256."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fairlead.serving.store import oci
from fairlead.serving.store.errors import BadArtifact, NoSpace, NotFound, StoreError, Unreachable, WrongContent
from fairlead.serving.store.oci import REF_NAME, Descriptor, Index
from fairlead.serving.store.repository import BUFFER_BYTES, Cancel, Source

_LOOKS, _LOOK_S = 20, 0.1
_MARK = b'{"imageLayoutVersion":"1.0.0"}'


class LayoutRepository:
    """A layout as a repository; its tags are the reference names in index.json. Writers take turns.

    Until it is closed, nobody collects blobs: what a push found or has sent is not taken from under it, nor what a pull
    reads. The locks are the kernel's, on folders of the layout, so that a kill leaves none.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self.folder = folder
        self._blobs = folder / "blobs" / "sha256"
        if create and not (folder / "oci-layout").exists():
            if folder.exists() and any(folder.iterdir()):
                raise BadArtifact(f"{folder}: neither empty nor an OCI layout (no file oci-layout)")
            self._blobs.mkdir(parents=True, exist_ok=True)
            _write(folder / "index.json", oci.encode(Index(manifests=[])))
            _write(folder / "oci-layout", _MARK)
        if not (folder / "oci-layout").exists():
            raise NotFound(f"{folder}: no OCI layout there (no file oci-layout)")
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._in_use = os.open(self._blobs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._in_use)
        self._lock_blobs(fcntl.LOCK_SH)

    @property
    def name(self) -> str:
        return f"layout://{self.folder}"

    def manifest(self, selector: str) -> tuple[Descriptor, bytes]:
        descriptor = self._find(selector)
        path = self._path(descriptor.digest)
        if not path.is_file():
            raise NotFound(f"{self.name}: no manifest {selector}: the layout has lost {path.name}")
        if path.stat().st_size > oci.MANIFEST_LIMIT_BYTES:
            raise BadArtifact(f"{self.name}: {selector} is longer than {oci.MANIFEST_LIMIT_BYTES} bytes: no manifest")
        raw = path.read_bytes()
        if oci.digest_of(raw) != descriptor.digest:
            raise WrongContent(
                f"{self.name}: the file of {descriptor.digest} holds something else: the layout is damaged"
            )
        return descriptor, raw

    def put_manifest(self, raw: bytes, media_type: str, tag: str = "") -> Descriptor:
        digest = oci.digest_of(raw)
        _write(self._path(digest), raw)
        document = msgspec.json.decode(raw)
        artifact_type = document.get("artifactType") if isinstance(document, dict) else None
        entry = Descriptor(media_type=media_type, digest=digest, size=len(raw), artifact_type=artifact_type)
        tagged = msgspec.structs.replace(entry, annotations={REF_NAME: tag}) if tag else entry
        _sync_folder(self._blobs)
        with self._locked():
            others = [d for d in self._index().manifests if not tag or d.annotations.get(REF_NAME) != tag]
            if tag or all(d.digest != digest for d in others):
                others = [d for d in others if d.digest != digest or d.annotations.get(REF_NAME)]
                self._write_index([*others, tagged])
        return entry

    def has_blob(self, descriptor: Descriptor) -> bool:
        # What was cut short, say by a full disk or a power cut, is replaced.
        try:
            return self._path(descriptor.digest).stat().st_size == descriptor.size
        except FileNotFoundError:
            return False

    def open_blob(self, descriptor: Descriptor, start: int, end: int) -> _FileReader:
        path = self._path(descriptor.digest)
        try:
            size = path.stat().st_size
            if size != descriptor.size:
                raise WrongContent(
                    f"{self.name}: the file of {descriptor.digest} has {size} bytes, not {descriptor.size}: the layout "
                    "is damaged; push again"
                )
            return _FileReader(path, start, end)
        except FileNotFoundError as error:
            raise NotFound(f"{self.name}: no blob {descriptor.digest}") from error

    def put_blob(self, descriptor: Descriptor, source: Source, moved: Callable[[int], None]) -> int:
        path = self._path(descriptor.digest)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            _copy(source, partial, descriptor, moved)
            partial.replace(path)
            return descriptor.size
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"{self.folder}: no room for a blob of {descriptor.size} bytes") from error
            raise
        finally:
            partial.unlink(missing_ok=True)

    def tags(self) -> list[str]:
        return sorted({d.annotations[REF_NAME] for d in self._index().manifests if d.annotations.get(REF_NAME)})

    def delete(self, selector: str) -> None:
        with self._locked():
            before = self._index().manifests
            if oci.is_digest(selector):
                after = [d for d in before if d.digest != selector]
            else:
                after = [d for d in before if d.annotations.get(REF_NAME) != selector]
            if len(after) == len(before):
                raise NotFound(f"{self.name}: no manifest {selector}")
            self._write_index(after)

    def referrers(self, digest: str, artifact_type: str = "") -> list[Descriptor]:
        found: dict[str, Descriptor] = {}
        for entry in self._index().manifests:
            if entry.media_type != oci.MANIFEST or entry.digest == digest or not self.has_blob(entry):
                continue
            try:
                raw = self._path(entry.digest).read_bytes()
                manifest = oci.decode_manifest(raw, f"{self.name}: {entry.digest}")
            except BadArtifact:
                continue
            kind = manifest.artifact_type or manifest.config.media_type
            if manifest.subject is not None and manifest.subject.digest == digest and artifact_type in ("", kind):
                found[entry.digest] = msgspec.structs.replace(
                    entry, artifact_type=kind, annotations=manifest.annotations
                )
        return list(found.values())

    def collect(self) -> int:
        """Remove blobs that nothing in the index leads to, and what killed pushes left; how many bytes that freed.

        Raises StoreError while others push to the layout or pull from it.
        """
        with self._locked(), self._alone():
            wanted = {d.digest for d in self._index().manifests}
            todo = list(wanted)
            while todo:
                for digest in self._leads_to(todo.pop()) - wanted:
                    wanted.add(digest)
                    todo.append(digest)
            freed = 0
            leftovers = [*self.folder.glob(".index.json.*"), *self.folder.glob(".oci-layout.*")]
            for path in [*self._blobs.iterdir(), *leftovers]:
                if f"sha256:{path.name}" not in wanted:
                    freed += path.stat().st_size
                    path.unlink()
            return freed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait a little until nobody else has the layout open, and keep it so. Raises StoreError."""
        waiting = Cancel()
        for _ in range(_LOOKS):
            if self._lock_blobs(fcntl.LOCK_EX | fcntl.LOCK_NB):
                break
            waiting.sleep(_LOOK_S)
        else:
            self._lock_blobs(fcntl.LOCK_SH)
            raise StoreError(
                f"{self.name}: blobs stay, as another process pushes to the layout or pulls from it; "
                "prune once more when it has ended"
            )
        try:
            yield
        finally:
            self._lock_blobs(fcntl.LOCK_SH)

    def _lock_blobs(self, how: int) -> bool:
        try:
            fcntl.flock(self._in_use, how)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks: whoever shares it has to see to it that nobody prunes under a push.
            return True
        return True

    def _leads_to(self, digest: str) -> set[str]:
        path = self._path(digest)
        if not path.is_file() or path.stat().st_size > oci.MANIFEST_LIMIT_BYTES:
            return set()
        try:
            document = msgspec.json.decode(path.read_bytes())
        except (msgspec.DecodeError, UnicodeDecodeError):
            return set()
        if not isinstance(document, dict):
            return set()
        found = [document.get("config"), *(document.get("layers") or ()), *(document.get("manifests") or ())]
        return {d["digest"] for d in found if isinstance(d, dict) and isinstance(d.get("digest"), str)}

    def _find(self, selector: str) -> Descriptor:
        entries = self._index().manifests
        if oci.is_digest(selector):
            for entry in entries:
                if entry.digest == selector:
                    return msgspec.structs.replace(entry, annotations={})
            path = self._path(selector)
            if path.is_file():
                return Descriptor(media_type=oci.MANIFEST, digest=selector, size=path.stat().st_size)
        else:
            for entry in entries:
                if entry.annotations.get(REF_NAME) == selector:
                    return msgspec.structs.replace(entry, annotations={})
        known = ", ".join(self.tags()) or "none"
        raise NotFound(f"{self.name}: no manifest {selector}; its tags: {known}")

    def _index(self) -> Index:
        try:
            return oci.decode_index((self.folder / "index.json").read_bytes(), f"{self.folder}/index.json")
        except OSError as error:
            raise NotFound(f"{self.folder}/index.json: cannot be read: {error.strerror}") from error

    def _write_index(self, manifests: list[Descriptor]) -> None:
        _write(self.folder / "index.json", oci.encode(Index(manifests=manifests)))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The folder itself is locked, so that no file appears in the layout that its specification does not know.
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, digest: str) -> Path:
        if not oci.is_digest(digest):
            raise StoreError(f"{digest!r} is no sha256 digest")
        return self._blobs / digest.removeprefix("sha256:")


class _FileReader:
    def __init__(self, path: Path, start: int, end: int) -> None:
        self._path, self._at, self._end = path, start, end
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def readinto(self, into: memoryview) -> int:
        wanted = min(len(into), self._end - self._at)
        if wanted <= 0:
            return 0
        try:
            count = os.preadv(self._descriptor, [into[:wanted]], self._at)
        except OSError as error:
            raise Unreachable(f"{self._path}: cannot be read: {error.strerror}") from error
        self._at += count
        return count

    def close(self) -> None:
        os.close(self._descriptor)


def _copy(source: Source, path: Path, descriptor: Descriptor, moved: Callable[[int], None]) -> None:
    """A source into a file, with its digest looked at on the way."""
    room = memoryview(bytearray(BUFFER_BYTES))
    hashed = hashlib.sha256()
    at = 0
    with open(path, "wb", buffering=0) as file:
        while count := source.read_at(at, room):
            hashed.update(room[:count])
            file.write(room[:count])
            at += count
            moved(count)
        os.fsync(file.fileno())
    if at != descriptor.size or f"sha256:{hashed.hexdigest()}" != descriptor.digest:
        raise WrongContent(f"what was to become {descriptor.digest} is something else: was the file changed meanwhile?")


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{path}: no room for {len(content)} bytes") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
