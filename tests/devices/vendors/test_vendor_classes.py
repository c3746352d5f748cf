"""Every class that a vendor ships is admitted by the API server's check, and selects the devices that its name says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.vendors.furiosa.rngd_tree import RngdServer
from devices.vendors.network.hgx_tree import HgxServer, rail_chain
from devices.vendors.tpu.tpu_tree import TpuMachine
from fairlead.devices.inventory import Device
from fairlead.devices.vendor import Vendor
from fairlead.devices.vendors.furiosa.vendor import FuriosaVendor
from fairlead.devices.vendors.network.vendor import NetworkVendor
from fairlead.devices.vendors.tpu.vendor import TpuVendor
from fairlead.embedded.apiserver.kinds.dra_selectors import check_expression
from fairlead.kube import cel


def selected(vendor: Vendor) -> dict[str, list[str]]:
    """Class -> names of the devices that it selects."""
    devices = vendor.probe().devices
    return {
        cls["metadata"]["name"]: [device.name for device in devices if selects(cls, vendor.driver, device)]
        for cls in vendor.device_classes()
    }


def selects(cls: Mapping[str, Any], driver: str, device: Device) -> bool:
    attributes: dict[str, dict[str, Any]] = {driver: {}}
    for name, value in device.attributes.items():
        domain, _, identifier = name.rpartition("/")
        attributes.setdefault(domain or driver, {})[identifier] = str(value) if isinstance(value, str) else value
    found = True
    for selector in cls["spec"]["selectors"]:
        expression = selector["cel"]["expression"]
        assert check_expression(expression, "selector") == ()
        program = cel.Environment({"device": cel.DYN}).compile(expression)
        found = found and program.evaluate({"device": {"driver": driver, "attributes": attributes}}) is True
    return found


def test_furiosa(tmp_path: Path) -> None:
    found = selected(FuriosaVendor(RngdServer(tmp_path, cards=1).host))
    parts = [f"npu0pe{part}" for part in (*range(8), "0-1", "2-3", "4-5", "6-7", "0-3", "4-7")]

    assert found == {
        "npu.furiosa.ai": ["npu0"],
        "partition.npu.furiosa.ai": parts,
        "1core.6gb.npu.furiosa.ai": parts[:8],
        "2core.12gb.npu.furiosa.ai": parts[8:12],
        "4core.24gb.npu.furiosa.ai": parts[12:],
    }


def test_tpu(tmp_path: Path) -> None:
    found = selected(TpuVendor(TpuMachine(tmp_path, "v4", 4).host, groups=True, environment={}))

    assert found == {
        "tpu.google.com": ["accel0", "accel1", "accel2", "accel3"],
        "group.tpu.google.com": ["chips-0-1", "chips-2-3", "chips-0-3"],
    }


def test_network(tmp_path: Path) -> None:
    server = HgxServer(tmp_path, rails=1, infiniband=False)
    server.virtual_functions(rail_chain(0), 1)
    found = selected(NetworkVendor(server.host))

    assert found == {
        "dra.net": ["pci-0000-02-00-1", "pci-0000-14-00-0", "pci-0000-14-01-0"],
        "rdma.dra.net": ["pci-0000-02-00-1", "pci-0000-14-00-0"],
        "sriov.dra.net": ["pci-0000-14-01-0"],
    }
