"""Envoy's configuration: accepted by the real Envoy, and reachable sockets for any data folder."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from fairlead.gateway.envoy import (
    EnvoyOptions,
    ListenerTls,
    PickerAddress,
    binary,
    command,
    foreign_config,
    picker_socket,
    write_config,
)
from fairlead.gateway.transport import ServerTls
from patience import PATIENCE_S


def certificate(folder: Path) -> ListenerTls:
    made = ServerTls.self_signed()
    (folder / "tls.crt").write_bytes(made.certificate)
    (folder / "tls.key").write_bytes(made.key)
    return ListenerTls(folder / "tls.crt", folder / "tls.key")


async def _validate(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        str(binary()), "--mode", "validate", "-c", str(path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, errors.decode()
    for word in (b"deprecated", b"work-in-progress", b"warning"):
        assert word not in errors.lower(), errors.decode()


OPTIONS = {
    "default": EnvoyOptions(),
    "for everybody": EnvoyOptions(bind="0.0.0.0"),
    "IPv6": EnvoyOptions(bind="::"),
    "fail open": EnvoyOptions(without_picker=("model.default.svc:80", "10.0.0.1:8000")),
    "pickers": EnvoyOptions(pickers=(PickerAddress(Path("/tmp/a.sock"), "a"), PickerAddress("[::1]:9002", "b"))),
    "pickers by name": EnvoyOptions(pickers=(PickerAddress("picker:9002"), PickerAddress("10.0.0.2:9002"))),
}


@pytest.mark.parametrize("name", [*OPTIONS, "tls"])
async def test_envoy_accepts_every_configuration_of_ours(tmp_path, name):
    options = OPTIONS.get(name) or EnvoyOptions(tls=certificate(tmp_path))
    await _validate(write_config(tmp_path, 12345, tmp_path / "picker.sock", options))


@pytest.mark.parametrize("endpoints", [(), ("127.0.0.1:1", "127.0.0.1:2")])
@pytest.mark.parametrize("mode", ["FULL_DUPLEX_STREAMED", "BUFFERED"])
async def test_envoy_accepts_the_configurations_of_foreign_gateways(tmp_path, endpoints, mode):
    config = foreign_config(
        12345, "127.0.0.1:9002", tmp_path / "admin.sock", endpoints=endpoints, body_mode=mode, subset_header="x-s"
    )
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(config))
    await _validate(path)


def test_only_this_machine_is_served_unless_asked(tmp_path):
    def bound(options):
        config = json.loads(write_config(tmp_path, 12345, tmp_path / "p.sock", options).read_text())
        return config["static_resources"]["listeners"][0]["address"]["socket_address"]["address"]

    assert bound(EnvoyOptions()) == "127.0.0.1"
    assert bound(EnvoyOptions(bind="0.0.0.0")) == "0.0.0.0"


@pytest.mark.parametrize("where", ["picker", "picker:", ":9002", "picker:http"])
def test_an_address_that_is_none_is_named(tmp_path, where):
    with pytest.raises(ValueError, match="host:port"):
        write_config(tmp_path, 12345, where)


def test_a_heap_too_small_to_work_is_refused():
    with pytest.raises(ValueError, match="268435456"):
        EnvoyOptions(max_heap_bytes=1)


def test_a_deep_data_folder_gets_its_sockets_elsewhere(tmp_path):
    deep = tmp_path / ("x" * 120)
    short = picker_socket(tmp_path)
    assert short == tmp_path / "picker.sock"
    socket = picker_socket(deep)
    assert len(str(socket)) < 100
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert picker_socket(deep) == socket
    socket.parent.rmdir()


def test_the_command_names_the_written_file(tmp_path):
    line = command(tmp_path, 12345)
    assert Path(line[line.index("--config-path") + 1]).exists()
