"""The files of the NVIDIA driver that a container needs, found below a driver root.

The yardstick is `nvidia-ctk cdi generate`: libraries of the running driver's version, the links by which programs ask
for them, command-line tools, GSP firmware, loader configuration of graphics stacks, sockets of the driver's daemons,
control device nodes. A driver root other than / is where a driver container keeps its files; they appear in containers
at their own paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from fairlead.devices.host import Host
from fairlead.devices.vendors.nvidia.loader_cache import cached_libraries

_FOLDERS = (
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia/current",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/nvidia",
    "/home/kubernetes/bin/nvidia/lib64",
)
_UNVERSIONED = (
    "libnvidia-egl-gbm.so.*.*",
    "libnvidia-egl-wayland*.so.*.*",
    "libnvidia-egl-x*.so.*.*",
    "libnvidia-nvvm70.so.*",
)
"""Libraries of the driver that carry versions of their own."""
_BINARIES = (
    *("nvidia-smi", "nvidia-debugdump", "nvidia-persistenced", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server"),
    *("nvidia-imex", "nvidia-imex-ctl"),
)
_BINARY_FOLDERS = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/home/kubernetes/bin/nvidia/bin",
)
_CONFIGS = (
    ("/usr/share", "glvnd/egl_vendor.d/10_nvidia.json"),
    ("/usr/share", "egl/egl_external_platform.d/15_nvidia_gbm.json"),
    ("/usr/share", "egl/egl_external_platform.d/10_nvidia_wayland.json"),
    ("/usr/share", "nvidia/nvoptix.bin"),
    ("/etc", "OpenCL/vendors/nvidia.icd"),
    ("/etc", "vulkan/icd.d/nvidia_icd.json"),
    ("/etc", "vulkan/implicit_layer.d/nvidia_layers.json"),
)
"""Where a container looks, and the file below it; on the host it may be below either."""
_SOCKETS = ("nvidia-persistenced/socket", "nvidia-fabricmanager/socket")
_CONTROLS = ("/dev/nvidia-modeset", "/dev/nvidia-uvm-tools", "/dev/nvidia-uvm", "/dev/nvidiactl")
HOOK = "nvidia-cdi-hook"


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link of the driver's: `path` leads to `target`, as it is written."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class DriverFile:
    """A file on the host and where it belongs in a container."""

    host_path: str
    container_path: str


@dataclass(frozen=True, slots=True)
class DriverFiles:
    """`hook` is the path of nvidia-cdi-hook, "" where there is none; `hook_commands` the newer ones that it knows."""

    version: str
    libraries: tuple[DriverFile, ...] = ()
    links: tuple[Link, ...] = ()
    others: tuple[DriverFile, ...] = ()
    sockets: tuple[DriverFile, ...] = ()
    controls: tuple[str, ...] = ()
    hook: str = ""
    hook_commands: frozenset[str] = frozenset()

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of libraries in a container."""
        return tuple(dict.fromkeys(os.path.dirname(library.container_path) for library in self.libraries))


def find_driver_files(host: Host, version: str, driver_root: str = "/") -> DriverFiles:
    """What is there; a driver without graphics has fewer files, and nothing is required here."""
    root = driver_root.rstrip("/")
    libraries: dict[str, DriverFile] = {}
    links: dict[str, Link] = {}
    for folder in library_folders(host, driver_root):
        names = host.names(root + folder)
        for name in names:
            if _is_driver_library(name, version):
                libraries.setdefault(_real(host, f"{root}{folder}/{name}"), _file(root, f"{folder}/{name}"))
        links |= {link.path: link for link in _links(host, root, folder, names, version)}
    kept = {os.path.dirname(library.container_path) for library in libraries.values()}
    hook = _find(host, "", _BINARY_FOLDERS, HOOK)
    return DriverFiles(
        version=version,
        libraries=tuple(libraries.values()),
        links=tuple(link for link in links.values() if os.path.dirname(link.path).removesuffix("/gbm") in kept),
        others=tuple(_others(host, root, version)),
        sockets=tuple(_sockets(host, root)),
        controls=tuple(path for path in _CONTROLS if host.device_node(path) is not None),
        hook=hook,
        hook_commands=_commands(host.path(hook)) if hook else frozenset(),
    )


def library_folders(host: Host, driver_root: str = "/") -> list[str]:
    """Folders that may hold driver libraries, by their names below the driver root: the loader's, then known ones."""
    cached = [
        os.path.dirname(path) for name, path in cached_libraries(host, driver_root) if name.startswith("libcuda.so")
    ]
    folders = dict.fromkeys(folder for found in [*cached, *_FOLDERS] for folder in (found, f"{found}/vdpau"))
    return list(folders)


def find_library(host: Host, driver_root: str, name: str) -> Path | None:
    """A library below the driver root, as a path of this process."""
    for folder in library_folders(host, driver_root):
        path = host.path(f"{driver_root.rstrip('/')}{folder}/{name}")
        if path.exists():
            return path
    return None


def find_binary(host: Host, driver_root: str, name: str) -> Path | None:
    """A program of the driver, as a path of this process."""
    found = _find(host, driver_root.rstrip("/"), _BINARY_FOLDERS, name)
    return host.path(driver_root.rstrip("/") + found) if found else None


def _is_driver_library(name: str, version: str) -> bool:
    return name.endswith(f".so.{version}") or any(fnmatch(name, pattern) for pattern in _UNVERSIONED)


def _links(host: Host, root: str, folder: str, names: Iterable[str], version: str) -> Iterator[Link]:
    """Links in a folder to driver libraries of it, and those that programs rely on though packages leave them out."""
    there = set(names)
    libraries = {name for name in there if _is_driver_library(name, version)}
    stems = {name.partition(".so.")[0] for name in libraries}
    for name in sorted(there):
        path = host.path(f"{root}{folder}/{name}")
        if name.partition(".so")[0] in stems and path.is_symlink():
            yield Link(f"{folder}/{name}", os.path.basename(os.readlink(path)))
    for library, name, target in (
        ("libcuda", "libcuda.so", "libcuda.so.1"),
        ("libnvidia-opticalflow", "libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1"),
        ("libGLX_nvidia", "libGLX_indirect.so.0", f"libGLX_nvidia.so.{version}"),
        ("libnvidia-allocator", "gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.1"),
    ):
        if library in stems and name not in there:
            yield Link(f"{folder}/{name}", target)


def _others(host: Host, root: str, version: str) -> Iterator[DriverFile]:
    for name in _BINARIES:
        found = _find(host, root, _BINARY_FOLDERS, name)
        if found:
            # Where the driver keeps its tools elsewhere, they still belong on a container's PATH.
            yield DriverFile(
                root + found, found if found.startswith(("/usr/", "/bin/", "/sbin/")) else f"/usr/bin/{name}"
            )
    for place in ("/lib/firmware/updates", "/lib/firmware"):
        folder = f"{place}/nvidia/{version}"
        names = [name for name in host.names(root + folder) if fnmatch(name, "gsp*.bin")]
        yield from (_file(root, f"{folder}/{name}") for name in names)
        if names:
            break
    for place, name in _CONFIGS:
        for folder in ("/usr/share", "/etc"):
            if host.exists(f"{root}{folder}/{name}"):
                yield DriverFile(f"{root}{folder}/{name}", f"{place}/{name}")
                break


def _sockets(host: Host, root: str) -> Iterator[DriverFile]:
    for name in _SOCKETS:
        found = next(
            (f"{folder}/{name}" for folder in ("/run", "/var/run") if host.exists(f"{root}{folder}/{name}")), ""
        )
        if found:
            yield _file(root, found)


def _file(root: str, path: str) -> DriverFile:
    return DriverFile(root + path, path)


def _find(host: Host, root: str, folders: Iterable[str], name: str) -> str:
    return next((f"{folder}/{name}" for folder in folders if host.path(f"{root}{folder}/{name}").is_file()), "")


def _real(host: Host, path: str) -> str:
    """One library seen through two names of its folder (/lib, /usr/lib) counts once."""
    return os.path.realpath(host.path(path))


def _commands(path: Path) -> frozenset[str]:
    """Which of the newer commands a hook program knows, by the texts in it: an unknown one would end the container."""
    wanted = ("enable-cuda-compat", "disable-device-node-modification", "update-application-profile")
    try:
        program = path.read_bytes()
    except OSError:
        return frozenset()
    return frozenset(name for name in wanted if re.search(re.escape(name.encode()), program))
