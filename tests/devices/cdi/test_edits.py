"""Edits merged, and what of repeated entries counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.cdi.spec_strategies import edits as any_edits
from fairlead.devices.cdi import (
    NO_EDITS,
    ContainerEdits,
    DeviceNode,
    Hook,
    IntelRdt,
    Mount,
    NetDevice,
    additional_gids,
    device_nodes,
    environment,
    hooks,
    merge,
    mounts,
    net_devices,
)
from fairlead.devices.cdi.edits import path_depth


def test_everything_is_kept_in_order_but_only_the_last_rdt() -> None:
    first = ContainerEdits(
        env=["var1=val1"],
        device_nodes=[DeviceNode("/dev/dev1")],
        intel_rdt=IntelRdt(clos_id="clos-1", l3_cache_schema="L3:0=ff", schemata=["L2: 0xFFFF"]),
        additional_gids=[5],
    )
    second = ContainerEdits(env=["var2=val2", "var3=val3"], additional_gids=[0, 5])
    third = ContainerEdits(
        env=["var4=val4"], device_nodes=[DeviceNode("/dev/dev1")], intel_rdt=IntelRdt(clos_id="clos-2")
    )
    assert merge([first, second, third]) == ContainerEdits(
        env=("var1=val1", "var2=val2", "var3=val3", "var4=val4"),
        device_nodes=(DeviceNode("/dev/dev1"), DeviceNode("/dev/dev1")),
        intel_rdt=IntelRdt(clos_id="clos-2"),
        additional_gids=(5, 0, 5),
    )
    assert merge([]) == NO_EDITS


@given(any_edits(), any_edits(), any_edits())
def test_merging_is_associative_and_nothing_is_its_neutral(
    a: ContainerEdits, b: ContainerEdits, c: ContainerEdits
) -> None:
    whole = merge([a, b, c])
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == whole
    assert merge([NO_EDITS, whole]) == merge([whole, NO_EDITS]) == whole


@given(any_edits(), any_edits())
def test_later_edits_win_and_nothing_is_lost(a: ContainerEdits, b: ContainerEdits) -> None:
    both = merge([a, b])
    assert environment(both) == environment(b, environment(a))
    assert {node.path for node in device_nodes(both)} == {node.path for node in (*a.device_nodes, *b.device_nodes)}
    assert device_nodes(both)[len(device_nodes(both)) - len(device_nodes(b)) :] == device_nodes(b)
    assert {m.container_path: m for m in mounts(both)} == {m.container_path: m for m in (*a.mounts, *b.mounts)}
    assert net_devices(both) == {**net_devices(a), **net_devices(b)}
    assert set(additional_gids(both)) == {*additional_gids(a), *additional_gids(b)}
    for stage in {hook.hook_name for hook in both.hooks}:
        assert hooks(both, stage) == hooks(a, stage) + hooks(b, stage)


@given(any_edits())
def test_no_mount_hides_one_that_comes_before_it(made: ContainerEdits) -> None:
    paths = [mount.container_path for mount in mounts(made)]
    assert len(set(paths)) == len(paths)
    for position, path in enumerate(paths):
        assert not any(later != path and path.startswith(f"{later}/") for later in paths[position:])


def test_the_last_of_repeated_entries_counts() -> None:
    made = ContainerEdits(
        env=["A=1", "B=1", "A=2=3", "C"],
        device_nodes=[DeviceNode("/dev/a", type="c"), DeviceNode("/dev/b"), DeviceNode("/dev/a", type="b")],
        mounts=[Mount("/1", "/deep/er/x"), Mount("/2", "/a"), Mount("/3", "/deep/er/x"), Mount("/4", "/b")],
        net_devices=[NetDevice("eth0", "a"), NetDevice("eth0", "b")],
        hooks=[Hook("poststop", "/1"), Hook("prestart", "/2"), Hook("poststop", "/1")],
        additional_gids=[4, 0, 5, 4],
    )
    assert environment(made, {"Z": "z", "A": "0"}) == {"Z": "z", "A": "2=3", "B": "1", "C": ""}
    assert list(environment(made, {"Z": "z", "A": "0"})) == ["Z", "A", "B", "C"]
    assert device_nodes(made) == [DeviceNode("/dev/b"), DeviceNode("/dev/a", type="b")]
    assert [mount.host_path for mount in mounts(made)] == ["/2", "/4", "/3"]
    assert net_devices(made) == {"eth0": "b"}
    assert [hook.path for hook in hooks(made, "poststop")] == ["/1", "/1"]
    assert additional_gids(made) == [4, 5]


@pytest.mark.parametrize(
    ("path", "depth"), [("/", 1), ("/a", 1), ("/a/b", 2), ("/a/./b/../c/", 2), ("//a//b", 2), ("a/b", 2), ("", 0)]
)
def test_the_depth_of_a_path(path: str, depth: int) -> None:
    assert path_depth(path) == depth


@given(st.text("ab/.", max_size=12))
def test_any_path_has_a_depth(path: str) -> None:
    assert path_depth(path) >= 0
