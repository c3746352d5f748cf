"""What is checked before anything starts, and what is known of an `up` afterwards."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from fairlead.embedded.supervisor import launch
from fairlead.embedded.supervisor.component import Devices, Ports, components
from fairlead.embedded.supervisor.process import ProcessId, identify
from fairlead.embedded.supervisor.state import AlreadyRunning, RunningComponent, UpState, lock, read_state, write_state


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(launch.CannotStart, match=rf"port {port} \(--gateway-port\) cannot be used: it is in use"):
            launch.choose_ports(tmp_path, 0, port)


def test_a_port_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(launch.CannotStart, match="from 0 to 65535"):
        launch.choose_ports(tmp_path, 70000, 0)


def test_equal_ports_are_refused(tmp_path: Path) -> None:
    port = launch.free_port()
    with pytest.raises(launch.CannotStart, match="are both"):
        launch.choose_ports(tmp_path, port, port)


def test_port_zero_keeps_the_ports_of_the_folder(tmp_path: Path) -> None:
    first = launch.choose_ports(tmp_path, 0, 0)
    write_state(tmp_path, UpState(identify(os.getpid()), first, "1"))
    assert launch.choose_ports(tmp_path, 0, 0) == first


def test_only_one_supervisor_holds_a_folder(tmp_path: Path) -> None:
    held = lock(tmp_path)
    with pytest.raises(AlreadyRunning, match=str(tmp_path)):
        lock(tmp_path)
    held.close()
    lock(tmp_path).close()


def test_an_unwritable_folder_is_said_in_one_sentence() -> None:
    with pytest.raises(launch.CannotStart, match=r"the data folder /proc/nowhere cannot be written: .*--data"):
        launch.check_folder(Path("/proc/nowhere"))


def test_the_state_survives_the_disk(tmp_path: Path) -> None:
    state = UpState(
        ProcessId(1, 2), Ports(1, 2), "2", "ready", "", 5.0, 1.5,
        [RunningComponent("apiserver", ProcessId(3, 4), 1, "was ended by SIGKILL"), RunningComponent("agent")],
    )  # fmt: skip
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": 1}', "null"])
def test_a_torn_state_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "up.json").write_text(text)
    assert read_state(tmp_path) is None
    assert launch.down(tmp_path) is False


def test_the_api_server_starts_first_and_stops_last(tmp_path: Path) -> None:
    names = [c.name for c in components(tmp_path, Ports(1, 2), "1")]
    assert names[0] == "apiserver"
    assert names.index("agent") > 0 and set(names) == {"apiserver", "controllers", "agent", "gateway", "envoy"}


def test_a_driver_outlives_the_agent_that_gives_claims_back_to_it(tmp_path: Path) -> None:
    devices = Devices("rngdx8", ("--vendor", "simulated", "--fleet", "f.yaml"))
    started = components(tmp_path, Ports(1, 2), "1", devices)
    names = [c.name for c in started]
    assert 0 < names.index("driver") < names.index("agent")
    driver = started[names.index("driver")]
    assert driver.argv[-4:] == devices.options
    # A NODE_NAME of the shell must not narrow the fleet.
    assert driver.env["NODE_NAME"] == ""
    assert str(tmp_path / "nodes" / "node" / "{node}") in driver.argv


def test_the_state_remembers_devices_and_reads_files_from_before_there_were_any(tmp_path: Path) -> None:
    state = UpState(ProcessId(1, 2), Ports(1, 2), "@nodes.txt", devices="rngdx8")
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    raw = json.loads((tmp_path / "up.json").read_text())
    del raw["devices"]
    (tmp_path / "up.json").write_text(json.dumps(raw))
    found = read_state(tmp_path)
    assert found is not None and found.devices == ""


def test_the_failure_of_an_earlier_start_is_not_taken_for_this_one(tmp_path: Path) -> None:
    failed = UpState(ProcessId(1, 2), Ports(1, 2), "2", "failed", "agent ended with exit code 2: earlier")
    write_state(tmp_path, failed)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "supervisor.log").write_text("out of luck\n")
    child = subprocess.Popen(["false"])
    with pytest.raises(launch.CannotStart, match="the supervisor ended: out of luck"):
        launch.wait_until_ready(tmp_path, child, lambda _: None)


def test_a_start_that_fails_says_why_at_once(tmp_path: Path) -> None:
    child = launch.detach(tmp_path, launch.choose_ports(tmp_path, 0, 0), "rubbish")
    with pytest.raises(launch.CannotStart, match="agent ended with exit code"):
        launch.wait_until_ready(tmp_path, child, lambda _: None)
    state = read_state(tmp_path)
    assert state is not None and state.phase == "failed"
