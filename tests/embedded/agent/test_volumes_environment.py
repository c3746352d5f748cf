"""Expansion, volume content and its atomic updates, and SPDY framing: pure parts and their invariants."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from agent_builders import container, pod
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.embedded.agent.environment import ConfigError, NodeView, PodView, container_environment, field_value
from fairlead.embedded.agent.pod import FieldRef
from fairlead.embedded.agent.streaming import spdy
from fairlead.embedded.agent.volumes import File, VolumeError, write_atomically
from fairlead.kube.expansion import expand


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A", "$A"), ("$", "$"), ("$$", "$"), ("$(A", "$(A"),
        ("x$(A)y$(A)", "x1y1"), ("$$$(A)", "$1"), ("$()", "$()"),
    ],
)  # fmt: skip
def test_expansion(text: str, expanded: str):
    assert expand(text, {"A": "1"}) == expanded


@given(st.text(alphabet="a$()A", max_size=30))
def test_expansion_takes_any_text(text: str):
    if "$" not in text:
        assert expand(text, {}) == text
    expand(text, {"A": "$(A)"})


async def test_unknown_sources_are_named():
    async def nothing(resource: str, name: str) -> None:
        return None

    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    a_pod = pod(container(env=env))
    view = PodView(a_pod, "127.0.0.2", NodeView("node-0", "127.0.0.1"))
    with pytest.raises(ConfigError, match='secret "s" not found'):
        await container_environment(view, a_pod.spec.containers[0], {}, nothing)
    with pytest.raises(ConfigError, match=r"unsupported fieldPath: spec\.nothing"):
        field_value(view, FieldRef("spec.nothing"))


names = st.sampled_from(["a", "b", "c", "deep/d", "deep/e", "x/y/z"])
contents = st.dictionaries(names, st.binary(max_size=40), max_size=5)


@settings(max_examples=50, deadline=None)
@given(st.lists(contents, min_size=1, max_size=5))
def test_a_volume_holds_exactly_the_newest_content(tmp_path_factory, versions):
    folder = tmp_path_factory.mktemp("volume")
    for version in versions:
        write_atomically(folder, {name: File(content, 0o640) for name, content in version.items()})
        found = {
            str(path.relative_to(folder)): path.read_bytes()
            for top in folder.iterdir()
            if not top.name.startswith("..")
            for path in ([top] if top.is_file() else top.rglob("*"))
            if path.is_file()
        }
        assert found == version
        assert not write_atomically(folder, {name: File(content, 0o640) for name, content in version.items()})


def test_readers_see_whole_sets(tmp_path: Path):
    def version(number: int) -> dict[str, File]:
        return {"a": File(b"%d" % number, 0o644), "b": File(b"%d" % number, 0o644)}

    write_atomically(tmp_path, version(0))
    torn, stop = [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            data = (tmp_path / "..data").resolve()
            try:
                if (data / "a").read_bytes() != (data / "b").read_bytes():
                    torn.append(data)
            except FileNotFoundError:
                continue

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 100):
        write_atomically(tmp_path, version(number))
    stop.set()
    reader.join()
    assert not torn


@pytest.mark.parametrize("path", ["../out", "/abs", "..data/x", "a/../../b"])
def test_paths_stay_inside(tmp_path: Path, path: str):
    with pytest.raises(VolumeError):
        write_atomically(tmp_path, {path: File(b"", 0o644)})


headers = st.dictionaries(st.from_regex(r"[a-z]{1,10}", fullmatch=True), st.text(max_size=20), max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(headers, st.binary(max_size=300), st.booleans()), max_size=8), st.integers(1, 50))
def test_spdy_frames_survive_any_chunking(sent, chunk: int):
    sender, receiver, stream, wire, expected = spdy.Codec(), spdy.Codec(), 1, b"", []
    for fields, data, last in sent:
        wire += sender.syn_stream(stream, fields) + sender.data(stream, data, last=last) + sender.ping(stream)
        expected += [
            spdy.Frame(spdy.SYN_STREAM, stream, 0, fields),
            spdy.Frame(0, stream, spdy.FLAG_FIN if last else 0, data=data),
            spdy.Frame(spdy.PING, stream),
        ]
        stream += 2
    got = [f for start in range(0, len(wire), chunk) for f in receiver.feed(wire[start : start + chunk])]
    assert got == expected


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_awaited(data: bytes):
    with contextlib.suppress(spdy.ProtocolError):
        list(spdy.Codec().feed(data))
