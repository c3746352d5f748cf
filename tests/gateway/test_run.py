"""The picker as a process: what it leaves when a part of it fails, and what people are told."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from fairlead.cli import components
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.envoy import picker_socket
from fairlead.gateway.run import Options, serve
from patience import PATIENCE_S


class Failing:
    """A source that fails once it has told of everything."""

    async def run(self, registry):
        registry.set_pool(Pool("ns/tiny", ("tiny",), (Endpoint("127.0.0.1:1"),)))
        registry.mark_synced()
        await asyncio.sleep(0.2)
        raise RuntimeError("the API is another one")


async def test_a_part_that_fails_ends_the_picker_in_order(tmp_path):
    with pytest.raises(ExceptionGroup) as told:
        async with asyncio.timeout(PATIENCE_S):
            await serve(Failing(), Options(tmp_path))
    assert [str(error) for error in told.value.exceptions] == ["the API is another one"]
    assert not picker_socket(tmp_path).exists()


@pytest.fixture
def kubeconfig(tmp_path) -> Path:
    """Of an API server that is nowhere."""
    file = tmp_path / "kubeconfig"
    file.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
        "clusters: [{name: here, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "users: [{name: me, user: {}}]\ncontexts: [{name: here, context: {cluster: here, user: me}}]\n"
    )
    return file


@pytest.mark.parametrize(("text", "word"), [("plugins: 3", "plugins"), (None, "picker.yaml")])
def test_a_bad_configuration_is_told_in_a_line(text, word, tmp_path, kubeconfig, capsys):
    file = tmp_path / "picker.yaml"
    if text is not None:
        file.write_text(f"apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{text}\n")
    arguments = ["--data", str(tmp_path / "data"), "--kubeconfig", str(kubeconfig), "--config", str(file)]
    with pytest.raises(SystemExit):
        components.gateway(arguments)
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("fairlead gateway: ")
    assert word in told


def test_a_port_that_is_taken_is_told_in_a_line(tmp_path, kubeconfig, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--data", str(tmp_path / "data"), "--kubeconfig", str(kubeconfig), "--metrics-port", str(port)]
        assert components.gateway(arguments) == 1
    told = capsys.readouterr().err.strip()
    assert told.splitlines()[-1].startswith("fairlead gateway: ")
    assert str(port) in told


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--peer", "10.0.0.1:9004"], "--peers-address"),
        (["--peers-service", "ns/pickers"], "--peers-address"),
        (["--grpc-address", "9002"], "HOST:PORT"),
        (["--health-address", "::1:9003"], "HOST:PORT"),
        (["--no-tls", "--tls-cert", "a", "--tls-key", "b"], "--no-tls"),
        (["--peers-folder", "x", "--peers-address", "10.0.0.1:9004"], "--peers-folder"),
    ],
)
def test_arguments_that_would_be_passed_over_are_refused(arguments, word, tmp_path, capsys):
    with pytest.raises(SystemExit):
        components.gateway(["--data", str(tmp_path), *arguments])
    assert word in capsys.readouterr().err
