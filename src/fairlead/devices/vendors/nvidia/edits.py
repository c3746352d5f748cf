"""What a container gets for a GPU or a part of one, as `nvidia-ctk cdi generate` writes it.

Common to all: control nodes, driver files, and NVIDIA_VISIBLE_DEVICES=void, which keeps an NVIDIA container runtime
beside from adding devices of its own. Where nvidia-cdi-hook is installed it makes links and refreshes the loader's
cache; where it is not, links are mounted under their own names, which is what the loader falls back to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from fairlead.devices.cdi.spec import ContainerEdits, DeviceNode, Hook, Mount
from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.nvidia.driver_files import HOOK, DriverFile, DriverFiles
from fairlead.devices.vendors.nvidia.facts import Gpu, VfioGpu

CLAIM_VARIABLE = "NVIDIA_CLAIM_DEVICES"
"""UUIDs of a claim's devices, for people and programs that look; CUDA does not."""
CUDA_VARIABLE = "CUDA_VISIBLE_DEVICES"
_FILE = ("ro", "nosuid", "nodev", "rbind", "rprivate")
_SOCKET = ("nosuid", "nodev", "rbind", "rprivate", "noexec")
_DRM = re.compile(r"card\d+|renderD\d+")


def common_edits(files: DriverFiles) -> ContainerEdits:
    env = ["NVIDIA_VISIBLE_DEVICES=void"]
    if files.folders:
        env.append(f"NVIDIA_CTK_LIBCUDA_DIR={':'.join(files.folders)}")
    mounts = [_mount(file, _FILE) for file in (*files.libraries, *files.others)]
    mounts += [_mount(file, _SOCKET) for file in files.sockets]
    if not files.hook:
        mounts += _links_as_mounts(files)
    return ContainerEdits(
        env=env,
        device_nodes=[_node(path) for path in files.controls],
        hooks=list(_hooks(files)) if files.hook else [],
        mounts=mounts,
    )


def gpu_edits(gpu: Gpu, drm: Sequence[str] = (), hook: str = "") -> ContainerEdits:
    """`drm` are the GPU's nodes below /dev/dri; with `hook`, its links below /dev/dri/by-path are made, too."""
    nodes = [_node(f"/dev/nvidia{gpu.minor}"), *(_node(f"/dev/dri/{name}") for name in drm)]
    hooks = []
    if hook and drm:
        links = []
        for name in drm:
            kind = "card" if name.startswith("card") else "render"
            links += ["--link", f"../{name}::/dev/dri/by-path/pci-{gpu.pci.bus_id}-{kind}"]
        hooks.append(_hook(hook, "create-symlinks", *links))
    return ContainerEdits(device_nodes=nodes, hooks=hooks)


def mig_edits(host: Host, gpu: Gpu, gpu_instance: int, compute_instance: int) -> ContainerEdits:
    """The capability nodes of a MIG device beside its GPU's node. Raises ProbeError."""
    return ContainerEdits(
        device_nodes=[
            _node(f"/dev/nvidia{gpu.minor}"),
            *capability_nodes(host, gpu.minor, gpu_instance, compute_instance),
        ]
    )


def vfio_edits(vfio: VfioGpu, *, iommufd: bool = False) -> ContainerEdits:
    """`iommufd`: through the function's own character device, where the kernel has it; else through its group."""
    path = f"/dev/vfio/devices/{vfio.character_device}" if iommufd and vfio.character_device else ""
    return ContainerEdits(device_nodes=[_node(path or f"/dev/vfio/{vfio.iommu_group}")])


def iommu_edits(*, iommufd: bool) -> ContainerEdits:
    """The device through which a program speaks to the IOMMU's backend."""
    return ContainerEdits(device_nodes=[_node("/dev/iommu" if iommufd else "/dev/vfio/vfio")])


def capability_nodes(host: Host, minor: int, gpu_instance: int, compute_instance: int) -> list[DeviceNode]:
    """/dev/nvidia-caps nodes that open a GPU instance and its compute instance. They need not exist on the host, so
    they are given by number. Raises ProbeError where the driver's files are cut short or not there."""
    instance = f"/proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{gpu_instance}"
    major = _capabilities_major(host)
    minors = [
        _capability_minor(host, path) for path in (f"{instance}/access", f"{instance}/ci{compute_instance}/access")
    ]
    return [
        DeviceNode(
            path=f"/dev/nvidia-caps/nvidia-cap{number}",
            type="c",
            major=major,
            minor=number,
            file_mode=0o666,
            permissions="rw",
        )
        for number in minors
    ]


def drm_nodes(host: Host, bus_id: str) -> tuple[str, ...]:
    """Names below /dev/dri of a PCI function."""
    return tuple(name for name in host.names(f"/sys/bus/pci/devices/{bus_id}/drm") if _DRM.fullmatch(name))


def claim_edits(uuids: Sequence[str], *, for_cuda: bool) -> ContainerEdits:
    """`for_cuda`: also tell CUDA, where no device cgroup keeps a process from the node's other GPUs."""
    if not uuids:
        return ContainerEdits()
    text = ",".join(uuids)
    return ContainerEdits(env=[f"{CLAIM_VARIABLE}={text}", *([f"{CUDA_VARIABLE}={text}"] if for_cuda else [])])


def _capabilities_major(host: Host) -> int:
    match = re.search(r"^\s*(\d+) nvidia-caps$", host.text("/proc/devices"), re.MULTILINE)
    if match is None:
        raise ProbeError("/proc/devices: has no line for nvidia-caps; is the nvidia kernel module loaded?")
    return int(match[1])


def _capability_minor(host: Host, path: str) -> int:
    text = host.text(path)
    match = re.search(r"^DeviceFileMinor:\s*(\d+)$", text, re.MULTILINE)
    if match is None:
        raise ProbeError(f'{path}: expected a line "DeviceFileMinor: NUMBER", found "{text[:40]}"')
    return int(match[1])


def _hooks(files: DriverFiles) -> Iterator[Hook]:
    links = [part for link in files.links for part in ("--link", f"{link.target}::{link.path}")]
    if links:
        yield _hook(files.hook, "create-symlinks", *links)
    if "enable-cuda-compat" in files.hook_commands:
        yield _hook(files.hook, "enable-cuda-compat", f"--host-driver-version={files.version}")
    folders = [part for folder in files.folders for part in ("--folder", folder)]
    if folders:
        yield _hook(files.hook, "update-ldcache", *folders)
    for command in ("disable-device-node-modification", "update-application-profile"):
        if command in files.hook_commands:
            yield _hook(files.hook, command)


def _hook(path: str, command: str, *arguments: str) -> Hook:
    return Hook("createContainer", path, args=[HOOK, command, *arguments], env=["NVIDIA_CTK_DEBUG=false"])


def _links_as_mounts(files: DriverFiles) -> list[Mount]:
    """Each link's library once more, under the link's name."""
    hosts = {library.container_path: library.host_path for library in files.libraries}
    leads = {link.path: os.path.normpath(f"{os.path.dirname(link.path)}/{link.target}") for link in files.links}
    mounts = []
    for path in leads:
        end = path
        # A link may lead to a link (libcuda.so, libcuda.so.1); more steps than links there are would be a loop.
        for _ in leads:
            end = leads.get(end, end)
        if end in hosts and path not in hosts:
            mounts.append(Mount(host_path=hosts[end], container_path=path, options=_FILE))
    return mounts


def _mount(file: DriverFile, options: Sequence[str]) -> Mount:
    return Mount(host_path=file.host_path, container_path=file.container_path, options=options)


def _node(path: str) -> DeviceNode:
    return DeviceNode(path=path, host_path=path, permissions="rw")
