"""Whether this machine has an NVIDIA driver, and NVML where it has."""

from __future__ import annotations

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.nvidia.driver_files import find_library
from fairlead.devices.vendors.nvidia.installed import PynvmlLibrary
from fairlead.devices.vendors.nvidia.nvml import Code, Library, NvmlError

LIBRARY = "libnvidia-ml.so.1"


class NoDriver(ProbeError):
    """There is no NVIDIA driver here, or its kernel module is not loaded: no GPUs, and no fault."""


def open_library(host: Host, driver_root: str = "/") -> Library:
    """Raises NoDriver; ProbeError where there is a driver that cannot be used."""
    path = find_library(host, driver_root, LIBRARY)
    try:
        return PynvmlLibrary(path)
    except NvmlError as error:
        if error.code == Code.LIBRARY_NOT_FOUND:
            raise NoDriver(f"no NVIDIA driver is installed: {LIBRARY} is not found below {driver_root}") from error
        if error.code == Code.DRIVER_NOT_LOADED:
            raise NoDriver("the NVIDIA kernel module is not loaded; see dmesg and modprobe nvidia") from error
        if error.code == Code.LIB_RM_VERSION_MISMATCH:
            kernel = host.text("/sys/module/nvidia/version", "unknown")
            raise ProbeError(
                f"the NVIDIA library ({path or LIBRARY}) and the loaded kernel module (version {kernel}) differ: the "
                f"driver was upgraded under way; reload the module or restart the machine, then this driver"
            ) from error
        raise ProbeError(f"NVIDIA driver cannot be used: {error}") from error
