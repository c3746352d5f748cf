"""Pulls into folders, from a layout on disk: what is there is not fetched, what is damaged is fetched again, what an
attempt left is taken up or thrown away, and nobody else's files are touched."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.serving.store import landing, oci
from fairlead.serving.store.check import check_folder
from fairlead.serving.store.errors import BadArtifact, NoSpace, Stopped, StoreError, WrongContent
from fairlead.serving.store.folder import Partial, read_mark
from fairlead.serving.store.layout import LayoutRepository
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.pull import Pulled, resolve
from fairlead.serving.store.repository import Cancel, InMemory
from serving.store.models import contents, tensors, write_model, write_safetensors
from serving.store.pulling import Watched, fetch, pushed

FORMS: dict[str, dict[str, object]] = {
    "modelpack": {},
    "image": {"form": "image"},
    "zstd": {"form": "image", "compression": "zstd"},
}


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def only(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} == set(names)


@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS.keys())
def test_a_second_pull_reads_nothing_and_says_the_same(tmp_path: Path, how: dict[str, object]) -> None:
    model = write_model(tmp_path / "m", (600_000, 40))
    pushed(model, tmp_path / "l", **how)
    first = fetch(tmp_path / "l", tmp_path / "out")
    watched = Watched(tmp_path / "l")
    again = fetch(watched, tmp_path / "out")
    assert again.was_there and watched.read == 0
    assert again.files == first.files and set(first.files) == set(contents(model))


@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("harm", ["truncate", "remove", "lengthen"])
def test_files_torn_behind_our_back_are_fetched_again(tmp_path: Path, how: dict[str, object], harm: str) -> None:
    model = write_model(tmp_path / "m", (600_000, 40))
    pushed(model, tmp_path / "l", **how)
    fetch(tmp_path / "l", tmp_path / "out")
    victim = tmp_path / "out" / "model.safetensors"
    if harm == "remove":
        victim.unlink()
    else:
        os.truncate(victim, victim.stat().st_size + (1 if harm == "lengthen" else -1))
    again = fetch(tmp_path / "l", tmp_path / "out")
    assert not again.was_there and contents(tmp_path / "out") == contents(model)
    assert only(tmp_path, "m", "l", "out")


def test_a_changed_byte_is_found_by_verify_and_never_reused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (1 << 20,) * 6)
    pushed(model, tmp_path / "l", "v1", part_bytes=256 << 10)
    fetch(tmp_path / "l", tmp_path / "old")
    with open(tmp_path / "old" / "model.safetensors", "r+b") as file:
        file.seek(1_500_000)
        file.write(b"harm")
    _, problems = check_folder(tmp_path / "old", 2, Silent(), Cancel())
    assert len(problems) == 1 and "model.safetensors differs between bytes" in problems[0]
    (model / "config.json").write_text('{"model_type": "other"}')
    pushed(model, tmp_path / "l", "v2", part_bytes=256 << 10)
    pulled = fetch(tmp_path / "l", tmp_path / "new", "v2", reuse=(tmp_path / "old",))
    assert contents(tmp_path / "new") == contents(model)
    assert 256 << 10 <= pulled.bytes < 1 << 20, "the damaged part was fetched, the sound ones reused"


@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS.keys())
@given(stops=st.lists(st.integers(0, 1_400_000), min_size=1, max_size=4), durable=st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stopped_anywhere_it_goes_on(
    tmp_path_factory: pytest.TempPathFactory, how: dict[str, object], stops: Sequence[int], durable: bool
) -> None:
    tmp_path = tmp_path_factory.mktemp("stopped")
    segment, landing.SEGMENT_BYTES = landing.SEGMENT_BYTES, 100_000
    try:
        model = write_model(tmp_path / "m", (600_000, 40, 700_000))
        pushed(model, tmp_path / "l", **how)
        for stop in stops:
            watched = Watched(tmp_path / "l")
            watched.stop_after = stop
            try:
                fetch(watched, tmp_path / "out", durable=durable)
            except Stopped:
                assert not (tmp_path / "out").exists()
        last = Watched(tmp_path / "l")
        fetch(last, tmp_path / "out", durable=durable)
        assert contents(tmp_path / "out") == contents(model)
        assert only(tmp_path, "m", "l", "out")
    finally:
        landing.SEGMENT_BYTES = segment


def test_what_came_before_a_stop_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "SEGMENT_BYTES", 100_000)
    model = write_model(tmp_path / "m", (3_000_000,))
    pushed(model, tmp_path / "l", layout="whole")
    watched = Watched(tmp_path / "l")
    watched.stop_after = 2_000_000
    with pytest.raises(Stopped):
        fetch(watched, tmp_path / "out")
    last = Watched(tmp_path / "l")
    fetch(last, tmp_path / "out")
    assert last.read < 1_400_000, "at most the two segments under way are read once more"


def test_whole_archives_are_not_unpacked_twice(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (100,))
    for name in "ab":
        (model / f"{name}.bin").write_bytes(os.urandom(17 << 20))
    pushed(model, tmp_path / "l", form="image")
    watched = Watched(tmp_path / "l")
    watched.stop_after = 30 << 20
    with pytest.raises(Stopped):
        fetch(watched, tmp_path / "out", threads=1)
    last = Watched(tmp_path / "l")
    fetch(last, tmp_path / "out")
    assert last.read < 20 << 20 and contents(tmp_path / "out") == contents(model)


def test_a_partial_file_that_was_damaged_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "SEGMENT_BYTES", 100_000)
    model = write_model(tmp_path / "m", (1_000_000,))
    pushed(model, tmp_path / "l", layout="whole")
    watched = Watched(tmp_path / "l")
    watched.stop_after = 800_000
    with pytest.raises(Stopped):
        fetch(watched, tmp_path / "out")
    (partial,) = tmp_path.glob(".out.*.partial")
    # As after a power cut: the journal says that it is there, the disk has zeros.
    with open(partial / "files" / "model.safetensors", "r+b") as file:
        file.write(bytes(50_000))
    with open(partial / "journal", "ab") as file:
        file.write(b"range 99 0 5\nrange x\nrange 0 5 1\n\xffgarbage")
    fetch(tmp_path / "l", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(model)


def test_two_at_once_fetch_it_once(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (3_000_000,))
    pushed(model, tmp_path / "l", layout="whole")
    first, second, notes = Watched(tmp_path / "l"), Watched(tmp_path / "l"), Notes()
    begun, go_on = threading.Event(), threading.Event()

    def wait(part: bytes) -> bytes:
        begun.set()
        go_on.wait(60)
        return part

    first.lie = wait
    threads = [threading.Thread(target=fetch, args=(first, tmp_path / "out"))]
    threads[0].start()
    assert begun.wait(60)
    results: list[Pulled] = []
    threads.append(threading.Thread(target=lambda: results.append(fetch(second, tmp_path / "out", progress=notes))))
    threads[1].start()
    for _ in range(600):
        if notes.said:
            break
        threads[1].join(0.1)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert results[0].was_there and second.read == 0 and "waiting for it" in notes.said[0]
    assert contents(tmp_path / "out") == contents(model) and only(tmp_path, "m", "l", "out")


def test_attempts_of_others_are_left_alone(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (300_000,))
    pushed(model, tmp_path / "l")
    running = Partial(tmp_path / "out", "sha256:" + "1" * 64)
    neighbour, abandoned = tmp_path / f".out.new.{'2' * 16}.partial", tmp_path / f".out.{'3' * 16}.partial"
    for folder in (neighbour, abandoned):
        (folder / "files").mkdir(parents=True)
    with running.locked(Cancel(), lambda text: None):
        fetch(tmp_path / "l", tmp_path / "out")
        assert running.folder.exists(), "it is under way"
        assert neighbour.exists(), "it belongs to another folder"
        assert not abandoned.exists()


def test_a_link_of_an_earlier_attempt_is_not_written_through(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (300_000,))
    pushed(model, tmp_path / "l", "v1")
    fetch(tmp_path / "l", tmp_path / "old")
    (model / "config.json").write_text("{}")
    pushed(model, tmp_path / "l", "v2")
    digest, _ = resolve(Watched(tmp_path / "l"), "v2")
    partial = Partial(tmp_path / "new", digest)
    partial.files.mkdir(parents=True)
    os.link(tmp_path / "old" / "model.safetensors", partial.files / "model.safetensors")
    before = contents(tmp_path / "old")
    liar = Watched(tmp_path / "l")
    liar.lie = lambda part: bytes(len(part))
    with pytest.raises(WrongContent):
        fetch(liar, tmp_path / "new", "v2")
    assert contents(tmp_path / "old") == before


def test_a_folder_that_was_not_pulled_is_not_replaced(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (300_000,))
    pushed(model, tmp_path / "l")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="--replace"):
        fetch(tmp_path / "l", tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"
    fetch(tmp_path / "l", tmp_path / "out", replace=True)
    assert contents(tmp_path / "out") == contents(model)


def test_a_new_version_takes_the_place_in_one_step(tmp_path: Path) -> None:
    sizes = (1 << 20, 1 << 20)
    model = write_model(tmp_path / "m", sizes)
    pushed(model, tmp_path / "l", "v1")
    fetch(tmp_path / "l", tmp_path / "out")
    held = open(tmp_path / "out" / "model.safetensors", "rb")  # noqa: SIM115
    data = tensors(sizes, 1)
    write_safetensors(model / "model.safetensors", [data[0], data[1][::-1]])
    pushed(model, tmp_path / "l", "v2")
    fetch(tmp_path / "l", tmp_path / "out", "v2")
    mark = read_mark(tmp_path / "out")
    assert mark is not None and mark.digest == resolve(Watched(tmp_path / "l"), "v2")[0]
    assert contents(tmp_path / "out") == contents(model)
    with held:
        assert held.read()[-(1 << 20) :] == data[1], "who has the old one open keeps it"


def test_paths_are_looked_at_before_anything_is_fetched(tmp_path: Path) -> None:
    repository = LayoutRepository(tmp_path / "l", create=True)
    layer = Descriptor(media_type="x/y", digest=oci.digest_of(b"abc"), size=3)
    repository.put_blob(layer, InMemory(b"abc"), lambda size: None)
    for names, words in (
        (["../evil"], "refused"),
        (["/evil"], "refused"),
        (["a\\b"], "refused"),
        (["a", "a"], "two layers"),
        (["a", "a/b"], "both a file and a folder"),
        (["x" * 300], "longer than"),
        ([""], "no file name"),
    ):
        layers = [msgspec.structs.replace(layer, annotations={oci.TITLE: name}) for name in names]
        repository.put_manifest(
            oci.encode(Manifest(config=oci.EMPTY_CONFIG, artifact_type="x/y", layers=layers)), oci.MANIFEST, "bad"
        )
        watched = Watched(tmp_path / "l")
        with pytest.raises(BadArtifact, match=words):
            fetch(watched, tmp_path / "out", "bad")
        assert watched.read == 0
    assert only(tmp_path, "l")


def test_space_is_counted_before_the_first_byte(tmp_path: Path) -> None:
    repository = LayoutRepository(tmp_path / "l", create=True)
    huge = Descriptor(media_type="x/y", digest=oci.digest_of(b"abc"), size=1 << 60, annotations={oci.TITLE: "w.bin"})
    repository.put_manifest(
        oci.encode(Manifest(config=oci.EMPTY_CONFIG, artifact_type="x/y", layers=[huge])), oci.MANIFEST, "v1"
    )
    watched = Watched(tmp_path / "l")
    with pytest.raises(NoSpace, match=r"1,152,921,504,606,846,976 bytes are still wanted, [\d,]+ are free"):
        fetch(watched, tmp_path / "out")
    assert watched.read == 0 and not (tmp_path / "out").exists()
