"""`fairlead topology` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.cli.app import run
from patience import PATIENCE_S

RACKS = 'levels: [block, rack]\nnodes: {b1: {r1: "n[1-2]"}, b2: {r1: "n[3-4]"}}\n'


@pytest.fixture
def racks(tmp_path: Path) -> Path:
    file = tmp_path / "racks.yaml"
    file.write_text(RACKS)
    return file


def test_generate_slurm_and_json(racks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topology", "generate", "--provider", "file", "--engine", "slurm", "--input", str(racks)]) == 0
    assert "Nodes=n[3-4]" in capsys.readouterr().out
    assert run(["topology", "generate", "--provider", "file", "--engine", "json", "--input", str(racks)]) == 0
    assert [node["name"] for node in json.loads(capsys.readouterr().out)["nodes"]] == ["n1", "n2", "n3", "n4"]


def test_show_of_a_file_as_tree_and_svg(racks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topology", "show", "--input", str(racks)]) == 0
    out = capsys.readouterr().out
    assert "├─ b1" in out and "└─ b2" in out and "n4" in out
    assert run(["topology", "show", "--input", str(racks), "--svg", str(tmp_path / "t.svg")]) == 0
    assert (tmp_path / "t.svg").read_text().startswith("<svg")
    assert run(["topology", "show", "--input", str(racks), "--svg", "/dev/full"]) == 1
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--provider", "nope"], "unsupported provider nope"),
        (["--provider", "file"], "give --input FILE"),
        (["--provider", "file", "--input", "/nonexistent"], "No such file"),
        (["--provider", "file", "--engine", "slinky"], "unsupported engine slinky"),
        (["--provider", "file", "--provider-params", "3"], "expected a JSON object"),
        (["--provider", "aws", "--endpoint", "http://127.0.0.1:1/"], "127.0.0.1:1"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topology", "generate", *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_half_an_input_on_stdin() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead.cli.main", "topology", "generate", "--provider", "aws", "--input", "-"],
        input=b'{"Instances": [{"Ins', capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"cut off" in done.stderr
