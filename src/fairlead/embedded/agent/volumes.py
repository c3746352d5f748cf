"""A pod's volumes as directories on the host.

Content of ConfigMaps, Secrets, the downward API and projections is written the way a kubelet does: files live in a
dated folder, `..data` links to it, and an update swaps that one link, so that readers see the old or the new set whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.embedded.agent.environment import (
    ConfigError,
    Lookup,
    PodView,
    entries,
    field_value,
    resource_value,
)
from fairlead.embedded.agent.image_volumes import ImagePuller, PullError
from fairlead.embedded.agent.pod import (
    ConfigMapVolume,
    DownwardVolume,
    HostPathVolume,
    ImageVolume,
    KeyToPath,
    ProjectedVolume,
    SecretVolume,
    TokenProjection,
    Volume,
)

_DEFAULT_MODE = 0o644
TokenSource = Callable[[TokenProjection], Awaitable[str]]
"""Makes a service account token for a projection; refreshed ones replace the file."""


class VolumeError(Exception):
    """A volume cannot be prepared; the message is the FailedMount event's."""


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int


Files = dict[str, File]


class PodVolumes:
    """All volumes of one pod below `folder`; the node's image volumes come from `images`."""

    def __init__(self, folder: Path, lookup: Lookup, token: TokenSource, images: Path) -> None:
        self._folder = folder
        self._lookup = lookup
        self._token = token
        self._images = ImagePuller(images)

    async def prepare(self, view: PodView) -> dict[str, Path]:
        """Volume name -> directory (a file for some hostPaths); content is brought up to date.

        Raises VolumeError.
        """
        paths: dict[str, Path] = {}
        for volume in view.pod.spec.volumes:
            paths[volume.name] = await self._prepare_one(view, volume)
        return paths

    def has_content(self, view: PodView) -> bool:
        """Whether any volume holds content that may change while the pod runs."""
        return any(v.config_map or v.secret or v.downward_api or v.projected for v in view.pod.spec.volumes)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _prepare_one(self, view: PodView, volume: Volume) -> Path:
        if volume.host_path is not None:
            return await asyncio.to_thread(_host_path, volume.name, volume.host_path)
        directory = self._folder / volume.name
        if volume.image is not None:
            return await self._image(view, volume.name, volume.image, directory)
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        if volume.empty_dir is not None:
            with contextlib.suppress(PermissionError):
                directory.chmod(0o777)
            return directory
        try:
            files = await self._files(view, volume)
        except ConfigError as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        if files is None:
            raise VolumeError(
                f'MountVolume.SetUp failed for volume "{volume.name}" : this node offers emptyDir, hostPath, '
                "configMap, secret, downwardAPI, projected and image volumes only"
            )
        await asyncio.to_thread(write_atomically, directory, files)
        return directory

    async def _image(self, view: PodView, name: str, image: ImageVolume, directory: Path) -> Path:
        logins = []
        for reference in view.pod.spec.image_pull_secrets:
            found = await self._lookup("secrets", reference.name)
            if found is not None:
                logins.append(entries("secrets", found).get(".dockerconfigjson", b""))
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        try:
            await self._images.mount(image.reference, image.pull_policy, logins, directory)
        except (PullError, OSError) as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        return directory

    async def _files(self, view: PodView, volume: Volume) -> Files | None:
        if volume.config_map is not None:
            return await self._config_map(volume.config_map, volume.config_map.default_mode)
        if volume.secret is not None:
            return await self._secret(volume.secret, volume.secret.secret_name, volume.secret.default_mode)
        if volume.downward_api is not None:
            return _downward(view, volume.downward_api, volume.downward_api.default_mode)
        if volume.projected is not None:
            return await self._projected(view, volume.projected)
        return None

    async def _config_map(self, source: ConfigMapVolume, default_mode: int | None) -> Files:
        found = await self._lookup("configmaps", source.name)
        if found is None and not source.optional:
            raise ConfigError(f'configmap "{source.name}" not found')
        content = {} if found is None else entries("configmaps", found)
        return _select(content, source.items, source.optional, default_mode, f"configmap {source.name}")

    async def _secret(self, source: SecretVolume, name: str, default_mode: int | None) -> Files:
        found = await self._lookup("secrets", name)
        if found is None and not source.optional:
            raise ConfigError(f'secret "{name}" not found')
        content = {} if found is None else entries("secrets", found)
        return _select(content, source.items, source.optional, default_mode, f"secret {name}")

    async def _projected(self, view: PodView, projected: ProjectedVolume) -> Files:
        files: Files = {}
        mode = projected.default_mode
        for source in projected.sources:
            if source.config_map is not None:
                files |= await self._config_map(source.config_map, mode)
            if source.secret is not None:
                files |= await self._secret(source.secret, source.secret.name, mode)
            if source.downward_api is not None:
                files |= _downward(view, source.downward_api, mode)
            if source.service_account_token is not None:
                token = await self._token(source.service_account_token)
                files[source.service_account_token.path] = File(token.encode(), _mode(mode) & 0o644)
        return files


def write_atomically(directory: Path, files: Mapping[str, File]) -> bool:
    """Make the directory hold exactly `files`; True if anything changed. Raises VolumeError for unsafe paths."""
    for path in files:
        parts = path.split("/")
        if os.path.isabs(path) or ".." in parts or parts[0].startswith(".."):
            raise VolumeError(f'path "{path}" leaves the volume')
    current = directory / "..data"
    if current.is_symlink() and _same(current, files):
        return False
    fresh = directory / f"..{secrets.token_hex(8)}"
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    fresh.mkdir(exist_ok=True)
    before = os.readlink(current) if current.is_symlink() else None
    link = directory / "..data_tmp"
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(fresh.name)
    link.replace(current)
    _link_entries(directory, {path.split("/")[0] for path in files})
    if before is not None:
        shutil.rmtree(directory / before, ignore_errors=True)
    return True


def _link_entries(directory: Path, names: set[str]) -> None:
    for name in names:
        entry = directory / name
        if not entry.is_symlink():
            entry.symlink_to(f"..data/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()


def _same(current: Path, files: Mapping[str, File]) -> bool:
    present = {str(p.relative_to(current)): p for p in current.rglob("*") if p.is_file()}
    if present.keys() != files.keys():
        return False
    return all(
        path.read_bytes() == files[name].content and path.stat().st_mode & 0o777 == files[name].mode & 0o777
        for name, path in present.items()
    )


def _select(
    content: Mapping[str, bytes], items: Iterable[KeyToPath], optional: bool, default_mode: int | None, what: str
) -> Files:
    items = tuple(items)
    if not items:
        return {key: File(value, _mode(default_mode)) for key, value in content.items()}
    files: Files = {}
    for item in items:
        if item.key not in content:
            if optional:
                continue
            raise ConfigError(f"{what} references non-existent config key: {item.key}")
        mode = _mode(default_mode) if item.mode is None else item.mode
        files[item.path] = File(content[item.key], mode)
    return files


def _downward(view: PodView, source: DownwardVolume, default_mode: int | None) -> Files:
    files: Files = {}
    for item in source.items:
        text = ""
        if item.field_ref is not None:
            text = field_value(view, item.field_ref)
        elif item.resource_field_ref is not None:
            text = resource_value(view, item.resource_field_ref, None)
        files[item.path] = File(text.encode(), _mode(default_mode) if item.mode is None else item.mode)
    return files


def _host_path(name: str, source: HostPathVolume) -> Path:
    path = Path(source.path)
    checks: dict[str, tuple[Callable[[Path], bool], str]] = {
        "Directory": (Path.is_dir, "is not a directory"),
        "File": (Path.is_file, "is not a file"),
        "Socket": (Path.is_socket, "is not a socket file"),
        "CharDevice": (Path.is_char_device, "is not a character device"),
        "BlockDevice": (Path.is_block_device, "is not a block device"),
    }
    try:
        if source.type == "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif source.type == "FileOrCreate":
            path.touch(mode=0o644, exist_ok=True)
    except OSError as error:
        raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
    if source.type in checks and not checks[source.type][0](path):
        detail = f"hostPath type check failed: {path} {checks[source.type][1]}"
        raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {detail}')
    if not path.exists():
        # Docker made missing directories, and manifests rely on it.
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
    return path


def _mode(default: int | None) -> int:
    return _DEFAULT_MODE if default is None else default
