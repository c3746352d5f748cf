"""The `--nodes` option, loopback ranges and images."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.embedded.agent.addresses import AddressError, PodAddresses, release_range, reserve_range
from fairlead.embedded.agent.images import ImageError, resolve
from fairlead.embedded.agent.node_spec import NodeSpecError, Taint, parse_nodes


def test_a_number_of_nodes():
    assert [spec.name for spec in parse_nodes("2")] == ["node-0", "node-1"]


def test_described_nodes():
    a, b = parse_nodes(
        "name=gpu-a,cpu=8,memory=32Gi,zone=z1,labels=rack:r1|tier:gold,taints=dedicated=gpu:NoSchedule; name=gpu-b"
    )
    assert (a.name, a.cpu, a.memory) == ("gpu-a", "8", "32Gi")
    assert a.labels == {"rack": "r1", "tier": "gold", "topology.kubernetes.io/zone": "z1"}
    assert a.taints == (Taint("dedicated", "gpu", "NoSchedule"),)
    assert (b.name, b.cpu, b.pods) == ("gpu-b", None, 110)
    assert [s.name for s in parse_nodes("3*name=gpu,resources=example.com/gpu:4")] == ["gpu-0", "gpu-1", "gpu-2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "nodes: expected 1 to 1000 nodes, got 0"),
        ("", "nodes: expected a number"),
        ("name=Gpu", 'nodes[0].name: "Gpu" is not a lowercase DNS name'),
        ("name=a;name=a", 'nodes: name "a" is given to more than one node'),
        ("name=a;name=b,cpu=many", 'nodes[1].cpu: expected a quantity such as "8", "500m" or "32Gi", got "many"'),
        ("name=a,colour=red", "nodes[0].colour: unknown field; known are address, annotations,"),
        ("name=a,cpu", 'nodes[0].cpu: expected "cpu=value", got "cpu"'),
        ("name=a,address=10.0.0.1", 'nodes[0].address: expected an address in 127.0.0.0/8, got "10.0.0.1"'),
        ("name=a,labels=x", 'nodes[0].labels: expected "key:value" with a valid label key, got "x"'),
        ("name=a,taints=x:Never", "nodes[0].taints: expected"),
        ("name=a,pods=300", 'nodes[0].pods: expected a number from 1 to 250, got "300"'),
    ],
)
def test_errors_name_the_field(text: str, message: str):
    with pytest.raises(NodeSpecError) as error:
        parse_nodes(text)
    assert str(error.value).startswith(message)


@given(st.text(max_size=60))
@example("²")
@example("name=a,pods=²")
def test_any_text_is_parsed_or_refused(text: str):
    try:
        assert parse_nodes(text)
    except NodeSpecError as error:
        assert str(error).startswith("nodes")


def test_ranges_are_kept_and_never_shared(tmp_path: Path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    reservations = tmp_path / "reservations"
    reservations.mkdir()
    ranges = [reserve_range(folder, reservations) for folder in folders]
    assert len(set(ranges)) == 3
    assert [reserve_range(folder, reservations) for folder in folders] == ranges
    release_range(folders[0], reservations)
    (reservations / ranges[0]).write_text(str(folders[1]))
    assert reserve_range(folders[0], reservations) != ranges[0]


def test_pod_addresses_run_out_and_come_back():
    addresses = PodAddresses("127.99.9")
    given_out = [addresses.allocate(f"pod-{n}") for n in range(253)]
    assert len(set(given_out)) == 253 and addresses.node_ip not in given_out
    with pytest.raises(AddressError):
        addresses.allocate("one-more")
    addresses.release("pod-7")
    assert addresses.allocate("one-more") == given_out[7]
    assert addresses.allocate("one-more") == given_out[7]


@pytest.mark.parametrize(
    ("image", "command", "arguments", "argv"),
    [
        ("anything/at-all:1", ["run", "it"], ["now"], ("run", "it", "now")),
        ("docker.io/library/busybox:1.36", [], [], ("sh",)),
        ("alpine", [], ["ls", "-l"], ("ls", "-l")),
        ("registry.k8s.io/pause:3.10", [], [], ("sleep", "infinity")),
    ],
)
def test_images_as_programs(image: str, command: list[str], arguments: list[str], argv: tuple[str, ...]):
    assert resolve(image, command, arguments).argv == argv


def test_the_platforms_own_images_run_its_commands():
    assert resolve("fairlead/gateway:dev", [], ["--help"]).argv[1:] == ("-m", "fairlead.cli.main", "gateway", "--help")


@pytest.mark.parametrize(
    ("image", "reason", "text"),
    [
        ("Not an image", "InvalidImageName", "invalid reference format"),
        ("acme/engine@sha256:" + "0" * 64, "ErrImageNeverPull", "give the container a command"),
    ],
)
def test_images_that_cannot_run(image: str, reason: str, text: str):
    with pytest.raises(ImageError) as error:
        resolve(image, [], [])
    assert error.value.reason == reason and text in str(error.value)
