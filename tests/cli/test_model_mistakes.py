"""What `fairlead model` says to mistakes: one line that names what was asked for and what to do, and status 1."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fairlead.cli.main import main
from fairlead.serving.store.repository import Cancel
from serving.store.models import write_model
from serving.store.pulling import pushed


@pytest.fixture
def layout(tmp_path: Path) -> str:
    pushed(write_model(tmp_path / "m", (1000,)), tmp_path / "l")
    return f"layout://{tmp_path}/l"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr of a command that fails."""
    capsys.readouterr()
    assert main(["model", *words]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "Traceback" not in text, text
    return text


def test_mistakes_are_told_in_one_line(capsys: pytest.CaptureFixture[str], layout: str, tmp_path: Path) -> None:
    out, key = str(tmp_path / "out"), tmp_path / "no.pub"
    (tmp_path / "text.key").write_text("hello")
    assert "its tags: v1" in said(capsys, "pull", f"{layout}:v9", out)
    assert f"{key}: No such file" in said(capsys, "verify", f"{layout}:v1", "--key", str(key))
    assert f"{key}: No such file" in said(capsys, "pull", f"{layout}:v1", out, "--key", str(key))
    assert f"{key}: No such file" in said(capsys, "sign", f"{layout}:v1", "--key", str(key))
    assert "not a key in PEM" in said(capsys, "sign", f"{layout}:v1", "--key", str(tmp_path / "text.key"))
    assert "--key FILE" in said(capsys, "verify", f"{layout}:v1")
    assert "was not pulled" in said(capsys, "verify", str(tmp_path / "m"))
    assert "no such folder or file" in said(capsys, "push", str(tmp_path / "none"), f"{layout}:v1")
    assert "neither empty nor an OCI layout" in said(capsys, "push", str(tmp_path / "m"), f"layout://{tmp_path}/m:v1")
    assert "is no tag" in said(capsys, "tag", f"{layout}:v1", "two words")
    assert "write oci://host/team/m:v1" in said(capsys, "pull", "https://host/team/m:v1", out)
    assert "is no digest" in said(capsys, "inspect", f"{layout}@sha256:12")
    assert "--replace" in said(capsys, "pull", f"{layout}:v1", str(tmp_path))
    assert not Path(out).exists()


def test_nobody_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Waits between attempts are tested elsewhere.
    monkeypatch.setattr(Cancel, "sleep", lambda self, duration_s: None)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    text = said(capsys, "pull", f"127.0.0.1:{port}/team/m:v1", str(tmp_path / "out"))
    assert f"127.0.0.1:{port}" in text and "connection refused, 6 times in a row" in text and "Errno" not in text
