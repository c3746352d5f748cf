"""What instances of a driver leave behind, and who clears it away."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fairlead.devices.driver.rolling import LifeLock, clear_dead_instances, places_of
from fairlead.devices.errors import TwoDrivers

DRIVER = "widget.example.com"
_INSTANCE = """
import resource, socket, sys
from pathlib import Path
from fairlead.devices.driver.rolling import LifeLock, places_of
places = places_of(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
life = LifeLock(places)
if sys.argv[3] == "full-disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
life.take()
kept = []
for path in (places.registration, places.dra):
    path.parent.mkdir(parents=True, exist_ok=True)
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(str(path))
    kept[-1].listen()
print("serving", flush=True)
sys.stdin.read()
"""


@contextmanager
def instance(root: Path, instance_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds what a driver holds, killed at the end: nothing is tidied up."""
    command = [sys.executable, "-c", _INSTANCE, str(root), DRIVER, instance_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            yield process
        finally:
            process.kill()


def files(root: Path) -> set[str]:
    return {path.name for folder in (root / "plugins" / DRIVER, root / "plugins_registry") for path in folder.iterdir()}


def test_what_killed_instances_left_goes_and_the_living_stay(short_path: Path) -> None:
    for killed in ("", "pod-1", "pod-2"):
        with instance(short_path, killed):
            pass
    others = {"serialize.lock", "checkpoint.json"}
    for name in others:
        (short_path / "plugins" / DRIVER / name).touch()
    of_another = f"{DRIVER}.org-pod-1-reg.sock"
    (short_path / "plugins_registry" / of_another).touch()
    own = places_of(short_path, DRIVER, "pod-4")
    life = LifeLock(own)
    life.take()
    try:
        with instance(short_path, "pod-3"):
            assert len(clear_dead_instances(own)) == 6
            living = {f"{DRIVER}-pod-3-reg.sock", "dra-pod-3.sock", "driver-pod-3.lock"}
            assert files(short_path) == {*others, *living, of_another, "driver-pod-4.lock"}
            assert clear_dead_instances(own) == []
        assert len(clear_dead_instances(own)) == 2
    finally:
        life.release()
    assert files(short_path) == {*others, of_another, "driver-pod-4.lock"}


def test_a_full_disk_does_not_keep_an_instance_from_living(short_path: Path) -> None:
    with instance(short_path, "full-disk"), pytest.raises(TwoDrivers, match="another process"):
        LifeLock(places_of(short_path, DRIVER, "full-disk")).take()


def test_a_lock_that_was_cleared_away_while_it_was_taken_keeps_others_out(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = places_of(short_path, DRIVER, "pod-1")
    flock, cleared = fcntl.flock, []

    def flock_late(descriptor: int, operation: int) -> None:
        if not cleared:
            cleared.append(places.life_lock)
            places.life_lock.unlink()
        flock(descriptor, operation)

    first = LifeLock(places)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock_late)
        first.take()
    assert cleared
    try:
        with pytest.raises(TwoDrivers, match=f"process {os.getpid()} serves driver"):
            LifeLock(places).take()
    finally:
        first.release()
