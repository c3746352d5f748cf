"""A full disk and a process that dies, at every step of a write: the old spec or the new one, never a mixture."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.cdi.cdi_cases import device, spec
from fairlead.devices.cdi import SpecCache, SpecError, SpecWriteError, read_spec, write_spec
from fairlead.devices.cdi.write import encode_json
from patience import PATIENCE_S

OLD = spec(device("old"), version="")
NEW = spec(*[device(f"new{n}") for n in range(50)], version="0.3.0")

# The process kills itself before or after its n-th call of these, or with half of a write done.
_CALLS = ("open", "write", "fchmod", "fsync", "close", "replace", "link", "unlink")
_WRITER = """
import os, signal, sys
from pathlib import Path
from fairlead.devices.cdi import write_spec
from fairlead.devices.cdi.read import parse_spec

folder, text, point, when, overwrite = sys.argv[1:]
new = parse_spec(Path(text).read_bytes())
point = int(point)
calls = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def watched(name, real):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == point:
            if when == "during" and name == "write":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
                die()
            if when == "before":
                die()
            result = real(*args, **options)
            die()
        return real(*args, **options)
    return call

for name in CALLS:
    setattr(os, name, watched(name, getattr(os, name)))
write_spec(folder, "a.json", new, overwrite=overwrite == "yes")
print(calls)
""".replace("CALLS", repr(_CALLS))


def _write(
    folder: Path, text: Path, point: int, when: str, *, overwrite: bool = True
) -> subprocess.CompletedProcess[str]:
    arguments = [str(folder), str(text), str(point), when, "yes" if overwrite else "no"]
    return subprocess.run(
        [sys.executable, "-c", _WRITER, *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_writer_that_is_killed_at_any_step_leaves_the_old_spec_or_the_new(tmp_path: Path, when: str) -> None:
    text = tmp_path / "new.json"
    text.write_bytes(encode_json(NEW))
    seen = set()
    for point in range(1, 40):
        folder = tmp_path / f"{point}"
        write_spec(folder, "a.json", OLD)
        done = _write(folder, text, point, when)
        index = SpecCache([folder]).refresh()
        assert not index.problems
        found = sorted(entry.device.name for entry in index.devices.values())
        assert found in (["old"], sorted(f"new{n}" for n in range(50)))
        seen.add(len(found))
        write_spec(folder, "a.json", OLD)  # what is left over is in nobody's way
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    else:
        raise AssertionError("the writer never came to an end")
    assert seen == {1, 50}
    assert point > 8  # every call of the list that a write makes was a point


def test_a_writer_of_a_new_file_that_is_killed_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    text = tmp_path / "new.json"
    text.write_bytes(encode_json(NEW))
    for point in range(1, 40):
        folder = tmp_path / f"{point}"
        done = _write(folder, text, point, "after", overwrite=False)
        with contextlib.suppress(FileNotFoundError):
            assert len(read_spec(folder / "a.json").devices) == 50
        if done.returncode == 0:
            return
    raise AssertionError("the writer never came to an end")


_FULL = """
import resource, signal, sys
from fairlead.devices.cdi import SpecWriteError, write_spec
from fairlead.devices.cdi.read import parse_spec
from pathlib import Path

new = parse_spec(Path(sys.argv[2]).read_bytes())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_spec(sys.argv[1], "a.json", new)
except SpecWriteError as error:
    print(error)
"""


def test_a_file_that_may_not_grow_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "cdi"
    write_spec(folder, "a.json", OLD)
    text = tmp_path / "new.json"
    text.write_bytes(encode_json(NEW))
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(folder), str(text)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{folder}/a.json: cannot be written: File too large\n", done.stderr
    assert os.listdir(folder) == ["a.json"]
    assert [made.name for made in read_spec(folder / "a.json").devices] == ["old"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs to mount a file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_that_names_the_file(small_disk: Path) -> None:
    write_spec(small_disk, "a.json", OLD)
    (small_disk / "filler").write_bytes(b"x" * 52_000)
    big = spec(*[device(f"new{n}") for n in range(500)], version="")
    with pytest.raises(SpecWriteError, match=r"a\.json: cannot be written: No space left on device"):
        write_spec(small_disk, "a.json", big)
    assert sorted(os.listdir(small_disk)) == ["a.json", "filler"]
    assert [made.name for made in read_spec(small_disk / "a.json").devices] == ["old"]
    (small_disk / "filler").unlink()
    write_spec(small_disk, "a.json", NEW)
    assert len(read_spec(small_disk / "a.json").devices) == 50


def test_half_a_file_that_another_program_left_is_reported_and_no_device_of_it_is_given(tmp_path: Path) -> None:
    text = encode_json(NEW)
    for cut in range(0, len(text) - 2, 97):
        (tmp_path / "a.json").write_bytes(text[:cut])
        with pytest.raises(SpecError):
            read_spec(tmp_path / "a.json")
