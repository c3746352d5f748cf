"""What `fairlead device list` makes of published slices."""

from __future__ import annotations

import msgspec

from fairlead.cli.device_read import Found
from fairlead.cli.device_view import Holder, Shown, shown_devices
from fairlead.devices.topology.snapshot import see
from fairlead.kube.objects import ResourceSlice

PORT: dict[str, object] = {
    "name": "pci-0000-15-00-0",
    "attributes": {"ifName": {"string": "ib0"}, "linkType": {"string": "infiniband"}},
    "capacity": {"bandwidth": {"value": "400G"}},
}
GPU: dict[str, object] = {"name": "gpu-0", "attributes": {"productName": {"string": "NVIDIA H100"}}}


def slice_of(driver: str, node: str, *devices: dict[str, object], generation: int = 1) -> ResourceSlice:
    body = {
        "metadata": {"name": f"{node}-{driver}-{generation}"},
        "spec": {
            "driver": driver,
            "nodeName": node,
            "pool": {"name": node, "generation": generation, "resourceSliceCount": 1},
            "devices": list(devices),
        },
    }
    return msgspec.convert(body, ResourceSlice)


SLICES = [slice_of("dra.net", "b", PORT), slice_of("gpu.nvidia.com", "b", GPU), slice_of("dra.net", "a", PORT)]


def test_accelerators_come_before_the_ports_beside_them() -> None:
    assert [(one.node, one.name) for one in shown_devices(SLICES)] == [
        ("a", PORT["name"]), ("b", GPU["name"]), ("b", PORT["name"]),
    ]  # fmt: skip
    assert [one.name for one in see([], SLICES).devices["b"]] == [GPU["name"], PORT["name"]]


def test_ports_are_named_by_interface_and_speed() -> None:
    port = shown_devices(SLICES)[0]
    assert port.model == "InfiniBand 400 Gb/s (ib0)"
    (seen,) = see([], SLICES).devices["a"]
    assert (seen.product, seen.interface) == ("InfiniBand 400 Gb/s", "ib0")


def test_the_state_claims_no_more_than_slices_tell() -> None:
    assert shown_devices(SLICES)[0].state == "untainted"
    taint = {"key": "dra.net/unhealthy", "value": "LinkDown", "effect": "NoSchedule"}
    (tainted,) = shown_devices([slice_of("dra.net", "a", {**PORT, "taints": [taint]})])
    assert tainted.state == "unhealthy LinkDown (NoSchedule)"


def test_nothing_is_told_of_a_device_without_attributes() -> None:
    (bare,) = shown_devices([slice_of("x.example.com", "a", {"name": "one"})])
    assert isinstance(bare, Shown) and (bare.model, bare.state) == ("-", "untainted")


def test_claims_of_parts_are_counted_at_the_whole() -> None:
    def part(name: str, engines: int) -> dict[str, object]:
        counters = {f"pe{n}": {"value": "1"} for n in range(engines)}
        return {"name": name, "consumesCounters": [{"counterSet": "card", "counters": counters}]}

    both = [slice_of("npu.example.com", node, part("npu0", 2), part("npu0pe0", 1)) for node in ("a", "b")]
    key = ("npu.example.com", "a", "npu0pe0")
    held = {key: [Holder("default", f"c{n}", "npu", (), {}) for n in range(2)]}
    found = Found(shown_devices(both), held)
    assert {one.key[1:]: found.held_text(one) for one in found.devices} == {
        ("a", "npu0"): "2 claims of its parts",
        ("a", "npu0pe0"): "default/c0, default/c1",
        ("b", "npu0"): "-",
        ("b", "npu0pe0"): "-",
    }


def test_only_the_newest_generation_of_a_pool_counts() -> None:
    both = [slice_of("dra.net", "a", PORT, generation=1), slice_of("dra.net", "a", generation=2)]
    assert shown_devices(both) == [] == shown_devices(both[::-1])
    assert [one.node for one in shown_devices([*both, slice_of("dra.net", "b", PORT)])] == ["b"]
