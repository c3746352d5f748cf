from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from devices.vendors.nvidia.nvml_machine import DRIVER, H100, NvidiaMachine, bus_id
from devices.vendors.sysfs_machine import Machine
from fairlead.devices.cdi import spec as cdi
from fairlead.devices.cdi.rules import validate
from fairlead.devices.vendors.nvidia.attach import NoDriver
from fairlead.devices.vendors.nvidia.driver_files import find_driver_files
from fairlead.devices.vendors.nvidia.edits import common_edits, gpu_edits
from fairlead.devices.vendors.nvidia.loader_cache import parse_cache
from fairlead.devices.vendors.nvidia.nvml import Nvml
from fairlead.devices.vendors.nvidia.probe import read_gpus
from fairlead.devices.vendors.nvidia.recording import Replay
from fairlead.devices.vendors.nvidia.vendor import NvidiaVendor

LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def install_driver(machine: Machine, root: str = "", folder: str = LIBRARIES) -> None:
    """What a driver package puts on a machine, in part."""
    for name in ("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler", "vdpau/libvdpau_nvidia"):
        machine.write(f"{root}{folder}/{name}.so.{DRIVER}", "elf")
    for name in ("libcuda", "libnvidia-ml"):
        machine.path(f"{root}{folder}/{name}.so.1").symlink_to(f"{name}.so.{DRIVER}")
    machine.path(f"{root}{folder}/libnvidia-ml.so").symlink_to("libnvidia-ml.so.1")
    machine.write(f"{root}{folder}/libcuda.so.470.1", "an older one left behind")
    machine.write(f"{root}{folder}/libc.so.6", "not the driver's")
    machine.write(f"{root}/usr/bin/nvidia-smi", "elf")
    machine.write(f"{root}/lib/firmware/nvidia/{DRIVER}/gsp_ga10x.bin", "firmware")
    machine.write(f"{root}/usr/share/glvnd/egl_vendor.d/10_nvidia.json", "{}")
    machine.write(f"{root}/run/nvidia-fabricmanager/socket", "")


def mounts(edits: cdi.ContainerEdits) -> dict[str, str]:
    return {mount.container_path: mount.host_path for mount in edits.mounts}


def test_driver_files_are_mounted_and_links_too(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, H100, 1)
    install_driver(machine)
    edits = common_edits(find_driver_files(machine.host, DRIVER))
    at = LIBRARIES
    assert mounts(edits) == {
        f"{at}/libcuda.so.{DRIVER}": f"{at}/libcuda.so.{DRIVER}",
        f"{at}/libnvidia-ml.so.{DRIVER}": f"{at}/libnvidia-ml.so.{DRIVER}",
        f"{at}/libnvidia-ptxjitcompiler.so.{DRIVER}": f"{at}/libnvidia-ptxjitcompiler.so.{DRIVER}",
        f"{at}/vdpau/libvdpau_nvidia.so.{DRIVER}": f"{at}/vdpau/libvdpau_nvidia.so.{DRIVER}",
        "/usr/bin/nvidia-smi": "/usr/bin/nvidia-smi",
        f"/lib/firmware/nvidia/{DRIVER}/gsp_ga10x.bin": f"/lib/firmware/nvidia/{DRIVER}/gsp_ga10x.bin",
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json": "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
        "/run/nvidia-fabricmanager/socket": "/run/nvidia-fabricmanager/socket",
        # No hook makes links here, so each link's library is there under the link's name.
        f"{at}/libcuda.so.1": f"{at}/libcuda.so.{DRIVER}",
        f"{at}/libcuda.so": f"{at}/libcuda.so.{DRIVER}",
        f"{at}/libnvidia-ml.so.1": f"{at}/libnvidia-ml.so.{DRIVER}",
        f"{at}/libnvidia-ml.so": f"{at}/libnvidia-ml.so.{DRIVER}",
    }
    options = {mount.container_path: tuple(mount.options) for mount in edits.mounts}
    assert options[f"{at}/libcuda.so.{DRIVER}"] == ("ro", "nosuid", "nodev", "rbind", "rprivate")
    assert "noexec" in options["/run/nvidia-fabricmanager/socket"]
    assert list(edits.env) == ["NVIDIA_VISIBLE_DEVICES=void", f"NVIDIA_CTK_LIBCUDA_DIR={at}:{at}/vdpau"]
    validate(cdi.Spec("0.6.0", "nvidia.com/gpu", devices=[cdi.Device("gpu-0", container_edits=edits)]))


def test_the_hook_makes_links_where_it_is_installed(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, H100, 1)
    install_driver(machine)
    machine.write("/usr/bin/nvidia-cdi-hook", "create-symlinks update-ldcache enable-cuda-compat")
    files = find_driver_files(machine.host, DRIVER)
    edits = common_edits(files)
    assert f"{LIBRARIES}/libcuda.so.1" not in mounts(edits)
    commands = [list(hook.args) for hook in edits.hooks]
    assert [command[:2] for command in commands] == [
        ["nvidia-cdi-hook", "create-symlinks"],
        ["nvidia-cdi-hook", "enable-cuda-compat"],
        ["nvidia-cdi-hook", "update-ldcache"],
    ]
    assert f"libcuda.so.1::{LIBRARIES}/libcuda.so" in commands[0]
    assert f"libcuda.so.{DRIVER}::{LIBRARIES}/libcuda.so.1" in commands[0]
    assert commands[1][2:] == [f"--host-driver-version={DRIVER}"]
    assert commands[2][2:] == ["--folder", LIBRARIES, "--folder", f"{LIBRARIES}/vdpau"]
    assert {hook.path for hook in edits.hooks} == {"/usr/bin/nvidia-cdi-hook"}
    gpu = read_gpus(Nvml(machine.replay()), machine.host).gpus[0]
    links = gpu_edits(gpu, ("card0", "renderD128"), files.hook).hooks[0].args
    assert f"../renderD128::/dev/dri/by-path/pci-{bus_id(0)}-render" in links


def test_files_of_a_driver_container_appear_at_their_own_paths(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, H100, 1)
    install_driver(machine, "/run/nvidia/driver")
    found = mounts(common_edits(find_driver_files(machine.host, DRIVER, "/run/nvidia/driver")))
    assert found[f"{LIBRARIES}/libcuda.so.1"] == f"/run/nvidia/driver{LIBRARIES}/libcuda.so.{DRIVER}"
    assert found["/usr/bin/nvidia-smi"] == "/run/nvidia/driver/usr/bin/nvidia-smi"


def test_a_folder_seen_by_two_names_counts_once(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, H100, 1)
    install_driver(machine)
    machine.path("/lib/x86_64-linux-gnu").symlink_to("../usr/lib/x86_64-linux-gnu")
    paths = [library.container_path for library in find_driver_files(machine.host, DRIVER).libraries]
    assert len(paths) == 4 and all(path.startswith("/usr/lib/") for path in paths)


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, H100, 1)
    install_driver(machine)
    machine.path(f"{LIBRARIES}/libcuda.so").symlink_to("libcuda.so.2")
    machine.path(f"{LIBRARIES}/libcuda.so.2").symlink_to("libcuda.so")
    assert f"{LIBRARIES}/libcuda.so.2" not in mounts(common_edits(find_driver_files(machine.host, DRIVER)))


# The loader's cache.


def cache(entries: Sequence[tuple[str, str]], *, old: bool = False) -> bytes:
    texts, offsets = b"", []
    start = 48 + 24 * len(entries)
    for pair in entries:
        places = []
        for text in pair:
            places.append(start + len(texts))
            texts += text.encode() + b"\0"
        offsets.append(places)
    table = b"glibc-ld.so.cache1.1" + struct.pack("<II20x", len(entries), len(texts))
    table += b"".join(struct.pack("<iIIIQ", 0x303, name, path, 0, 0) for name, path in offsets) + texts
    before = b"ld.so-1.7.0\0" + struct.pack("<I", 1) + bytes(12)
    return before + bytes(-len(before) % 8) + table if old else table


ENTRIES = [("libcuda.so.1", "/opt/odd/libcuda.so.1"), ("libc.so.6", "/lib/libc.so.6")]


def test_folders_are_those_of_the_loaders_cache(tmp_path: Path) -> None:
    machine = NvidiaMachine(tmp_path, H100, 1)
    install_driver(machine, folder="/opt/odd")
    machine.path("/etc").mkdir(exist_ok=True)
    machine.path("/etc/ld.so.cache").write_bytes(cache(ENTRIES))
    assert find_driver_files(machine.host, DRIVER).folders == ("/opt/odd", "/opt/odd/vdpau")


def test_both_forms_of_the_cache_are_read() -> None:
    assert parse_cache(cache(ENTRIES)) == ENTRIES
    assert parse_cache(cache(ENTRIES, old=True)) == ENTRIES


@given(st.integers(min_value=0, max_value=200), st.booleans())
def test_a_cache_that_is_cut_short_tells_what_it_can(length: int, old: bool) -> None:
    assert set(parse_cache(cache(ENTRIES, old=old)[:length])) <= set(ENTRIES)


@given(st.binary(max_size=200))
def test_no_cache_is_too_broken_to_read(data: bytes) -> None:
    assert isinstance(parse_cache(data), list)
    assert isinstance(parse_cache(b"glibc-ld.so.cache1.1" + data), list)
    assert isinstance(parse_cache(b"ld.so-1.7.0\0" + data), list)


def test_the_cache_of_this_machine_is_understood() -> None:
    try:
        data = Path("/etc/ld.so.cache").read_bytes()
    except OSError:
        return
    assert any(name.startswith("libc.so") for name, _ in parse_cache(data))


# GPUs of virtual machines.


def test_a_gpu_of_vfio_is_offered_without_a_driver(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.sockets(1)
    chain = "pci0000:10/0000:10:01.0/0000:1b:00.0"
    folder = machine.pci(chain, vendor="10de", device="2330", pci_class="0x030200", driver="vfio-pci")
    machine.path("/sys/kernel/iommu_groups/42").mkdir(parents=True)
    machine.link(f"{folder}/iommu_group", "/sys/kernel/iommu_groups/42")
    machine.path(f"{folder}/vfio-dev/vfio3").mkdir(parents=True)
    windows = "0x92000000 0x92ffffff 0x40200\n0x10000000000 0x11fffffffff 0x14220c\n0x0 0x0 0x0\n"
    machine.write(f"{folder}/resource", windows)

    def nothing() -> Replay:
        raise NoDriver("none")

    vendor = NvidiaVendor(machine.host, open_nvml=nothing)
    (device,) = vendor.probe().devices
    assert device.name == "gpu-vfio-0"
    assert device.attributes["type"] == "vfio" and device.attributes["iommuFDEnabled"] is True
    assert device.attributes["resource.kubernetes.io/pcieRoot"] == "pci0000:10"
    assert device.capacity["addressableMemory"].value == "128Gi"
    assert [node.path for node in vendor.edits(device).device_nodes] == ["/dev/vfio/42"]
    assert vendor.health()["gpu-vfio-0"].state == "healthy"
    machine.remove(f"{folder}/driver")
    assert vendor.probe().devices == ()
