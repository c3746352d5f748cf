"""NVIDIA GPUs, their MIG devices and partitions as a driver's devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.cdi.spec import ContainerEdits
from fairlead.devices.errors import ClaimError, ConfigError, DeviceError, ProbeError
from fairlead.devices.health import HEALTHY, Health
from fairlead.devices.host import Host
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, DeviceReport, Grant, Preparation, Vendor
from fairlead.devices.vendors.nvidia import mig
from fairlead.devices.vendors.nvidia.attach import LIBRARY, NoDriver, open_library
from fairlead.devices.vendors.nvidia.classes import device_classes
from fairlead.devices.vendors.nvidia.conditions import Conditions
from fairlead.devices.vendors.nvidia.config import Config, VfioDeviceConfig, read_config
from fairlead.devices.vendors.nvidia.driver_files import DriverFiles, find_binary, find_driver_files, find_library
from fairlead.devices.vendors.nvidia.edits import (
    claim_edits,
    common_edits,
    drm_nodes,
    gpu_edits,
    iommu_edits,
    mig_edits,
    vfio_edits,
)
from fairlead.devices.vendors.nvidia.events import EventMonitor
from fairlead.devices.vendors.nvidia.facts import Gpu, Gpus, MigDevice, VfioGpu
from fairlead.devices.vendors.nvidia.health import APPLICATION_XIDS
from fairlead.devices.vendors.nvidia.inventory import (
    ONE_CLAIM,
    Offer,
    Part,
    Partition,
    build,
    divides,
    parts,
    vfio_name,
)
from fairlead.devices.vendors.nvidia.mps import MpsDaemons
from fairlead.devices.vendors.nvidia.names import parse_partition
from fairlead.devices.vendors.nvidia.nvml import GONE, Library, Nvml, NvmlError
from fairlead.devices.vendors.nvidia.probe import read_gpus
from fairlead.devices.vendors.nvidia.recording import Replay, read_recording
from fairlead.devices.vendors.nvidia.sharing import SharedDevice, Sharing
from fairlead.devices.vendors.nvidia.smi import NvidiaSmi
from fairlead.devices.vendors.nvidia.vfio import read_vfio
from fairlead.kube.quantity import Quantity

DRIVER: Final = "gpu.nvidia.com"
CDI_KIND: Final = "nvidia.com/gpu"
STATE_FOLDER: Final = "/run/fairlead/nvidia"
"""Settings end with the machine's start, and so may what is known of them."""
_FILES_S: Final = 60.0

_LOG = logging.getLogger("fairlead.devices.nvidia")
Target = Part | VfioGpu


class NvidiaVendor(Vendor):
    """`open_nvml` is called when first needed, and again after the driver was away. `cuda_visible`: claims also
    set CUDA_VISIBLE_DEVICES, for processes that no device cgroup confines."""

    name = "nvidia"
    outlives_machine = True

    def __init__(
        self,
        host: Host | None = None,
        *,
        open_nvml: Callable[[], Library] | None = None,
        offer: Offer = ONE_CLAIM,
        driver_root: str = "/",
        state_folder: Path = Path(STATE_FOLDER),
        ignored_xids: Sequence[int] = (),
        cuda_visible: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        self.driver = DRIVER
        self.cdi_kind = CDI_KIND
        self._host = host or Host()
        self._open = open_nvml or (lambda: open_library(self._host, driver_root))
        self._offer = offer
        self._driver_root = driver_root
        self._state_folder = state_folder
        self._ignored_xids = APPLICATION_XIDS | set(ignored_xids)
        self._cuda_visible = cuda_visible
        self._clock = clock
        self._look: Callable[[], None] = lambda: None
        self._nvml: Nvml | None = None
        self._monitor: EventMonitor | None = None
        self._sharing: Sharing | None = None
        self._facts = Gpus()
        self._targets: dict[str, tuple[Gpu | None, Target]] = {}
        self._conditions: Conditions | None = None
        # Partition -> what it is now; claim uid -> devices.
        self._instances: dict[str, mig.Instance] = {}
        self._held: dict[str, frozenset[str]] = {}
        self._files: tuple[float, DriverFiles] | None = None
        self._said = ""

    # What there is.

    def probe(self) -> Inventory:
        """A GPU that was there and does not answer now stays, unhealthy, until NVML no longer lists it."""
        facts = self._read()
        self._facts = facts
        for gpu in facts.gpus:
            self._targets |= {name: (gpu, target) for name, target in parts(gpu, self._offer)}
        self._targets |= {vfio_name(vfio): (None, vfio) for vfio in facts.vfio}
        if self._monitor is not None:
            self._monitor.watch(facts.gpus)
        if self._conditions is not None:
            self._conditions.find_strangers(facts.gpus, frozenset[str]().union(*self._held.values()))
        return build(facts, self._offer)

    def _read(self) -> Gpus:
        vfio = read_vfio(self._host)
        try:
            nvml = self._attach()
        except NoDriver as error:
            self._say(f"no NVIDIA GPUs: {error}")
            return Gpus(vfio=vfio)
        try:
            facts = read_gpus(nvml, self._host)
        except ProbeError:
            self._detach()
            raise
        kept = self._kept(facts)
        self._say("; ".join(f"{skipped.name} cannot be described: {skipped.reason}" for skipped in facts.skipped))
        if facts.skipped and not facts.gpus and not kept:
            first = facts.skipped[0]
            raise ProbeError(f"none of {len(facts.skipped)} GPUs can be described; {first.name}: {first.reason}")
        gpus = tuple(sorted((*facts.gpus, *kept), key=lambda gpu: gpu.minor))
        return replace(facts, gpus=gpus, vfio=vfio)

    def _kept(self, facts: Gpus) -> list[Gpu]:
        """GPUs seen before that fail now, at most as many as NVML lists and cannot describe."""
        seen = {gpu.uuid for gpu in facts.gpus}
        taken = {gpu.minor for gpu in facts.gpus}
        missing = [gpu for gpu in self._facts.gpus if gpu.uuid not in seen and gpu.minor not in taken]
        return missing[: len(facts.skipped)]

    def device_classes(self) -> Sequence[Mapping[str, Any]]:
        return device_classes(self.driver)

    # What containers get.

    def edits(self, device: Device) -> ContainerEdits:
        """A partition that is made on demand has its GPU's node only; the rest is known when it exists."""
        gpu, target = self._find(device.name)
        if isinstance(target, VfioGpu):
            return vfio_edits(target)
        assert gpu is not None
        if isinstance(target, MigDevice):
            return mig_edits(self._host, gpu, target.gpu_instance, target.compute_instance)
        if isinstance(target, Gpu):
            return gpu_edits(gpu, drm_nodes(self._host, gpu.pci.bus_id), self._driver_files().hook)
        return gpu_edits(gpu)

    def common_edits(self) -> ContainerEdits:
        if self._facts.driver is None:
            return common_edits(DriverFiles(version=""))
        return common_edits(self._driver_files())

    def _driver_files(self) -> DriverFiles:
        version = self._facts.driver.version if self._facts.driver else ""
        now_s = self._clock.monotonic_s()
        if self._files is None or self._files[1].version != version or now_s - self._files[0] >= _FILES_S:
            self._files = (now_s, find_driver_files(self._host, version, self._driver_root))
        return self._files[1]

    # How it is.

    def on_change(self, look: Callable[[], None]) -> None:
        self._look = look
        if self._monitor is not None:
            self._monitor.look = look

    def health(self) -> Mapping[str, Health]:
        found: dict[str, Health] = {vfio_name(vfio): HEALTHY for vfio in self._facts.vfio}
        if self._sharing is not None:
            self._sharing.revive()
        if self._conditions is None:
            return found
        for gpu in self._facts.gpus:
            found |= self._conditions.look(gpu)
        return found

    # Claims.

    def resume(self, claims: Mapping[str, Sequence[str]]) -> None:
        self._held = {uid: frozenset(names) for uid, names in claims.items()}

    def prepare(self, claim: ClaimReference, grants: Sequence[Grant]) -> Preparation:
        """Configurations are read before anything is touched."""
        configs = [read_config(claim, grant) for grant in grants]
        found = [self._find(grant.device.name) for grant in grants]
        names = frozenset(grant.device.name for grant in grants if not grant.admin_access)
        self._held[claim.uid] = names
        edits: dict[str, list[ContainerEdits]] = {}
        reports: dict[str, DeviceReport] = {}
        shared: list[SharedDevice] = []
        api_edits: list[ContainerEdits] = []
        for grant, config, (gpu, target) in zip(grants, configs, found, strict=True):
            name = grant.device.name
            if isinstance(target, VfioGpu):
                edits.setdefault(name, []).append(_vfio_config(claim, target, config, api_edits))
                continue
            assert gpu is not None
            uuid, own = self._ready(gpu, target, grant)
            edits.setdefault(name, []).append(own)
            if uuid:
                reports[name] = DeviceReport(data={"uuid": uuid})
                if not grant.admin_access:
                    shared.append(_shared_device(grant, uuid, gpu, target, config))
        if self._sharing is not None:
            for name, own in self._sharing.apply(claim, shared).items():
                edits[name].append(own)
        uuids = list(dict.fromkeys(str(report.data["uuid"]) for report in reports.values()))
        return Preparation(
            edits=_merge([claim_edits(uuids, for_cuda=self._cuda_visible), *api_edits]),
            device_edits={name: _merge(own) for name, own in edits.items()},
            reports=reports,
        )

    def _ready(self, gpu: Gpu, target: Target, grant: Grant) -> tuple[str, ContainerEdits]:
        """UUID of the granted device and what it needs beyond its edits; "" for a partition that does not exist."""
        if isinstance(target, MigDevice):
            return target.uuid, ContainerEdits()
        if isinstance(target, Partition):
            if self._nvml is None or grant.admin_access:
                return "", ContainerEdits()
            made = self._calling(lambda: mig.create(self._need(), target))
            self._instances[target.name] = made
            self._note_mig(gpu)
            return made.uuid, mig_edits(self._host, gpu, made.gpu_instance, made.compute_instance)
        if self._nvml is not None and divides(gpu, self._offer) and not grant.admin_access:
            if not self._calling(lambda: mig.leave_mig(self._need(), gpu)):
                raise ClaimError(f"{gpu.name}: is divided by MIG and cannot be given whole; see nvidia-smi mig -lgi")
            self._note_mig(gpu)
        return gpu.uuid, ContainerEdits()

    def release(self, claim: ClaimReference, devices: Sequence[str]) -> None:
        """MPS first, as its server holds the device; a GPU that is gone takes its partitions with it."""
        if self._nvml is None:
            self.probe()
        if self._sharing is not None:
            self._calling(lambda: self._undo_sharing(claim.uid))
        others = {name for uid, names in self._held.items() if uid != claim.uid for name in names}
        for name in devices:
            if name not in others and self._nvml is not None and parse_partition(name) is not None:
                self._unmake(name)
        left = self._held.pop(claim.uid, frozenset()) - set(devices)
        if left:
            self._held[claim.uid] = left

    def _undo_sharing(self, uid: str) -> None:
        if self._sharing is not None:
            self._sharing.undo(uid)

    def _unmake(self, name: str) -> None:
        gpu, target = self._targets.get(name, (None, None))
        if gpu is None or not isinstance(target, Partition):
            if target is None:
                _LOG.warning("%s is given back and is not there; its GPU may have dropped", name)
            return
        try:
            mig.destroy(self._need(), target)
        except NvmlError as error:
            if error.code not in GONE:
                raise ClaimError(f"{name}: cannot be removed: {error}") from error
            _LOG.warning("%s goes with its GPU: %s", name, error)
        made = self._instances.pop(name, None)
        if made is not None and self._conditions is not None:
            self._conditions.forget_instance(gpu, made)
        self._note_mig(gpu)

    def close(self) -> None:
        """Daemons of claims go on; claims outlive this process."""
        self._detach()

    # The library.

    def _attach(self) -> Nvml:
        if self._nvml is None:
            nvml = Nvml(self._open())
            root = self._driver_root
            library = find_library(self._host, root, LIBRARY) if root != "/" else None
            smi = NvidiaSmi(find_binary(self._host, root, "nvidia-smi"), library)
            control = find_binary(self._host, root, "nvidia-cuda-mps-control")
            mps = MpsDaemons(self._state_folder / "mps", control, str(library.parent) if library else "")
            self._sharing = Sharing(nvml, smi, mps, self._state_folder / "claims", self._clock)
            self._monitor = EventMonitor(nvml, self._ignored_xids, self._clock)
            self._monitor.look = self._look
            self._conditions = Conditions(nvml, self._monitor, self._offer, self._instances, self._clock)
            self._nvml = nvml
        return self._nvml

    def _detach(self) -> None:
        nvml, self._nvml = self._nvml, None
        monitor, self._monitor = self._monitor, None
        self._sharing = self._conditions = None
        if monitor is not None:
            monitor.close()
        if nvml is not None:
            try:
                nvml.close()
            except DeviceError as error:
                _LOG.warning("closing NVML: %s", error)

    def _need(self) -> Nvml:
        if self._nvml is None:
            raise ClaimError("the NVIDIA driver is not there")
        return self._nvml

    def _calling(self, action: Callable[[], Any]) -> Any:
        """A refusal of NVML as the claim's error."""
        try:
            return action()
        except NvmlError as error:
            raise ClaimError(str(error)) from error

    def _note_mig(self, gpu: Gpu) -> None:
        """The next look at health must not wait for the next probe to know that links are down by MIG mode."""
        try:
            enabled = self._need().mig_mode(gpu.uuid).current == 1
        except NvmlError:
            return
        gpus = tuple(replace(one, mig_enabled=enabled) if one.uuid == gpu.uuid else one for one in self._facts.gpus)
        self._facts = replace(self._facts, gpus=gpus)

    def _find(self, name: str) -> tuple[Gpu | None, Target]:
        if name not in self._targets:
            raise ClaimError(
                f'driver "{self.driver}" has no device "{name}" on this node; it may have dropped', retry=False
            )
        return self._targets[name]

    def _say(self, text: str) -> None:
        """Once, not with every look."""
        if text and text != self._said:
            _LOG.warning("%s", text)
        self._said = text


def _shared_device(grant: Grant, uuid: str, gpu: Gpu, target: Target, config: Config | None) -> SharedDevice:
    shares = grant.device.capacity.get("shares")
    return SharedDevice(
        name=grant.device.name,
        uuid=uuid,
        gpu=gpu.uuid if isinstance(target, Gpu) else "",
        config=None if isinstance(config, VfioDeviceConfig) else config,
        is_shareable=grant.device.shareable,
        consumed=grant.consumed,
        shares=Quantity.parse(shares.value).value if shares is not None else 0,
    )


def _vfio_config(
    claim: ClaimReference, vfio: VfioGpu, config: Config | None, api_edits: list[ContainerEdits]
) -> ContainerEdits:
    """The other way in beside the group's node, where the claim prefers it."""
    if not isinstance(config, VfioDeviceConfig):
        return ContainerEdits()
    iommufd = config.iommu.backend_policy == "PreferIommuFD" and bool(vfio.character_device)
    if config.iommu.enable_api_device:
        api_edits.append(iommu_edits(iommufd=iommufd))
    return vfio_edits(vfio, iommufd=True) if iommufd else ContainerEdits()


def _merge(several: Sequence[ContainerEdits]) -> ContainerEdits:
    """Edits one after another, each thing once."""
    return ContainerEdits(
        env=list(dict.fromkeys(entry for part in several for entry in part.env)),
        device_nodes=[node for part in several for node in part.device_nodes],
        mounts=list({mount.container_path: mount for part in several for mount in part.mounts}.values()),
        hooks=[hook for part in several for hook in part.hooks],
    )


def create(
    host: Host,
    node: str,
    *,
    dynamic_mig: bool = False,
    shares: str | int = "",
    driver_root: str = "/",
    state_folder: str = STATE_FOLDER,
    ignored_xids: str | int = "",
    cuda_visible: bool = False,
    recording: str = "",
) -> Sequence[Vendor]:
    """The vendor of this machine, or of the one below `host`. `dynamic_mig`: partitions on demand. `shares`: "memory",
    "unlimited" or a number, as in Offer. `ignored_xids`: numbers with commas, beside those that are a program's own
    fault. `recording`: a file of NVML's answers to stand for the machine. Raises ConfigError."""
    if shares not in ("", "memory", "unlimited") and not str(shares).isdigit():
        raise ConfigError(f'option shares: "{shares}"; it is memory, unlimited or a number of shares')
    xids = [part.strip() for part in str(ignored_xids).split(",") if part.strip()]
    if not all(part.isdigit() for part in xids):
        raise ConfigError(f'option ignored_xids: "{ignored_xids}"; it is XID numbers with commas between them')
    number = int(shares) if str(shares).isdigit() else 0
    offer = Offer(dynamic_mig, number or ("memory" if shares == "memory" else "unlimited" if shares else ""))
    return (
        NvidiaVendor(
            host,
            open_nvml=(lambda: Replay(read_recording(Path(recording)))) if recording else None,
            offer=offer,
            driver_root=driver_root,
            state_folder=Path(state_folder) / node,
            ignored_xids=[int(part) for part in xids],
            cuda_visible=cuda_visible,
        ),
    )
