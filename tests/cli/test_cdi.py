"""`fairlead cdi` as a person sees it: what is printed, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fairlead.cli.app import run

SPEC = """
cdiVersion: "0.6.0"
kind: furiosa.ai/npu
annotations: {furiosa.ai/driver: "2026.1"}
devices:
- name: npu0
  annotations: {furiosa.ai/serial: "SN0"}
  containerEdits:
    env: [NPU=0]
    deviceNodes: [{path: /dev/null, permissions: rw}]
- name: npu1
  containerEdits:
    env: [NPU=1]
    deviceNodes: [{path: /dev/rngd/npu1, hostPath: /dev/zero}]
    mounts: [{hostPath: /usr/lib, containerPath: /usr/lib/furiosa, options: [ro, bind]}]
- name: gone
  containerEdits:
    deviceNodes: [{path: /dev/rngd/not-there}]
containerEdits:
  env: [FURIOSA=1]
  hooks: [{hookName: createContainer, path: /usr/bin/true}]
"""


class Terminal:
    """Runs commands on the folders of a machine."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.etc = root / "etc"
        self.run_dir = root / "run"
        self.etc.mkdir()
        (self.etc / "npu.yaml").write_text(SPEC)
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = run(["cdi", *arguments, "--spec-dir", str(self.etc), "--spec-dir", str(self.run_dir)])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def json(self, *arguments: str) -> object:
        status, out, _ = self(*arguments, "-o", "json")
        assert status == 0
        return json.loads(out)


@pytest.fixture
def cdi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, capsys)


def test_devices_are_listed_with_their_files(cdi: Terminal) -> None:
    status, out, err = cdi("list")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["DEVICE", "SPEC", "PRIORITY"]
    assert lines[2] == ["furiosa.ai/npu=npu0", str(cdi.etc / "npu.yaml"), "0"]
    assert cdi.json("list") == [
        {"device": "furiosa.ai/npu=gone", "spec": str(cdi.etc / "npu.yaml"), "priority": 0},
        {
            "device": "furiosa.ai/npu=npu0", "spec": str(cdi.etc / "npu.yaml"), "priority": 0,
            "annotations": {"furiosa.ai/serial": "SN0"},
        },
        {"device": "furiosa.ai/npu=npu1", "spec": str(cdi.etc / "npu.yaml"), "priority": 0},
    ]  # fmt: skip


def test_vendors_classes_and_specs_are_listed(cdi: Terminal) -> None:
    cdi.run_dir.mkdir()
    nic = {"cdiVersion": "1.1.0", "kind": "x.com/npu", "devices": [{"name": "0", "containerEdits": {"env": ["A=1"]}}]}
    (cdi.run_dir / "x.json").write_text(json.dumps(nic))
    assert cdi.json("list", "vendors") == [{"vendor": "furiosa.ai", "specs": 1}, {"vendor": "x.com", "specs": 1}]
    assert cdi.json("list", "classes") == [{"class": "npu", "vendors": ["furiosa.ai", "x.com"]}]
    assert cdi.json("list", "specs") == [
        {"spec": str(cdi.etc / "npu.yaml"), "kind": "furiosa.ai/npu", "version": "0.6.0", "devices": 3, "priority": 0},
        {"spec": str(cdi.run_dir / "x.json"), "kind": "x.com/npu", "version": "1.1.0", "devices": 1, "priority": 1},
    ]
    _, out, _ = cdi("list", "classes")
    assert out.splitlines()[1] == "npu    furiosa.ai, x.com"


def test_an_empty_machine_has_nothing_and_a_broken_file_is_named_beside_the_rest(cdi: Terminal) -> None:
    (cdi.etc / "broken.json").write_text("{")
    status, out, err = cdi("list")
    assert status == 0
    assert "npu0" in out
    assert "broken.json: line 1, column 2: not JSON" in err
    for path in cdi.etc.iterdir():
        path.unlink()
    status, out, err = cdi("list")
    assert (status, err) == (0, "")
    assert out == f"no devices in {cdi.etc}, {cdi.run_dir}\n"
    assert cdi.json("list") == []


def test_inspect_prints_merged_edits_and_where_they_come_from(cdi: Terminal) -> None:
    status, out, _ = cdi("inspect", "furiosa.ai/npu=npu1", "furiosa.ai/npu=npu0")
    assert status == 0
    made = yaml.safe_load(out)
    assert made == cdi.json("inspect", "furiosa.ai/npu=npu1", "furiosa.ai/npu=npu0")
    assert [device["device"] for device in made["devices"]] == ["furiosa.ai/npu=npu1", "furiosa.ai/npu=npu0"]
    assert made["devices"][1]["annotations"] == {"furiosa.ai/serial": "SN0"}
    edits = made["containerEdits"]
    assert edits["env"] == ["FURIOSA=1", "NPU=1", "NPU=0"]
    assert edits["deviceNodes"] == [
        {"path": "/dev/rngd/npu1", "hostPath": "/dev/zero"},
        {"path": "/dev/null", "permissions": "rw"},
    ]


def test_resolve_looks_nodes_up_and_decides_repeated_entries(cdi: Terminal) -> None:
    status, out, _ = cdi("resolve", "furiosa.ai/npu=npu1", "furiosa.ai/npu=npu0")
    assert status == 0
    made = yaml.safe_load(out)
    assert set(made) == {"env", "deviceNodes", "hooks", "mounts"}
    assert made["env"] == ["FURIOSA=1", "NPU=0"]
    assert [(node["path"], node["major"], node["minor"]) for node in made["deviceNodes"]] == [
        ("/dev/rngd/npu1", 1, 5),
        ("/dev/null", 1, 3),
    ]


def test_resolve_applies_to_an_oci_configuration(cdi: Terminal, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"ociVersion": "1.2.0", "process": {"env": ["NPU=none", "A=b"]}, "root": {"path": "r"}})
    )
    status, out, _ = cdi("resolve", "furiosa.ai/npu=npu0", "--oci", str(config))
    assert status == 0
    made = json.loads(out)
    assert made["root"] == {"path": "r"}
    assert made["process"]["env"] == ["NPU=0", "A=b", "FURIOSA=1"]
    assert made["linux"]["resources"]["devices"] == [
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    ]
    assert made["hooks"] == {"createContainer": [{"path": "/usr/bin/true"}]}
    _, out, _ = cdi("resolve", "furiosa.ai/npu=npu0", "--oci", str(config), "-o", "yaml")
    assert yaml.safe_load(out) == made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resolve", "furiosa.ai/npu=npu2"], "did you mean furiosa.ai/npu=npu"),
        (["inspect", "npu0", "x.com/y=z"], 'name "npu0": expected a qualified device name, vendor/class=device'),
        (["resolve", "furiosa.ai/npu=gone"], "/dev/rngd/not-there: the host has no device node /dev/rngd/not-there"),
        (
            ["resolve", "furiosa.ai/npu=npu0", "--oci", "/not/there.json"],
            "/not/there.json: cannot be read: No such file",
        ),
        (["resolve", "furiosa.ai/npu=npu0", "--oci", "/dev/null"], "/dev/null: not a JSON document"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_status(cdi: Terminal, arguments: list[str], said: str) -> None:
    status, out, err = cdi(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("fairlead: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_configuration_of_another_form_is_refused(cdi: Terminal, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for text, said in (("[]", "an object, got list"), ('{"process": 3}', "process: expected an object, got int")):
        config.write_text(text)
        status, _, err = cdi("resolve", "furiosa.ai/npu=npu0", "--oci", str(config))
        assert status == 1
        assert said in err


def test_validate_names_every_problem_with_its_path(cdi: Terminal) -> None:
    assert cdi("validate") == (0, "1 spec checked, 0 problems in 0 files\n", "")
    cdi.run_dir.mkdir()
    (cdi.run_dir / "a.yaml").write_text(SPEC.replace("0.6.0", "0.5.0").replace("path: /usr/bin/true", "path: true"))
    (cdi.run_dir / "b.json").write_text('{"cdiVersion": "0.3.0"')
    (cdi.run_dir / "c.yaml").write_text(SPEC)
    (cdi.run_dir / "d.yaml").write_text(SPEC)
    status, out, _ = cdi("validate")
    assert status == 1
    assert f"{cdi.run_dir}/a.yaml: cdiVersion: " in out
    assert f"{cdi.run_dir}/a.yaml: containerEdits.hooks[0].path: expected text, got a boolean (True)" in out
    assert f"{cdi.run_dir}/b.json: line 1, column 23: not JSON" in out
    assert f'{cdi.run_dir}/c.yaml: devices: "furiosa.ai/npu=npu0" is defined with the same priority in ' in out
    assert out.splitlines()[-1] == "5 specs checked, 9 problems in 4 files"


def test_validate_takes_files_and_folders(cdi: Terminal, tmp_path: Path) -> None:
    good = cdi.etc / "npu.yaml"
    bad = tmp_path / "bad.json"
    bad.write_text('{"cdiVersion": "0.3.0", "kind": "a", "devices": []}')
    assert cdi("validate", str(good), str(cdi.etc))[0] == 0
    status, out, _ = cdi("validate", str(good), str(bad), str(tmp_path / "missing.json"), "-o", "json")
    assert status == 1
    assert json.loads(out) == {
        "checked": 3,
        "problems": [
            {"file": str(bad), "path": "kind", "message": 'name "a": expected a kind, vendor/class'},
            {"file": str(bad), "path": "devices", "message": "expected at least one device, got none"},
            {"file": str(tmp_path / "missing.json"), "path": "", "message": "there is no such file"},
        ],
    }
