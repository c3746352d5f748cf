"""The record on the disk: what is read is what was written, or an error that says it is not."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.devices.driver.checkpoint import Checkpoint, CheckpointDamaged
from fairlead.devices.driver.records import ClaimRecord, HeldDevice, Report
from fairlead.devices.errors import CheckpointError
from patience import PATIENCE_S

ONE = ClaimRecord(
    "u-1", "team", "one", "prepared", [HeldDevice("d-0", "main", consumes={"c": {"x": "1"}}, cdi_ids=["a/b=d-0"])],
    reports=[Report("d-0", data={"vf": 3}, network={"ips": ["10.0.0.1/8"]})], has_spec=True, since_s=12.5,
)  # fmt: skip
TWO = ClaimRecord("u-2", "team", "two", "preparing", [HeldDevice("d-1", "gpu/big", "share-1", admin_access=True)])


def saved(folder: Path, *states: dict[str, ClaimRecord], boot_id: str = "") -> Checkpoint:
    checkpoint = Checkpoint(folder, boot_id=boot_id)
    checkpoint.load()
    for state in states:
        checkpoint.save(state)
    return checkpoint


def loaded(folder: Path, boot_id: str = "") -> Checkpoint:
    checkpoint = Checkpoint(folder, boot_id=boot_id)
    checkpoint.load()
    return checkpoint


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path, {"u-1": ONE, "u-2": TWO})
    found = loaded(tmp_path)
    assert found.records == {"u-1": ONE, "u-2": TWO}
    assert found.held_devices() == {"d-0", "d-1"}


def test_a_new_folder_is_an_empty_record(tmp_path: Path) -> None:
    assert loaded(tmp_path).records == {}


@settings(max_examples=200)
@given(st.data())
def test_any_damage_is_seen(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        damage_and_load(Path(folder), data)


def damage_and_load(tmp_path: Path, data: st.DataObject) -> None:
    saved(tmp_path, {"u-1": ONE}, {"u-1": ONE, "u-2": TWO})
    path = tmp_path / "checkpoint.json"
    whole = path.read_bytes()
    if data.draw(st.booleans(), label="truncate"):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    path.write_bytes(damaged)
    checkpoint = Checkpoint(tmp_path)
    try:
        checkpoint.load()
    except CheckpointDamaged as error:
        assert error.previous == {"u-1": ONE}
    except CheckpointError as error:
        assert "newer" in str(error), "a flipped digit of the version"
    else:
        # White space, or the name of a field outside of the sum that means the same.
        assert checkpoint.records == {"u-1": ONE, "u-2": TWO}


def test_both_copies_damaged(tmp_path: Path) -> None:
    saved(tmp_path, {"u-1": ONE}, {"u-2": TWO})
    for name in ("checkpoint.json", "checkpoint.json.previous"):
        (tmp_path / name).write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointDamaged) as raised:
        loaded(tmp_path)
    assert raised.value.previous is None


def test_a_file_that_is_gone_while_its_copy_is_there_is_damage(tmp_path: Path) -> None:
    saved(tmp_path, {"u-1": ONE}, {"u-2": TWO})
    (tmp_path / "checkpoint.json").unlink()
    with pytest.raises(CheckpointDamaged, match="is gone") as raised:
        loaded(tmp_path)
    assert raised.value.previous == {"u-1": ONE}


def test_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    saved(tmp_path, {"u-1": ONE})
    path = tmp_path / "checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 7}))
    with pytest.raises(CheckpointError, match="version 7 was written by a newer Fairlead") as raised:
        loaded(tmp_path)
    assert not isinstance(raised.value, CheckpointDamaged)


def test_after_a_restart_of_the_machine_everything_is_prepared_again(tmp_path: Path) -> None:
    saved(tmp_path, {"u-1": ONE, "u-2": TWO}, boot_id="boot-1")
    assert {r.phase for r in loaded(tmp_path, "boot-1").records.values()} == {"prepared", "preparing"}
    after = loaded(tmp_path, "boot-2")
    assert {r.phase for r in after.records.values()} == {"preparing"}
    assert after.held_devices() == {"d-0", "d-1"}, "the devices stay theirs"


def test_what_another_instance_wrote_is_seen(tmp_path: Path) -> None:
    mine, other = saved(tmp_path, {"u-1": ONE}), loaded(tmp_path)
    other.save({"u-2": TWO}, is_forced=False)
    mine.refresh()
    assert mine.records == {"u-2": TWO}


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """In a process of its own whose files may not grow beyond a few hundred bytes: writes fail as on a full disk."""
    saved(tmp_path, {"u-1": ONE})
    program = f"""
import resource, signal, sys
from pathlib import Path
from fairlead.devices.driver.checkpoint import Checkpoint
from fairlead.devices.driver.records import ClaimRecord
from fairlead.devices.errors import CheckpointError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoint = Checkpoint(Path({str(tmp_path)!r}))
checkpoint.load()
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
more = {{f"u-{{n}}": ClaimRecord(f"u-{{n}}", "team", "x", "preparing") for n in range(50)}}
try:
    checkpoint.save(more)
except CheckpointError as error:
    print(error)
    assert set(checkpoint.records) == {{"u-1"}}
else:
    sys.exit("it was written")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"cannot be written: {os.strerror(errno.EFBIG)}" in done.stdout
    assert loaded(tmp_path).records == {"u-1": ONE}
    assert sorted(f.name for f in tmp_path.iterdir()) == ["checkpoint.json"], "nothing half written stays"
