"""What devices are called in lists and drawings."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.devices.description import interface, is_network, product


@pytest.mark.parametrize(
    ("attributes", "bandwidth", "said"),
    [
        ({"productName": "NVIDIA H100 80GB HBM3", "brand": "Nvidia", "type": "gpu"}, "", "NVIDIA H100 80GB HBM3"),
        ({"productName": "NVIDIA H100", "type": "mig", "profile": "1g.10gb"}, "", "NVIDIA H100 1g.10gb"),
        ({"npu.furiosa.ai/product": "rngd", "npu.furiosa.ai/type": "card"}, "", "rngd"),
        ({"tpuGen": "v6e", "brand": "Google", "type": "chip"}, "", "TPU v6e"),
        ({"brand": "Acme"}, "", "Acme"),
        ({"resource.kubernetes.io/numaNode": 0}, "", ""),
        ({"linkType": "infiniband", "ifName": "ib0"}, "400G", "InfiniBand 400 Gb/s"),
        ({"dra.net/encapsulation": "ether", "dra.net/ifName": "eth0"}, "", "Ethernet"),
        ({"linkType": "ethernet", "kind": "vf", "type": "port"}, "2500M", "Ethernet VF 2.5 Gb/s"),
        ({"linkType": "ethernet", "isSriovVf": True}, "100M", "Ethernet VF 100 Mb/s"),
        ({"linkType": "ethernet", "isSriovVf": False}, "soon", "Ethernet"),
        ({"rdmaDevice": "mlx5_0"}, "", "network port"),
    ],
)
def test_products(attributes: dict[str, Any], bandwidth: str, said: str) -> None:
    assert product(attributes, bandwidth) == said


def test_ports_are_told_from_accelerators() -> None:
    assert is_network({"dra.net/ifName": "eth0"}) and interface({"dra.net/ifName": "eth0"}) == "eth0"
    assert is_network({"linkType": "infiniband"}) and interface({"linkType": "infiniband"}) == ""
    assert not is_network({"productName": "NVIDIA L40S", "type": "gpu"})
