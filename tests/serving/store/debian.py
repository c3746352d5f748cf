"""Programs of Debian packages for tests: from PATH, else unpacked into a cache folder, which needs no root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "fairlead-tests" / "debian"
_LIMIT_S = 90


def find(program: str, *packages: str) -> tuple[str, dict[str, str]]:
    """Path of a program, and the environment that it needs. Skips the test, with the reason, if it cannot be had.

    `packages`: the one with the program, then libraries that may be missing with it.
    """
    if found := shutil.which(program):
        return found, dict(os.environ)
    root = _CACHE / packages[0]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with open(_CACHE / f"{packages[0]}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "complete").exists() and (problem := _unpack(packages, root)):
            pytest.skip(f"{program} is not installed, and {packages[0]} cannot be fetched: {problem}")
    for folder in ("usr/bin", "usr/sbin"):
        if (root / folder / program).exists():
            libraries = ":".join(str(path) for path in root.glob("usr/lib/*-linux-gnu"))
            return str(root / folder / program), {**os.environ, "LD_LIBRARY_PATH": libraries}
    pytest.skip(f"the package {packages[0]} has no program {program}")


def _unpack(packages: tuple[str, ...], root: Path) -> str:
    """Download and unpack; why that did not work, or empty."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return "this machine has no apt-get"
    downloads = root.with_name(root.name + ".debs")
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    # Lists of its own, where the machine's are missing: a fresh container has none, and updating them needs root.
    lists = _CACHE / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={_CACHE / 'apt'}"]
    (_CACHE / "apt" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    attempts: list[list[list[str]]] = [
        [["apt-get", "download", *packages]],
        [["apt-get", *own, "update"], ["apt-get", *own, "download", *packages]],
    ]
    problem = ""
    for commands in attempts:
        problem = next(filter(None, (_run(command, downloads) for command in commands)), "")
        if not problem:
            break
    if problem:
        return problem
    for deb in downloads.glob("*.deb"):
        if problem := _run(["dpkg", "-x", str(deb), str(root)], downloads):
            return problem
    (root / "complete").touch()
    return ""


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"{' '.join(command[:2])} took longer than {_LIMIT_S} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]
