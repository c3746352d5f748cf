"""Envoy's configuration: accepted by the real Envoy, and reachable sockets for any data folder."""

import subprocess
from pathlib import Path

from fairlead.gateway.envoy import binary, command, picker_socket, write_config


def test_envoy_accepts_its_configuration(tmp_path):
    path = write_config(tmp_path, 12345, tmp_path / "picker.sock")
    done = subprocess.run(
        [str(binary()), "--mode", "validate", "-c", str(path)], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"deprecated" not in done.stderr.lower()


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
