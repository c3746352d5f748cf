"""The rules of a spec, each with the path of what breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given

from devices.cdi.cdi_cases import device, edit_paths, problem_paths, spec
from devices.cdi.spec_strategies import specs as any_specs
from fairlead.devices.cdi import (
    ContainerEdits,
    DeviceNode,
    Hook,
    IntelRdt,
    Mount,
    NetDevice,
    Spec,
    SpecError,
    find_problems,
    validate,
)

NODE = "/dev/null"


def node(**fields: object) -> ContainerEdits:
    return ContainerEdits(device_nodes=[DeviceNode(**{"path": NODE, **fields})])  # type: ignore[arg-type]


def mount(host: str = "/a", container: str = "/b", **fields: object) -> ContainerEdits:
    return ContainerEdits(mounts=[Mount(host, container, **fields)])  # type: ignore[arg-type]


def hook(name: str = "prestart", path: str = "/bin/hook", **fields: object) -> ContainerEdits:
    return ContainerEdits(hooks=[Hook(name, path, **fields)])  # type: ignore[arg-type]


def rdt(clos_id: str) -> ContainerEdits:
    return ContainerEdits(intel_rdt=IntelRdt(clos_id=clos_id))


def nets(*pairs: tuple[str, str]) -> ContainerEdits:
    return ContainerEdits(net_devices=[NetDevice(host, name) for host, name in pairs])


VALID = [
    ContainerEdits(),
    ContainerEdits(env=["BAR=BARVALUE1", "EMPTY=", "EQUALS=a=b", "FOO=1", "FOO=2"]),
    node(),
    node(type="c"),
    node(type="b", permissions="rwm"),
    node(type="u"),
    node(type="p"),
    node(type="b", permissions="none"),
    node(permissions=""),
    node(file_mode=0o666, uid=0, gid=2**32 - 1, major=2**63 - 1, minor=0),
    node(file_mode=0o20666),
    mount("/dev/vendorctl", "/dev/vendorctl"),
    mount("tmpfs", "/usr/local/container", type="tmpfs", options=["ro", "mode=755", "size=65536k"]),
    hook("prestart", args=["--verbose"], env=["VENDOR_ENV1=value1"]),
    *(hook(name) for name in ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")),
    hook(timeout=1),
    rdt("foo.bar"),
    rdt("/"),
    rdt(""),
    rdt("x" * 255),
    nets(("eno1", "netdev0"), ("eno2", "netdev1")),
    nets(("a" * 15, "netdev0")),
    ContainerEdits(additional_gids=[0, 5, 5, 2**32 - 1]),
]

INVALID = [
    (ContainerEdits(env=[""]), ["env[0]"]),
    (ContainerEdits(env=["=foo"]), ["env[0]"]),
    (ContainerEdits(env=["A=1", "FOOBAR"]), ["env[1]"]),
    (ContainerEdits(env=["A=\0"]), ["env[0]"]),
    (node(path=""), ["deviceNodes[0].path"]),
    (node(path="dev/null"), ["deviceNodes[0].path"]),
    (node(path="/dev/\0"), ["deviceNodes[0].path"]),
    (node(host_path="dev/null"), ["deviceNodes[0].hostPath"]),
    (node(type="f"), ["deviceNodes[0].type"]),
    (node(type="cb"), ["deviceNodes[0].type"]),
    (node(type="b", permissions="to land"), ["deviceNodes[0].permissions"]),
    (node(permissions="nonerw"), ["deviceNodes[0].permissions"]),
    (node(permissions="rw\n"), ["deviceNodes[0].permissions"]),
    (node(major=-1, minor=2**63), ["deviceNodes[0].major", "deviceNodes[0].minor"]),
    (node(file_mode=0o200000), ["deviceNodes[0].fileMode"]),
    (node(file_mode=-1), ["deviceNodes[0].fileMode"]),
    (node(uid=2**32, gid=-1), ["deviceNodes[0].uid", "deviceNodes[0].gid"]),
    (mount("", "/dev/vendorctl"), ["mounts[0].hostPath"]),
    (mount("/dev/vendorctl", ""), ["mounts[0].containerPath"]),
    (mount("relative", "/x"), ["mounts[0].hostPath"]),
    (mount("relative", "/x", type="tmpfs", options=["rbind"]), ["mounts[0].hostPath"]),
    (mount("", "/x", type="tmpfs"), ["mounts[0].hostPath"]),
    (mount("tmp\0fs", "/x", type="tmpfs"), ["mounts[0].hostPath"]),
    (mount("/x", "relative"), ["mounts[0].containerPath"]),
    (hook(path=""), ["hooks[0].path"]),
    (hook(path="bin/hook"), ["hooks[0].path"]),
    (hook("misCreateRuntime"), ["hooks[0].hookName"]),
    (hook(""), ["hooks[0].hookName"]),
    (hook(env=["=value2"]), ["hooks[0].env[0]"]),
    (hook(args=["a", "\0"]), ["hooks[0].args[1]"]),
    (hook(timeout=0), ["hooks[0].timeout"]),
    (hook(timeout=-5), ["hooks[0].timeout"]),
    (rdt("foo/bar"), ["intelRdt.closID"]),
    (rdt("."), ["intelRdt.closID"]),
    (rdt(".."), ["intelRdt.closID"]),
    (rdt("foo\nbar"), ["intelRdt.closID"]),
    (rdt("x" * 256), ["intelRdt.closID"]),
    (rdt("é" * 128), ["intelRdt.closID"]),
    (nets(("", "netdev0")), ["netDevices[0].hostInterfaceName"]),
    (nets(("eno1", "")), ["netDevices[0].name"]),
    (nets(("eno1", "a"), ("eno1", "b")), ["netDevices[1].hostInterfaceName"]),
    (nets(("eno1", "a"), ("eno2", "a")), ["netDevices[1].name"]),
    (nets(("a" * 16, "a/b"), ("a b", "..")), ["netDevices[0].hostInterfaceName", "netDevices[0].name",
                                             "netDevices[1].hostInterfaceName", "netDevices[1].name"]),
    (ContainerEdits(additional_gids=[1, -1, 2**32]), ["additionalGids[1]", "additionalGids[2]"]),
]  # fmt: skip


@pytest.mark.parametrize("edits", VALID)
def test_valid_edits_have_no_problems(edits: ContainerEdits) -> None:
    assert edit_paths(edits) == []


@pytest.mark.parametrize(("edits", "paths"), INVALID)
def test_every_broken_rule_is_found_with_its_path(edits: ContainerEdits, paths: list[str]) -> None:
    assert edit_paths(edits) == paths
    in_device = problem_paths(spec(device("dev1", edits)))
    assert in_device == [f"devices[0].containerEdits.{path}" for path in paths]


@pytest.mark.parametrize(
    ("made", "paths"),
    [
        (spec(), []),
        (spec(device("dev1"), device("dev2"), device("dev3")), []),
        (spec(version=""), ["cdiVersion"]),
        (spec(version="0.0.0"), ["cdiVersion"]),
        (spec(kind=""), ["kind"]),
        (spec(kind="vendor.com"), ["kind"]),
        (spec(kind="vendor1.comdevice"), ["kind"]),
        (spec(kind="vendor.com-/device"), ["kind"]),
        (spec(kind="vendor.com/device="), ["kind"]),
        (spec(kind=f"vendor.com/{'c' * 64}"), ["kind"]),
        (Spec("1.1.0", "vendor.com/device"), ["devices"]),
        (spec(device("a dev ice")), ["devices[0].name"]),
        (spec(device("")), ["devices[0].name"]),
        (spec(device("dev", ContainerEdits())), ["devices[0].containerEdits"]),
        (spec(device("dev", ContainerEdits(intel_rdt=IntelRdt()))), []),
        (spec(device("dev", ContainerEdits(additional_gids=[0]))), []),
        (spec(device("dev", ContainerEdits(env=["=BAR"]))), ["devices[0].containerEdits.env[0]"]),
        (spec(device("dev1"), device("dev2"), device("dev1")), ["devices[2].name"]),
        (spec(device("a"), device("a"), device("a")), ["devices[1].name", "devices[2].name"]),
    ],
)
def test_the_rules_of_specs_and_devices(made: Spec, paths: list[str]) -> None:
    assert problem_paths(made) == paths


@pytest.mark.parametrize(
    "key", ["key", "Key", "example.com/key", "EXAMPLE.com/K_e.y-1", "a" * 63, f"{'a' * 253}/k", "0"]
)
def test_annotation_keys_are_qualified_names_of_kubernetes(key: str) -> None:
    assert problem_paths(spec(annotations={key: "any value\n"})) == []
    assert problem_paths(spec(device(annotations={key: ""}))) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "-a",
        "a-",
        "a b",
        "/key",
        "a/b/c",
        "ex_ample.com/k",
        "example.com/",
        "é",
        "a" * 64,
        f"{'a' * 254}/k",
        "a..b/k",
    ],
)
def test_other_annotation_keys_are_refused(key: str) -> None:
    assert problem_paths(spec(annotations={key: "v", "good": "v"})) == [f"annotations.{key}"]
    assert problem_paths(spec(device(annotations={key: "v"}))) == [f"devices[0].annotations.{key}"]


def test_annotations_have_a_size() -> None:
    most = 256 * 1024 - len("key")
    assert problem_paths(spec(annotations={"key": "x" * most})) == []
    assert problem_paths(spec(annotations={"key": "x" * (most + 1)})) == ["annotations"]
    assert problem_paths(spec(device(annotations={"key": "é" * (most // 2 + 1)}))) == ["devices[0].annotations"]


def test_the_error_names_the_file_and_every_problem() -> None:
    made = spec(device("", ContainerEdits(env=["x"])), kind="?")
    with pytest.raises(SpecError, match=r"^/etc/cdi/x\.json: kind: ") as error:
        validate(made, "/etc/cdi/x.json")
    assert list(error.value.problems) == find_problems(made)
    assert [problem.path for problem in error.value.problems] == [
        "kind", "devices[0].name", "devices[0].containerEdits.env[0]",
    ]  # fmt: skip
    validate(spec())


def test_an_error_with_thousands_of_problems_stays_readable() -> None:
    with pytest.raises(SpecError, match="and 4980 more problems") as error:
        validate(spec(container_edits=ContainerEdits(env=["x"] * 5000)))
    assert len(error.value.problems) == 5000
    assert len(str(error.value)) < 5000


@given(any_specs())
def test_specs_that_are_made_valid_are_valid(made: Spec) -> None:
    assert find_problems(made) == []
