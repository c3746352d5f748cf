"""`fairlead model`: a cache filled, listed, pinned, checked and emptied; what starts in pods starts fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from patience import PATIENCE_S

COMMAND = [sys.executable, "-m", "fairlead.cli.main", "model"]
AIOHTTP = "import sys; from fairlead.cli.main import main; main(sys.argv[1:]); print('aiohttp' in sys.modules)"


@pytest.fixture
def source(tmp_path: Path) -> str:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"w" * 100_000)
    return str(folder)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def run(*arguments: str, status: int = 0) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


def test_a_cache_from_full_to_empty(source: str, cache: str, tmp_path: Path) -> None:
    link = tmp_path / "links" / "model"
    digest, path = run("fetch", source, "--cache", cache, "--link", str(link), "--quiet").split()
    assert path == str(link) and (link / "config.json").read_text() == "{}"
    assert digest.partition(":")[2][:12] in run("cache", "list", "--cache", cache)
    run("cache", "pin", digest[:20], "--cache", cache)
    [model] = json.loads(run("cache", "list", "--cache", cache, "-o", "json"))
    assert model["pinned"] and model["sources"] == [source] and model["files"] == 2
    assert run("cache", "prune", "--cache", cache) == ""
    run("cache", "unpin", source, "--cache", cache)
    assert run("cache", "prune", "--to", "1Gi", "--cache", cache) == ""
    assert run("cache", "check", "--cache", cache).strip() == f"{digest}  whole"
    (link / "config.json").write_text("[]")
    assert "config.json is not what came in" in run("cache", "check", "--cache", cache, status=1)
    assert json.loads(run("cache", "list", "--cache", cache, "-o", "json")) == []
    run("fetch", source, "--cache", cache, "--quiet")
    assert source in run("cache", "prune", "--cache", cache)


def test_mistakes_are_told(source: str, cache: str) -> None:
    assert "there is no model cache at" in run("cache", "list", "--cache", cache, status=1)
    run("fetch", source, "--cache", cache, "--quiet")
    assert "means no model of the cache" in run("cache", "pin", "sha256:beef", "--cache", cache, status=1)
    assert "'lots' is no size" in run("cache", "prune", "--to", "lots", "--cache", cache, status=1)
    assert "'lots' is no size" in run("fetch", source, "--cache", cache, "--capacity", "lots", status=2)
    assert "no pod" in run("hold", "--cache", cache, status=2)
    assert "nothing reads ftp://" in run("fetch", "ftp://h/m", "--cache", cache, status=1)


def test_a_model_that_is_there_needs_no_client(source: str, cache: str) -> None:
    run("fetch", source, "--cache", cache, "--quiet")
    done = subprocess.run(
        [sys.executable, "-c", AIOHTTP, "model", "fetch", source, "--cache", cache, "--quiet"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False", "its import is half a second of every pod's start"
