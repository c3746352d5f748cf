"""Edits made in an OCI configuration, as the reference implementation's own cases have it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from devices.cdi.spec_strategies import edits as any_edits
from fairlead.devices.cdi import (
    ContainerConfigError,
    ContainerEdits,
    DeviceNode,
    Hook,
    IntelRdt,
    Mount,
    NetDevice,
    apply_to_oci,
    complete_device_nodes,
    merge,
)

Json = dict[str, Any]

NIL = {"path": "/dev/nil", "type": "c", "major": 1, "minor": 3}


def nil(**fields: Any) -> DeviceNode:
    return DeviceNode("/dev/nil", type="c", major=1, minor=3, **fields)


def rule(access: str, minor: int = 3) -> Json:
    return {"allow": True, "type": "c", "major": 1, "minor": minor, "access": access}


def linux(devices: list[Json], *rules: Json) -> Json:
    return {"linux": {"devices": devices, "resources": {"devices": list(rules)}}}


def mount(number: int, destination: str, **fields: Any) -> Json:
    return {"source": f"/some/host/path{number}", "destination": destination, **fields}


CASES: list[tuple[str, Json, ContainerEdits, Json]] = [
    ("nothing", {}, ContainerEdits(), {}),
    ("a variable", {}, ContainerEdits(env=["BAR=1"]), {"process": {"env": ["BAR=1"]}}),
    ("a variable twice", {}, ContainerEdits(env=["FOO=old", "FOO=new"]), {"process": {"env": ["FOO=new"]}}),
    (
        "a variable that is there",
        {"process": {"env": ["FOO=old", "BAR=old"]}},
        ContainerEdits(env=["FOO=new"]),
        {"process": {"env": ["FOO=new", "BAR=old"]}},
    ),
    ("no permissions", {}, ContainerEdits(device_nodes=[nil(permissions="none")]), linux([NIL], rule(""))),
    ("default permissions", {}, ContainerEdits(device_nodes=[nil()]), linux([NIL], rule("rwm"))),
    (
        "a node replaces the one at its path and goes to the end",
        {"linux": {"devices": [{"path": "/dev/nil", "type": "b"}, {"path": "/dev/zero"}]}},
        ContainerEdits(device_nodes=[nil(permissions="r", file_mode=0, uid=0)]),
        linux([{"path": "/dev/zero"}, {**NIL, "fileMode": 0, "uid": 0}], rule("r")),
    ),
    (
        "a pipe has no rule",
        {},
        ContainerEdits(device_nodes=[DeviceNode("/dev/pipe", type="p")]),
        {"linux": {"devices": [{"path": "/dev/pipe", "type": "p", "major": 0, "minor": 0}]}},
    ),
    (
        "nodes belong to the container's user unless said otherwise",
        {"process": {"user": {"uid": 1000, "gid": 0}}},
        ContainerEdits(device_nodes=[nil(gid=7)]),
        {"process": {"user": {"uid": 1000, "gid": 0}}, **linux([{**NIL, "uid": 1000, "gid": 7}], rule("rwm"))},
    ),
    (
        "a mount",
        {},
        ContainerEdits(mounts=[Mount("/dev/host-vendorctl", "/dev/cntr-vendorctl")]),
        {"mounts": [{"source": "/dev/host-vendorctl", "destination": "/dev/cntr-vendorctl"}]},
    ),
    (
        "mounts that are there keep their order behind shallower ones",
        {"mounts": [mount(1, "/dest/path/b"), mount(2, "/dest/path/a")]},
        ContainerEdits(mounts=[Mount("/some/host/path3", "/dest/edit")]),
        {"mounts": [mount(3, "/dest/edit"), mount(1, "/dest/path/b"), mount(2, "/dest/path/a")]},
    ),
    (
        "a mount comes after those of its depth and replaces the one at its path",
        {"mounts": [mount(1, "/dest/path/c"), mount(2, "/dest/path/b"), mount(4, "/dest/path/a", options=["ro"])]},
        ContainerEdits(mounts=[Mount("/some/host/path3", "/dest/path/a"), Mount("/some/host/path5", "/dest/path/c")]),
        {"mounts": [mount(2, "/dest/path/b"), mount(3, "/dest/path/a"), mount(5, "/dest/path/c")]},
    ),
    (
        "bind mounts are mapped to a user namespace",
        {"linux": {"namespaces": [{"type": "pid"}, {"type": "user", "path": "/foo/bar"}]}},
        ContainerEdits(
            mounts=[
                Mount("/some/host/path1", "/a", type="bind"),
                Mount("/some/host/path2", "/b", type="bind", options=["rbind"]),
                Mount("/some/host/path3", "/c", options=["bind", "ro"]),
                Mount("/some/host/path4", "/d", type="bind", options=["ridmap"]),
                Mount("/some/host/path5", "/e", type="tmpfs"),
            ]
        ),
        {
            "linux": {"namespaces": [{"type": "pid"}, {"type": "user", "path": "/foo/bar"}]},
            "mounts": [
                mount(1, "/a", type="bind", options=["idmap"]),
                mount(2, "/b", type="bind", options=["rbind", "ridmap"]),
                mount(3, "/c", options=["bind", "ro", "idmap"]),
                mount(4, "/d", type="bind", options=["ridmap"]),
                mount(5, "/e", type="tmpfs"),
            ],
        },
    ),
    (
        "hooks of every stage, after those that are there",
        {"hooks": {"poststop": [{"path": "/first"}]}},
        ContainerEdits(
            hooks=[
                Hook("prestart", "/1", args=["--verbose"], env=["A=1"]),
                Hook("createRuntime", "/2", timeout=3),
                Hook("createContainer", "/3"),
                Hook("startContainer", "/4"),
                Hook("poststart", "/5"),
                Hook("poststop", "/6"),
                Hook("prestart", "/7"),
            ]
        ),
        {
            "hooks": {
                "prestart": [{"path": "/1", "args": ["--verbose"], "env": ["A=1"]}, {"path": "/7"}],
                "createRuntime": [{"path": "/2", "timeout": 3}],
                "createContainer": [{"path": "/3"}],
                "startContainer": [{"path": "/4"}],
                "poststart": [{"path": "/5"}],
                "poststop": [{"path": "/first"}, {"path": "/6"}],
            }
        },
    ),
    (
        "RDT settings are replaced whole",
        {"linux": {"intelRdt": {"closID": "1", "memBwSchema": "MB", "schemata": ["x"], "enableMonitoring": True}}},
        ContainerEdits(intel_rdt=IntelRdt(clos_id="2", l3_cache_schema="L3:0=f")),
        {"linux": {"intelRdt": {"closID": "2", "l3CacheSchema": "L3:0=f"}}},
    ),
    (
        "all RDT settings",
        {},
        ContainerEdits(intel_rdt=IntelRdt("c", "L3:0=ff", "MB:0=50", schemata=["L2:0=ffff"], enable_monitoring=True)),
        {
            "linux": {
                "intelRdt": {
                    "closID": "c", "l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=50", "schemata": ["L2:0=ffff"],
                    "enableMonitoring": True,
                }
            }
        },
    ),
    (
        "network devices by their name on the host",
        {"linux": {"netDevices": {"eno1": {"name": "netdev1"}, "eno9": {"name": "x"}}}},
        ContainerEdits(net_devices=[NetDevice("eno1", "netdev2"), NetDevice("eno2", "netdev1")]),
        {"linux": {"netDevices": {"eno1": {"name": "netdev2"}, "eno9": {"name": "x"}, "eno2": {"name": "netdev1"}}}},
    ),
    (
        "groups once each and never 0",
        {"process": {"user": {"additionalGids": [4]}}},
        ContainerEdits(additional_gids=[4, 5, 0, 6, 5]),
        {"process": {"user": {"additionalGids": [4, 5, 6]}}},
    ),
    ("only group 0", {}, ContainerEdits(additional_gids=[0]), {}),
    (
        "null is absent",
        {"process": None, "linux": {"devices": None}, "mounts": None},
        ContainerEdits(env=["A=1"], device_nodes=[nil()], mounts=[Mount("/a", "/b")]),
        {"process": {"env": ["A=1"]}, **linux([NIL], rule("rwm")), "mounts": [{"source": "/a", "destination": "/b"}]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "edits", "result"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_edits_are_made(config: Json, edits: ContainerEdits, result: Json) -> None:
    before = copy.deepcopy(config)
    assert apply_to_oci(config, edits) == result
    assert config == before


@pytest.mark.parametrize(
    ("config", "edits", "said"),
    [
        ({"process": []}, ContainerEdits(env=["A=1"]), "process: expected an object, got list"),
        ({"process": {"env": {}}}, ContainerEdits(env=["A=1"]), r"process\.env: expected a list, got dict"),
        ({"mounts": [{}]}, ContainerEdits(mounts=[Mount("/a", "/b")]), "mounts: expected objects with a destination"),
        ({"mounts": ["x"]}, ContainerEdits(mounts=[Mount("/a", "/b")]), "mounts: expected objects with a destination"),
        ({"hooks": 3}, ContainerEdits(hooks=[Hook("poststop", "/a")]), "hooks: expected an object, got int"),
        ({}, ContainerEdits(device_nodes=[DeviceNode("/dev/x")]), "device node /dev/x: its type is not known"),
    ],
)
def test_a_configuration_of_another_form_is_refused(config: Json, edits: ContainerEdits, said: str) -> None:
    with pytest.raises(ContainerConfigError, match=said):
        apply_to_oci(config, edits)


def typed(edits: ContainerEdits) -> ContainerEdits:
    nodes = [msgspec.structs.replace(node, type=node.type or "c") for node in edits.device_nodes]
    return msgspec.structs.replace(edits, device_nodes=nodes)


CONFIG: Json = {
    "ociVersion": "1.2.0",
    "process": {"env": ["PATH=/bin", "a=1"], "user": {"uid": 5}, "args": ["sh"], "rlimits": [{"type": "RLIMIT_CORE"}]},
    "mounts": [{"destination": "/proc", "source": "proc", "type": "proc"}],
    "linux": {"maskedPaths": ["/proc/kcore"], "resources": {"memory": {"limit": 1}, "devices": [{"allow": False}]}},
    "x-unknown": {"kept": [1]},
}


@given(any_edits())
def test_what_edits_do_not_touch_stays(edits: ContainerEdits) -> None:
    before = copy.deepcopy(CONFIG)
    made = apply_to_oci(CONFIG, typed(edits))
    assert before == CONFIG
    assert made["x-unknown"] == CONFIG["x-unknown"]
    assert made["process"]["rlimits"] == CONFIG["process"]["rlimits"]
    assert made["linux"]["maskedPaths"] == ["/proc/kcore"]
    assert made["linux"]["resources"]["memory"] == {"limit": 1}
    assert made["linux"]["resources"]["devices"][0] == {"allow": False}
    json.dumps(made)


@given(any_edits(), any_edits())
def test_edits_made_one_after_the_other_are_those_made_merged(a: ContainerEdits, b: ContainerEdits) -> None:
    a, b = typed(a), typed(b)
    assert apply_to_oci(apply_to_oci(CONFIG, a), b) == apply_to_oci(CONFIG, merge([a, b]))


def test_a_real_node_of_this_host() -> None:
    made = apply_to_oci({}, complete_device_nodes(ContainerEdits(device_nodes=[DeviceNode("/dev/null")])))
    (node,) = made["linux"]["devices"]
    assert (node["type"], node["major"], node["minor"]) == ("c", 1, 3)
    assert node["fileMode"] == Path("/dev/null").stat().st_mode & 0o7777
