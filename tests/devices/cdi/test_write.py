"""Spec files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import msgspec
import pytest

from devices.cdi.cdi_cases import device, spec
from fairlead.clock import VirtualClock
from fairlead.devices.cdi import (
    ContainerEdits,
    Hook,
    InvalidName,
    NetDevice,
    Spec,
    SpecCache,
    SpecError,
    SpecWriteError,
    read_spec,
    remove_spec,
    write_spec,
)
from fairlead.devices.cdi.read import parse_spec
from fairlead.devices.cdi.write import encode_json, encode_yaml, to_yaml

SPEC = spec(device("dev1"), device("dev2"), version="")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("name", ["spec1.yaml", "spec1.json", "vendor.com-device", "vendor.com-device_claim-1"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    path = write_spec(tmp_path, name, SPEC)
    assert path == tmp_path / (name if name.startswith("spec1") else f"{name}.json")
    assert names(tmp_path) == [path.name]
    made = read_spec(path)
    assert made == msgspec.structs.replace(SPEC, cdi_version="0.3.0", devices=list(SPEC.devices))
    assert write_spec(tmp_path, name, SPEC) == path
    assert remove_spec(tmp_path, name)
    assert not remove_spec(tmp_path, name)
    assert names(tmp_path) == []


def test_the_lowest_sufficient_version_is_declared(tmp_path: Path) -> None:
    for declared in ("", "1.1.0", "0.3.0"):
        assert read_spec(write_spec(tmp_path, "a", spec(version=declared))).cdi_version == "0.3.0"
    nets = ContainerEdits(net_devices=[NetDevice("eth0", "net0")])
    assert read_spec(write_spec(tmp_path, "a", spec(device("d", nets), version="0.3.0"))).cdi_version == "1.1.0"


@pytest.mark.parametrize("made", [Spec("", "vendor.com/device"), spec(kind="vendor1.comdevice"),
                                  spec(container_edits=ContainerEdits(hooks=[Hook("x", "/y")]))])  # fmt: skip
def test_an_invalid_spec_is_not_written(tmp_path: Path, made: Spec) -> None:
    write_spec(tmp_path, "a.json", SPEC)
    with pytest.raises(SpecError):
        write_spec(tmp_path, "a.json", made)
    assert names(tmp_path) == ["a.json"]
    assert len(read_spec(tmp_path / "a.json").devices) == 2


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "a\0b", "x" * 201, "é" * 101])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    for call in (lambda: write_spec(tmp_path, name, SPEC), lambda: remove_spec(tmp_path, name)):
        with pytest.raises(InvalidName):
            call()


def test_folder_and_mode(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = write_spec(tmp_path / "run" / "cdi", "a", SPEC)
        other = write_spec(tmp_path / "run" / "cdi", "b", SPEC, mode=0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_kept_where_that_is_asked(tmp_path: Path) -> None:
    path = write_spec(tmp_path, "a", SPEC, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(SpecWriteError, match=r"a\.json: cannot be written: a file of that name is there"):
        write_spec(tmp_path, "a", spec(kind="other.com/x"), overwrite=False)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.json"]


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "a.json").symlink_to("target")
    write_spec(tmp_path, "a.json", SPEC)
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "a.json").is_symlink()


def test_what_cannot_be_written_or_removed_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecWriteError, match=r"file/a\.json: cannot be written: ") as error:
        write_spec(tmp_path / "file", "a.json", SPEC)
    assert error.value.path == str(tmp_path / "file" / "a.json")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(SpecWriteError, match=r"b\.json: cannot be removed: "):
        remove_spec(tmp_path, "b.json")
    with pytest.raises(SpecWriteError, match=r"b\.json: cannot be written: "):
        write_spec(tmp_path, "b.json", SPEC)
    assert names(tmp_path) == ["b.json", "file"]


def test_temporary_files_of_dead_writers_go_away_and_those_of_others_stay(tmp_path: Path) -> None:
    abandoned = tmp_path / ".a.json.0123456789abcdef.tmp"
    other = tmp_path / ".b.json.0123456789abcdef.tmp"
    for path in (abandoned, other):
        path.write_text("{")
    fresh = VirtualClock(wall_s=abandoned.stat().st_mtime + 30)
    write_spec(tmp_path, "a.json", SPEC, clock=fresh)
    assert abandoned.exists()
    later = VirtualClock(wall_s=abandoned.stat().st_mtime + 3600)
    write_spec(tmp_path, "a.json", SPEC, clock=later)
    assert names(tmp_path) == [other.name, "a.json"]


def test_many_writers_and_a_reader_see_whole_specs_only(tmp_path: Path) -> None:
    specs = [spec(*[device(f"{letter}{n}") for n in range(100)], version="") for letter in "abcd"]
    write_spec(tmp_path, "a", specs[0])
    cache = SpecCache([tmp_path])
    failed: list[BaseException] = []

    def write(made: Spec) -> None:
        try:
            for _ in range(25):
                write_spec(tmp_path, "a", made)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(made,)) for made in specs]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        index = cache.refresh()
        assert not index.problems
        assert len(index.devices) == 100
        assert len({entry.device.name[0] for entry in index.devices.values()}) == 1
    for writer in writers:
        writer.join()
    assert failed == []
    assert names(tmp_path) == ["a.json"]


def test_exactly_one_of_many_writers_makes_a_new_file(tmp_path: Path) -> None:
    made: list[int] = []
    start = threading.Barrier(4)

    def write(number: int) -> None:
        start.wait()
        try:
            write_spec(tmp_path, "a", spec(device(f"w{number}"), version=""), overwrite=False)
        except SpecWriteError:
            return
        made.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (number,) = made
    assert read_spec(tmp_path / "a.json").devices[0].name == f"w{number}"
    assert names(tmp_path) == ["a.json"]


def test_both_forms_are_readable_as_yaml_whatever_the_text(tmp_path: Path) -> None:
    """The reference implementation reads JSON with its YAML parser, which allows fewer characters bare."""
    text = "".join(map(chr, (*range(1, 0x100), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0x1F600)))
    made = spec(device("dev1", ContainerEdits(env=[f"A={text}"])), version="0.3.0")
    for encoded in (encode_json(made), encode_yaml(made)):
        (read,) = parse_spec(encoded, is_yaml=True).devices
        assert read.container_edits.env == [f"A={text}"]
    assert parse_spec(encode_json(made)).devices[0].container_edits.env == [f"A={text}"]


def test_yaml_quotes_what_a_parser_could_take_for_something_else() -> None:
    bare = ["A=0", "plain/path-1.0", "/dev/null"]
    quoted = ["y", "No", "0E0", "1_0", "0x1f", "null", "2026-11-28", "1:20", "a b", "#", "", "é"]
    assert to_yaml(bare + quoted).splitlines() == [f"- {t}" for t in bare] + [f'- "{t}"' for t in quoted]
