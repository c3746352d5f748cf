"""What the folders of a node define: priorities, conflicts, broken files, and changes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from devices.cdi.cdi_cases import device, spec
from fairlead.clock import VirtualClock
from fairlead.devices.cdi import (
    ContainerEdits,
    Index,
    SpecCache,
    UnresolvedDevices,
    remove_spec,
    transient_spec_name,
    write_spec,
)
from fairlead.devices.cdi import cache as caching
from fairlead.devices.cdi.write import encode_json

KIND = "vendor1.com/device"


class Folders:
    """A static and a dynamic folder with a cache over them."""

    def __init__(self, root: Path) -> None:
        self.etc = root / "etc"
        self.run = root / "run"
        self.cache = SpecCache([self.etc, self.run])

    def put(self, where: str, name: str, *devices: str, kind: str = KIND) -> None:
        made = spec(*map(device, devices), version="", kind=kind)
        write_spec(self.etc if where == "etc" else self.run, name, made)

    def sources(self) -> dict[str, str]:
        """Device -> the file that defines it, as "etc/x.yaml"."""
        found = self.cache.refresh().devices
        return {name.partition("=")[2]: f"{e.file.path.parent.name}/{e.file.path.name}" for name, e in found.items()}

    def complaints(self) -> list[str]:
        return [f"{path.parent.name}/{path.name}" for path in self.cache.refresh().problems]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_no_folders_and_empty_folders_define_nothing(folders: Folders) -> None:
    assert folders.cache.refresh() == Index()
    folders.etc.mkdir()
    assert folders.cache.refresh() == Index()


def test_a_later_folder_has_the_higher_priority(folders: Folders) -> None:
    folders.put("etc", "vendor1.yaml", "dev1", "dev2")
    assert folders.sources() == {"dev1": "etc/vendor1.yaml", "dev2": "etc/vendor1.yaml"}
    folders.put("run", "vendor1.yaml", "dev1")
    assert folders.sources() == {"dev1": "run/vendor1.yaml", "dev2": "etc/vendor1.yaml"}
    assert folders.complaints() == []
    remove_spec(folders.run, "vendor1.yaml")
    assert folders.sources() == {"dev1": "etc/vendor1.yaml", "dev2": "etc/vendor1.yaml"}


def test_a_conflict_at_one_priority_disables_the_device_and_names_both_files(folders: Folders) -> None:
    folders.put("run", "vendor1.yaml", "dev1", "dev2")
    folders.put("run", "vendor1-other.yaml", "dev1", "dev3")
    assert folders.sources() == {"dev2": "run/vendor1.yaml", "dev3": "run/vendor1-other.yaml"}
    assert folders.complaints() == ["run/vendor1-other.yaml", "run/vendor1.yaml"]
    with pytest.raises(UnresolvedDevices) as error:
        folders.cache.resolve([f"{KIND}=dev1"])
    (unresolved,) = error.value.devices
    assert unresolved.reason == "conflict"
    assert "vendor1-other.yaml" in unresolved.message
    assert "vendor1.yaml" in unresolved.message
    remove_spec(folders.run, "vendor1-other.yaml")
    assert folders.sources() == {"dev1": "run/vendor1.yaml", "dev2": "run/vendor1.yaml"}
    assert folders.complaints() == []


def test_a_conflict_of_three_names_all_and_one_below_another_priority_disables_nothing(folders: Folders) -> None:
    for name in ("a", "b", "c"):
        folders.put("etc", name, "dev1")
    assert folders.sources() == {}
    (paths,) = folders.cache.refresh().conflicts.values()
    assert [path.name for path in paths] == ["a.json", "b.json", "c.json"]
    folders.put("run", "d", "dev1")
    assert folders.sources() == {"dev1": "run/d.json"}
    assert folders.complaints() == ["etc/a.json", "etc/b.json", "etc/c.json"]
    assert folders.cache.refresh().conflicts == {}


def test_a_bad_file_is_reported_and_hides_no_other(folders: Folders) -> None:
    folders.put("etc", "valid1.yaml", "dev1", kind="vendor.com/device1")
    folders.put("etc", "valid2.yaml", "dev1", kind="vendor.com/device2")
    (folders.etc / "invalid.yaml").write_text("cdiVersion: '0.3.0'\nkind: vendor.com/device\ndevices: [{name: dev1}]\n")
    os.mkfifo(folders.etc / "pipe.json")
    (folders.etc / "dangling.json").symlink_to("nowhere")
    index = folders.cache.refresh()
    assert sorted(index.devices) == ["vendor.com/device1=dev1", "vendor.com/device2=dev1"]
    assert folders.complaints() == ["etc/dangling.json", "etc/invalid.yaml", "etc/pipe.json"]
    assert index.broken == set(index.problems)
    with pytest.raises(UnresolvedDevices, match=r"not read, as `fairlead cdi validate` explains: .*dangling\.json"):
        folders.cache.resolve(["vendor.com/device=dev1"])
    (folders.etc / "invalid.yaml").unlink()
    (folders.etc / "pipe.json").unlink()
    (folders.etc / "dangling.json").unlink()
    assert folders.complaints() == []


def test_files_of_other_names_and_folders_within_are_no_specs(folders: Folders) -> None:
    folders.put("etc", "a", "dev1")
    text = encode_json(spec(device("dev2"), version="0.3.0"))
    for name in ("b.yml", "c.json.tmp", ".d.json.0123.tmp", "json", "e.JSON"):
        (folders.etc / name).write_bytes(text)
    (folders.etc / "sub.json").mkdir()
    (folders.etc / "sub.json" / "f.json").write_bytes(text)
    assert folders.sources() == {"dev1": "etc/a.json"}
    assert folders.complaints() == []


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_spec(tmp_path / "run", "a", spec(version=""))
    index = SpecCache([tmp_path / "file", tmp_path / "run"]).refresh()
    assert list(index.devices) == ["vendor.com/device=dev1"]
    assert list(index.problems) == [tmp_path / "file"]


def test_vendors_classes_and_kinds(folders: Folders) -> None:
    assert folders.cache.refresh().vendors() == []
    folders.put("etc", "a", "dev1", kind="vendor1.com/device")
    folders.put("etc", "b", "dev1", kind="vendor1.com/other-device")
    folders.put("run", "c", "dev1", kind="vendor2.com/device")
    folders.put("run", "d", "dev2", kind="vendor2.com/device")
    index = folders.cache.refresh()
    assert index.vendors() == ["vendor1.com", "vendor2.com"]
    assert index.classes() == ["device", "other-device"]
    assert index.kinds() == ["vendor1.com/device", "vendor1.com/other-device", "vendor2.com/device"]


def test_transient_specs_come_and_go(folders: Folders) -> None:
    written = []
    for number, devices in enumerate((["dev1"], ["dev2"], ["dev3", "dev4"])):
        name = transient_spec_name(KIND, f"claim/{number}")
        folders.put("run", name, *devices)
        written.append(name)
        assert set(folders.sources()) >= set(devices)
        assert len(os.listdir(folders.run)) == number + 1
    assert written[0] == "vendor1.com-device_claim_0"
    for name, left in zip(written, (["dev2", "dev3", "dev4"], ["dev3", "dev4"], []), strict=True):
        remove_spec(folders.run, name)
        assert sorted(folders.sources()) == left


class Reads:
    """Counts what is read from the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        read = caching.read_stamped

        def counted(path: Path) -> object:
            self.names.append(path.name)
            return read(path)

        monkeypatch.setattr(caching, "read_stamped", counted)

    def taken(self) -> list[str]:
        names, self.names = self.names, []
        return names


def age(folder: Path, seconds: float) -> None:
    for path in folder.iterdir():
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - int(seconds * 1e9)))


def test_only_changed_files_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock(wall_s=(tmp_path.stat().st_mtime) + 3600)
    cache = SpecCache([tmp_path], clock=clock)
    for name in ("a", "b"):
        write_spec(tmp_path, name, spec(device(name), version=""))
    reads = Reads(monkeypatch)
    first = cache.refresh()
    assert reads.taken() == ["a.json", "b.json"]
    assert cache.refresh() is first
    assert reads.taken() == []
    write_spec(tmp_path, "b", spec(device("b2"), version=""))
    second = cache.refresh()
    assert reads.taken() == ["b.json"]
    assert sorted(second.devices) == ["vendor.com/device=a", "vendor.com/device=b2"]
    assert second.devices["vendor.com/device=a"] is not None
    assert second.files[0] is first.files[0]
    (tmp_path / "c.json").write_text("{")
    assert list(cache.refresh().problems) == [tmp_path / "c.json"]
    assert reads.taken() == ["c.json"]
    cache.refresh()
    assert reads.taken() == []
    age(tmp_path, 60)
    cache.refresh()
    assert reads.taken() == ["a.json", "b.json", "c.json"]


def test_a_file_that_changes_within_one_tick_of_the_file_system_is_seen(tmp_path: Path) -> None:
    """Same size, same inode, written in place right after it was read: only the age of the stamp gives it away."""
    cache = SpecCache([tmp_path])
    path = tmp_path / "a.json"
    texts = [encode_json(spec(device(f"dev{n}"), version="0.3.0")) for n in range(10)]
    for text in texts * 20:
        with open(path, "wb") as file:
            file.write(text)
        assert [entry.device for entry in cache.refresh().devices.values()] == list(
            SpecCache([tmp_path]).refresh().files[0].spec.devices
        )


def test_a_file_that_was_read_again_without_a_change_makes_no_new_index(tmp_path: Path) -> None:
    path = write_spec(tmp_path, "a", spec(version=""))
    cache = SpecCache([tmp_path], clock=VirtualClock(wall_s=path.stat().st_mtime))
    first = cache.refresh()
    assert cache.refresh() is first
    os.utime(path)
    assert cache.refresh() is first


def test_resolution_sees_what_was_just_written(folders: Folders) -> None:
    assert folders.cache.refresh() == Index()
    folders.put("run", "a", "dev1")
    assert folders.cache.resolve([f"{KIND}=dev1"]).env == ("FOO=BAR",)
    edits = ContainerEdits(env=["FOO=2"])
    write_spec(folders.run, "a", spec(device("dev1", edits), version="", kind=KIND))
    assert folders.cache.resolve([f"{KIND}=dev1"]).env == ("FOO=2",)
    remove_spec(folders.run, "a")
    with pytest.raises(UnresolvedDevices):
        folders.cache.resolve([f"{KIND}=dev1"])


def test_threads_share_a_cache_while_specs_come_and_go(folders: Folders) -> None:
    folders.put("etc", "base", "dev1")
    stop = threading.Event()
    failed: list[BaseException] = []

    def resolve() -> None:
        try:
            while not stop.is_set():
                assert folders.cache.resolve([f"{KIND}=dev1"]).env == ("FOO=BAR",)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=resolve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50):
        folders.put("run", "shadow", "dev1", f"extra{number}")
        remove_spec(folders.run, "shadow")
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
