"""What `up --devices` makes of what a person asks for, and the mistakes that it names before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.cli import asked_devices
from fairlead.cli.app import run
from fairlead.cli.components import agent
from fairlead.cli.driver import options_of
from fairlead.devices.host import Host
from fairlead.devices.vendors.registry import create
from fairlead.embedded.agent.node_spec import parse_nodes
from fairlead.embedded.supervisor.launch import CannotStart


def test_a_built_in_fleet_becomes_nodes_and_a_driver(tmp_path: Path) -> None:
    nodes, devices = asked_devices.prepare(tmp_path, "h100x8")
    assert [spec.name for spec in parse_nodes(Path(nodes.removeprefix("@")).read_text())] == ["h100-0", "h100-1"]
    both = frozenset({"h100-0", "h100-1"})
    assert devices.pools == {"gpu.nvidia.com": both, "dra.net": both}
    assert devices.options[devices.options.index("--health-period") + 1] == "0.5"
    assert devices.asked == "h100x8" and "--apply-classes" in devices.options
    fleet = devices.options[devices.options.index("--fleet") + 1]
    assert Path(fleet).name == "h100x8.yaml" and Path(fleet).is_relative_to(tmp_path)


def test_a_file_is_copied_so_that_an_edit_waits_for_the_next_start(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("nodes: [{name: a, devices: [{model: rngd}]}, {name: b}]")
    data = tmp_path / "data"
    _, devices = asked_devices.prepare(data, str(mine))
    mine.write_text("nodes: [{name: c}]")
    copy = Path(devices.options[devices.options.index("--fleet") + 1])
    assert "name: a" in copy.read_text()
    assert devices.pools == {"npu.furiosa.ai": frozenset({"a"})}


def test_a_thousand_nodes_fit_where_an_argument_would_not(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("network: [{name: leaf, nodes: 20}]\nnodes: [{name: a, count: 1000, labels: {x: y}}]")
    nodes, devices = asked_devices.prepare(tmp_path, str(mine))
    assert len(nodes) < 1000
    # Health is looked at less often where there is so much of it.
    assert devices.options[devices.options.index("--health-period") + 1] == "10"
    assert len(parse_nodes(Path(nodes.removeprefix("@")).read_text())) == 1000


def test_the_same_file_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").touch()
    assert asked_devices.normalize("f.yaml") == str(tmp_path / "f.yaml")
    assert asked_devices.normalize("rngdx8") == "rngdx8" and asked_devices.normalize("nvidia") == "nvidia"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--devices", "rngdx9"], "--devices rngdx9: no fleet of that name; did you mean rngdx8?"),
        (["--devices", "./none.yaml"], "none.yaml: no such file"),
        (["--devices", "rngdx8", "--nodes", "3"], "--nodes and --devices exclude each other"),
        pytest.param(
            ["--devices", "furiosa"],
            "--devices furiosa: this machine has none",
            marks=pytest.mark.skipif(Path("/sys/class/rngd_mgmt").exists(), reason="this machine has RNGD cards"),
        ),
        (["--devices", "/"], "/: cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_starts(
    argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert run(["up", "--data", str(data), *argv]) == 1
    assert said in capsys.readouterr().err
    assert not data.exists()


def test_a_disk_that_takes_nothing_is_named() -> None:
    with pytest.raises(CannotStart, match="/proc/nowhere/devices cannot be written"):
        asked_devices.prepare(Path("/proc/nowhere"), "rngdx8")


def test_an_agent_whose_nodes_file_is_gone_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--kubeconfig", "x", "--data", str(tmp_path), "--nodes", f"@{tmp_path}/none.txt"]
    assert agent(argv) == 1
    assert f"nodes: {tmp_path}/none.txt cannot be read" in capsys.readouterr().err


def test_own_gpus_are_told_apart_by_a_variable_as_no_cgroup_does(tmp_path: Path) -> None:
    given = asked_devices.own_options(tmp_path, "nvidia")
    (vendor,) = create("nvidia", Host(tmp_path), "n", **options_of("nvidia", [o for o in given if o != "--option"]))
    assert vendor.driver == "gpu.nvidia.com"
    assert asked_devices.own_options(tmp_path, "furiosa") == ()
