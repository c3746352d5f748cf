"""What a person gets who mistypes: one sentence and an exit status, never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fairlead.cli.app import run
from fairlead.cli.failure import Failed
from fairlead.cli.manifests import manifest, read_manifests
from fairlead.clock import SYSTEM
from fairlead.embedded.apiserver.credentials import load_or_create, write_kubeconfig


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "holds no manifests"),
        (b"a: b: c", "is not YAML"),
        (b"\xff\xfe\xfa", "is not YAML"),
        (b"hello", "document 1: expected an object with apiVersion, kind and metadata, got str"),
        (b"- 1", "got list"),
        (b"kind: Pod", "fairlead deploys ModelService objects, not 'Pod'"),
        (b"kind: ModelService\nmetadata: 7", "metadata: expected a mapping with a name, got 7"),
        (b"kind: ModelService\nmetadata: {name: 3}", "metadata.name: expected a name in quotes or letters, got 3"),
        (b"kind: ModelService\nmetadata: {name: a, namespace: 1}", "metadata.namespace: expected a name, got 1"),
        (b"kind: ModelService\nmetadata: {name: a}\n---\nkind: Pod", "document 2: "),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_before_anything_is_applied(
    tmp_path: Path, text: bytes, said: str
) -> None:
    file = tmp_path / "m.yaml"
    file.write_bytes(text)
    with pytest.raises(Failed, match=r"m\.yaml") as error:
        read_manifests(file, "default")
    assert said in str(error.value)


def test_a_manifest_keeps_its_own_namespace(tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(
        "kind: ModelService\nmetadata: {name: a}\n---\nkind: ModelService\nmetadata: {name: b, namespace: c}"
    )
    assert [m["metadata"]["namespace"] for m in read_manifests(file, "default")] == ["default", "c"]


def test_options_become_a_manifest() -> None:
    made = manifest("tiny", "default", model="m", runtime="vllm", replicas=2, source="hf://a/b", args=["--x"])
    assert made["spec"] == {
        "model": {"name": "m", "source": "hf://a/b"}, "runtime": "vllm", "replicas": 2, "args": ["--x"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["up", "--nodes", "rubbish"], 1, "--nodes: "),
        (["up", "--nodes", "0"], 1, "expected 1 to 1000 nodes, got 0"),
        (["up", "--api-port", "99999"], 1, "a port is a number from 0 to 65535"),
        (["status"], 1, "nothing runs in"),
        (["status", "-o", "yaml"], 2, "'yaml' is not one of"),
        (["chat", "tiny", "hi"], 1, "nothing runs in"),
        (["chat", "tiny", "hi", "--gateway", "http://127.0.0.1:1"], 1, "no answer from http://127.0.0.1:1"),
        (["logs", "nothing"], 1, "nothing runs in"),
        (["kubeconfig"], 1, "is not there yet"),
        (["deploy"], 1, "give the name of a model service"),
        (["deploy", "-f", "/nonexistent.yaml"], 1, "/nonexistent.yaml cannot be read: No such file"),
        (["deploy", "x", "--kubeconfig", "/nonexistent"], 1, "kubeconfig /nonexistent: No such file"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_mistakes_are_one_sentence(
    argv: list[str], status: int, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("FAIRLEAD_DATA", str(tmp_path / "data"))
    assert run(argv) == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["device", "list"], ["topology", "show"]])
def test_an_api_server_that_is_not_there_is_named_with_a_way_out(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        # Bound, but nobody listens.
        taken.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{taken.getsockname()[1]}"
        write_kubeconfig(tmp_path / "kubeconfig", load_or_create(tmp_path, "127.0.0.1", SYSTEM), url)
        assert run([*argv, "--kubeconfig", str(tmp_path / "kubeconfig")]) == 1
    said = capsys.readouterr().err
    assert url in said and "`fairlead up` starts the platform" in said and said.count("\n") == 1
