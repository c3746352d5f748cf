"""Device nodes completed from the host's: this machine's own, and pipes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead.devices.cdi import ContainerEdits, DeviceNode, DeviceNodesError, complete_device_nodes


def complete(node: DeviceNode, root: Path | str = "/") -> DeviceNode:
    return complete_device_nodes(ContainerEdits(device_nodes=[node]), root).device_nodes[0]


MODE = Path("/dev/null").stat().st_mode & 0o7777


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (DeviceNode("/dev/null"), ("c", 1, 3, MODE)),
        (DeviceNode("/dev/null", type="c"), ("c", 1, 3, MODE)),
        (DeviceNode("/dev/null", type="u"), ("u", 1, 3, MODE)),
        (DeviceNode("/dev/null", file_mode=0o600), ("c", 1, 3, 0o600)),
        (DeviceNode("/dev/null", major=9, minor=8), ("c", 9, 8, MODE)),
        (DeviceNode("/dev/mine", host_path="/dev/zero"), ("c", 1, 5, MODE)),
        # Described in full: taken as it is, but for the mode.
        (DeviceNode("/dev/null", type="b", major=10, minor=1), ("b", 10, 1, MODE)),
        (DeviceNode("/dev/not-there", type="b", major=10, minor=1), ("b", 10, 1, None)),
        (DeviceNode("/tmp", type="c", major=10), ("c", 10, 0, None)),
        (DeviceNode("/dev/not-there", type="p"), ("p", 0, 0, None)),
    ],
)
def test_what_is_left_out_comes_from_the_host(node: DeviceNode, expected: tuple[str, int, int, int | None]) -> None:
    made = complete(node)
    assert (made.type, made.major, made.minor, made.file_mode) == expected
    assert (made.path, made.host_path) == (node.path, node.host_path)


def test_a_pipe_has_no_numbers(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o640)
    assert complete(DeviceNode("/pipe"), tmp_path) == DeviceNode("/pipe", type="p", file_mode=0o640)
    assert complete(DeviceNode("/pipe", type="p"), tmp_path) == DeviceNode("/pipe", type="p", file_mode=0o640)


def test_all_nodes_that_the_host_does_not_have_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    edits = ContainerEdits(
        device_nodes=[
            DeviceNode("/missing"),
            DeviceNode("/x", host_path="/file"),
            DeviceNode("/link"),
            DeviceNode("/pipe", type="c"),
            DeviceNode("/pipe"),
        ]
    )
    with pytest.raises(DeviceNodesError) as error:
        complete_device_nodes(edits, tmp_path)
    assert [str(problem) for problem in error.value.problems] == [
        "/missing: the host has no device node /missing (No such file or directory)",
        "/x: /file on the host is no device node",
        "/link: /link on the host is no device node",
        '/pipe: expected a node of type "c", but /pipe on the host is of type "p"',
    ]


def test_edits_without_nodes_stay_as_they_are() -> None:
    edits = ContainerEdits(env=["A=1"])
    assert complete_device_nodes(edits) is edits
