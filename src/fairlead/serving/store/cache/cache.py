"""A node's model cache: a folder of whole models by digest, with a capacity that is kept.

Several processes may use it at once, and any of them may be killed at any moment: what is there is told from the
folders alone, every change is made under one lock by renames, and a model is either whole or not there. Room is taken
before the first byte is fetched.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fairlead.clock import SYSTEM, Clock
from fairlead.serving.store.cache import holds, locks
from fairlead.serving.store.cache.places import Places, digest_of, folder_of
from fairlead.serving.store.cache.record import (
    MODEL_FILE,
    RESERVATION_FILE,
    ModelRecord,
    Reservation,
    SourceRecord,
    read,
    sync_folder,
    write,
)
from fairlead.serving.store.cache.room import NoRoom, Occupant, plan_room

LOCK_S = 120.0
_USED, _PINNED, _DAMAGED, FILES = "used", "pinned", "damaged", "files"
_SPARE_BYTES = 1 << 30
_SPARE_SHARE = 0.01
_UNSIZED_SPARE_SHARE = 0.15
"""Without a capacity, this much of the disk stays free: below it, kubelets begin to evict pods."""


class CacheError(Exception):
    """The cache cannot do it; the message says why and what would help."""


class Full(CacheError):
    """No room, with the arithmetic."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A model in the cache, as it stands."""

    record: ModelRecord
    used_s: float
    is_pinned: bool
    pods: tuple[str, ...]
    sources: tuple[str, ...]


class ModelCache:
    """The cache at `root`. `capacity_bytes` None: as was said before of this folder, else as the disk allows.

    `own_uid`: the pod on whose behalf this runs. `say` is told what leaves. Calls block; those that change something
    wait for the lock, LOCK_S at most.
    """

    def __init__(
        self,
        root: Path,
        capacity_bytes: int | None = None,
        *,
        clock: Clock = SYSTEM,
        own_uid: str = "",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.places = Places(root.absolute())
        self.capacity_bytes = capacity_bytes
        self.clock = clock
        self._own_uid = own_uid
        self._say = say
        try:
            self.places.make()
            self.capacity_bytes = self._agree_on(capacity_bytes)
        except OSError as error:
            raise CacheError(f"no cache can be at {root}: {error}") from error

    def _agree_on(self, capacity_bytes: int | None) -> int | None:
        """The capacity is the folder's: who does not name one keeps to what others have named."""
        known = read(self.places.capacity, int)
        if capacity_bytes is None or capacity_bytes == known:
            return known
        write(self.places.capacity, capacity_bytes)
        return capacity_bytes

    def find(self, source: str) -> ModelRecord | None:
        """The model that the source meant when it was last asked, if it is here and whole."""
        known = read(self.places.source(source), SourceRecord)
        return None if known is None else self.whole(known.digest)

    def whole(self, digest: str) -> ModelRecord | None:
        """The model, if it is here and its files have their sizes; for their content, see `integrity`."""
        folder = self.places.entry(digest)
        record = read(folder / MODEL_FILE, ModelRecord)
        if record is None or (folder / _DAMAGED).exists():
            return None
        for file in record.files:
            try:
                if (folder / FILES / file.name).stat().st_size != file.size:
                    return None
            except OSError:
                return None
        return record

    def use(self, digest: str, *sources: str, pin: bool = False, uid: str = "", slot: str = "model") -> Path | None:
        """Notes a use of the model, under the names of `sources`, by the pod `uid` if there is one.

        The path that an engine is to load: of a pod, `pods/UID/SLOT`. None if the model left in between.
        """
        with self.changing():
            record = self.whole(digest)
            if record is None:
                return None
            folder = self.places.entry(digest)
            self._touch(folder / _USED)
            if pin:
                (folder / _PINNED).touch()
            for source in dict.fromkeys((record.source, *sources)):
                write(self.places.source(source), SourceRecord(source, digest, self.clock.wall_s()))
            target = f"{folder.name}/{FILES}" + (f"/{record.entry}" if record.entry else "")
            if uid:
                return holds.link(self.places, uid, slot, target)
            return self.places.entries / target

    def reserve(self, digest: str, source: str, size: int) -> None:
        """Room for a model on its way, whose lock the caller holds: `size` bytes in all, what is there included.

        Others leave for it. Raises Full, and then nothing has left.
        """
        with self.changing():
            folder = self.places.partial(digest)
            others = [o for o in self.occupants() if o.name != f"partial/{folder.name}"]
            own_bytes = disk_bytes(folder)
            self._forget_sources()
            room = plan_room(
                others,
                size,
                capacity_bytes=self.capacity_bytes,
                free_bytes=self._free_bytes() + own_bytes,
                spare_bytes=self._spare_bytes(),
            )
            if isinstance(room, NoRoom):
                raise Full(f"no room for {source} in {self.places.root}: {room.reason}")
            for name in room.leave:
                leaving = next(o for o in others if o.name == name)
                self._say(f"{leaving.label or name} leaves the cache for {source}")
                self.remove(self.places.root / name)
            write(folder / RESERVATION_FILE, Reservation(digest, source, size, boot_id(), self.clock.wall_s()))

    def commit(self, record: ModelRecord) -> None:
        """What is in the partial folder becomes the model, whole, at one moment. Raises OSError."""
        partial, entry = self.places.partial(record.digest), self.places.entry(record.digest)
        content = partial / "content"
        write(content / MODEL_FILE, record)
        with self.changing():
            if entry.exists():
                self._set_aside(entry)
            self._touch(content / _USED)
            os.rename(content, entry)
            sync_folder(self.places.entries)
            self.remove(partial)

    def set_aside(self, digest: str) -> None:
        """The model's files are not what they were: no pod gets them again. Those that run keep what they have open."""
        with self.changing():
            entry = self.places.entry(digest)
            if digest in holds.users(self.places, self.clock.wall_s(), self._own_uid):
                # An engine may have to load it once more: bad files are better than none until it is fetched anew.
                (entry / _DAMAGED).touch()
            elif entry.exists():
                self._set_aside(entry)

    def pin(self, digest: str, is_pinned: bool) -> None:
        """Whether the model stays though others need the room."""
        with self.changing():
            mark = self.places.entry(digest) / _PINNED
            if not mark.parent.exists():
                raise CacheError(f"{digest} is not in the cache at {self.places.root}")
            mark.touch() if is_pinned else mark.unlink(missing_ok=True)

    def prune(self, to_bytes: int = 0, idle_s: float = 0.0) -> list[str]:
        """Takes out what may leave and was not used for `idle_s`, longest unused first, until at most `to_bytes` are
        taken. Returns what left."""
        with self.changing():
            occupants = self.occupants()
            taken, left = sum(o.bytes for o in occupants), []
            for occupant in sorted(occupants, key=lambda o: (o.kind != "damaged", o.used_s)):
                is_idle = occupant.kind == "damaged" or self.clock.wall_s() - occupant.used_s >= idle_s
                if taken > to_bytes and occupant.may_leave and is_idle:
                    self.remove(self.places.root / occupant.name)
                    taken -= occupant.bytes
                    left.append(occupant.label or occupant.name)
            return left

    def models(self) -> list[Cached]:
        """All whole models, the latest used first."""
        with self.changing():
            users = holds.users(self.places, self.clock.wall_s(), self._own_uid)
        names = self._names_of()
        found = []
        for folder in self._folders(self.places.entries):
            record = read(folder / MODEL_FILE, ModelRecord)
            if record is not None:
                pods = tuple(sorted(users.get(record.digest, ())))
                sources = tuple(sorted(names.get(record.digest, ())))
                is_pinned = (folder / _PINNED).exists()
                found.append(Cached(record, modified_s(folder / _USED, folder), is_pinned, pods, sources))
        return sorted(found, key=lambda c: (-c.used_s, c.record.digest))

    def occupants(self) -> list[Occupant]:
        """All that takes room. Call with the lock held."""
        users = holds.users(self.places, self.clock.wall_s(), self._own_uid)
        found: list[Occupant] = []
        for folder in self._folders(self.places.entries):
            digest = digest_of(folder.name) or ""
            record = read(folder / MODEL_FILE, ModelRecord)
            size = disk_bytes(folder) if record is None else record.bytes
            is_pinned = (folder / _PINNED).exists()
            used_s = modified_s(folder / _USED, folder)
            label = "" if record is None else record.source
            found.append(
                Occupant(
                    f"entries/{folder.name}", "model", size, size, used_s, is_pinned, len(users.get(digest, ())), label
                )
            )
        for folder in self._folders(self.places.partials):
            reservation = read(folder / RESERVATION_FILE, Reservation)
            there = disk_bytes(folder)
            size = max(there, 0 if reservation is None else reservation.bytes)
            is_active = locks.is_held(folder / "lock")
            label = "" if reservation is None else reservation.source
            found.append(
                Occupant(
                    f"partial/{folder.name}",
                    "partial",
                    size if is_active else there,
                    there,
                    modified_s(folder / RESERVATION_FILE, folder),
                    users=int(is_active),
                    label=label,
                )
            )
        for folder in self._folders(self.places.damaged):
            there = disk_bytes(folder)
            found.append(Occupant(f"damaged/{folder.name}", "damaged", there, there, folder.stat().st_mtime))
        return found

    def remove(self, path: Path) -> None:
        """Takes a folder away: first out of sight at one moment, then from the disk. Call with the lock held."""
        target = self.places.trash / f"{path.name}.{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, target)
        shutil.rmtree(target, ignore_errors=True)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Holds the cache's lock, with what a killed process left behind cleared away. Raises CacheError."""
        try:
            with locks.locked(self.places.lock, LOCK_S):
                for folder in self._folders(self.places.trash):
                    shutil.rmtree(folder, ignore_errors=True)
                for folder in self._folders(self.places.partials):
                    is_done = not (folder / "content").exists() and (self.places.entries / folder.name).exists()
                    if is_done and not locks.is_held(folder / "lock"):
                        shutil.rmtree(folder, ignore_errors=True)
                yield
        except locks.Busy as error:
            raise CacheError(f"{error} for {LOCK_S:g} s: it hangs or works on a slow disk") from error

    def _set_aside(self, entry: Path) -> None:
        os.rename(entry, self.places.damaged / f"{entry.name}.{secrets.token_hex(4)}")

    def _names_of(self) -> dict[str, set[str]]:
        """Digest -> sources that mean it."""
        names: dict[str, set[str]] = {}
        for path in self.places.sources.glob("*.json"):
            known = read(path, SourceRecord)
            if known is None or not (self.places.entry(known.digest) / MODEL_FILE).exists():
                continue
            names.setdefault(known.digest, set()).add(known.source)
        return names

    def _forget_sources(self) -> None:
        """Drops what sources meant whose model has left."""
        for path in self.places.sources.glob("*.json"):
            known = read(path, SourceRecord)
            if known is None or not self.places.entry(known.digest).exists():
                path.unlink(missing_ok=True)

    def _touch(self, path: Path) -> None:
        path.touch()
        now_s = self.clock.wall_s()
        os.utime(path, (now_s, now_s))

    def _free_bytes(self) -> int:
        found = os.statvfs(self.places.root)
        return found.f_bavail * found.f_frsize

    def _spare_bytes(self) -> int:
        found = os.statvfs(self.places.root)
        whole = found.f_blocks * found.f_frsize
        if self.capacity_bytes is None:
            return int(whole * _UNSIZED_SPARE_SHARE)
        return min(int(whole * _SPARE_SHARE), _SPARE_BYTES)

    def _folders(self, root: Path) -> list[Path]:
        with contextlib.suppress(OSError):
            return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return []


def entry_name(digest: str) -> str:
    """The folder of a digest below entries/. Raises ValueError."""
    return folder_of(digest)


def boot_id() -> str:
    """Which start of this machine it is; empty where it does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take on disk."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return total


def modified_s(path: Path, otherwise: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    with contextlib.suppress(OSError):
        return otherwise.stat().st_mtime
    return 0.0
