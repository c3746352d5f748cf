from collections.abc import Mapping
from typing import Any

import pytest

from fairlead.devices.errors import ConfigError
from fairlead.devices.inventory import Device
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.devices.vendors.network.parameters import Move, NetworkParameters, Wish, plan_moves
from fairlead.devices.vendors.parameters import read_parameters

CLAIM = ClaimReference("team", "model", "uid-1")


def read(*config: Mapping[str, Any]) -> NetworkParameters:
    return read_parameters(CLAIM, Grant(Device("pci-a"), "nic", config), NetworkParameters)


def plan(*wished: tuple[str, Mapping[str, Any]]) -> tuple[Move, ...]:
    return plan_moves(
        CLAIM, [Wish(f"pci-{name}", f"nic-{index}", read(config), name) for index, (name, config) in enumerate(wished)]
    )


def test_an_interface_keeps_its_name_unless_it_is_given_one() -> None:
    assert plan(("ens1", {}), ("ens2", {"interface": {"name": "net1", "mtu": 9000, "addresses": ["10.0.0.5/24"]}})) == (
        Move("pci-ens1", "ens1", "ens1", None, ()),
        Move("pci-ens2", "ens2", "net1", 9000, ("10.0.0.5/24",)),
    )


def test_layers_are_merged_and_the_claims_wins() -> None:
    layers = {"interface": {"mtu": 9000, "name": "net0"}, "rdmaOnly": True}, {"interface": {"name": "net7"}}
    found = read(*layers)
    assert (found.interface.mtu, found.interface.name, found.rdma_only) == (9000, "net7", True)
    assert read({"apiVersion": "dra.net/v1", "kind": "NetworkConfig"}) == NetworkParameters()


def test_rdma_only_leaves_the_interface_on_the_host() -> None:
    assert plan(("ens1", {"rdmaOnly": True}), ("", {})) == ()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"interface": {"name": "a-name-that-is-too-long"}}, "interface.name: .* at most 15 bytes"),
        ({"interface": {"name": "a/b"}}, "interface.name"),
        ({"interface": {"name": "lo"}}, "interface.name"),
        ({"interface": {"mtu": 67}}, "interface.mtu: 67 bytes; expected 68 to 65520"),
        ({"interface": {"mtu": "large"}}, r"\$.interface.mtu"),
        ({"interface": {"addresses": ["10.0.0.5"]}}, 'interface.addresses: "10.0.0.5" is no address such as'),
        ({"interface": {"addresses": ["10.0.0.500/24"]}}, "interface.addresses"),
        ({"interface": {"addresses": ["fd00::1/64", "fd00:0::1/64"]}}, "is there twice"),
        ({"interface": {"dhcp": True}}, "unknown field `dhcp`"),
        ({"routes": []}, "unknown field `routes`.*the fields there are: interface, rdmaOnly, vhostNet, environment"),
    ],
)
def test_wishes_that_make_no_sense(config: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf'claim team/model: request "nic(-0)?": .*{message}'):
        plan(("ens1", config))


def test_two_ports_of_one_name() -> None:
    with pytest.raises(ConfigError, match='ports pci-ens1 and pci-ens2 would both be interface "net1"'):
        plan(("ens1", {"interface": {"name": "net1"}}), ("ens2", {"interface": {"name": "net1"}}))


def test_two_ports_of_one_address() -> None:
    one = {"interface": {"addresses": ["10.0.0.5/24"]}}
    with pytest.raises(ConfigError, match=r"two ports would have address 10\.0\.0\.5/24"):
        plan(("ens1", one), ("ens2", one))
