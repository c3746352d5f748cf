"""Containers as real processes: streams, exits, orphans, mounts, and lives that outlast their agent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fairlead.embedded.agent.container import MARK, load
from fairlead.embedded.agent.execution import execute
from fairlead.embedded.agent.logs import LogOptions, read_log
from fairlead.embedded.agent.mount_check import check_mounts
from fairlead.embedded.agent.runtime import ProcessRuntime, StartError
from fairlead.embedded.agent.shim import processes
from patience import PATIENCE_S

MOUNTS, _ = check_mounts()


def config(folder: Path, *argv: str, **fields: Any) -> dict[str, Any]:
    id = f"process://{folder.name}-{os.getpid()}"
    return {
        "argv": list(argv),
        # What descends from a container is found by its mark.
        "env": {"PATH": os.environ["PATH"], MARK: id},
        "cwd": "/",
        "log": str(folder / "0.log"),
        "log_max_bytes": 1 << 20,
        "log_max_files": 3,
        "meta": {
            "id": id,
            "name": "app",
            "pod_uid": "uid",
            "attempt": 0,
            "image": "busybox",
            "image_id": "busybox:latest",
            "created_at": time.time(),
        },
        **fields,
    }


async def start(tmp_path: Path, *argv: str, **fields: Any):
    runtime = ProcessRuntime()
    return runtime, await runtime.start(tmp_path, config(tmp_path, *argv, **fields))


async def finish(runtime: ProcessRuntime, container: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        await runtime.wait(container)
    return container.exit


async def content(container: Any, **options: Any) -> bytes:
    pieces = [p async for p in read_log(container.log_path, LogOptions(**options), lambda: container.exit is None)]
    return b"".join(pieces)


async def until(condition: Any, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_output_and_exit_code_are_kept(tmp_path: Path):
    runtime, container = await start(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 7")
    ended = await finish(runtime, container)
    assert (ended.exit_code, ended.signal, ended.start_error) == (7, 0, None)
    assert sorted((await content(container)).split()) == [b"err", b"out"]
    assert await content(container, stream="stderr") == b"err\n"


async def test_a_signal_shows_in_the_exit_code(tmp_path: Path):
    runtime, container = await start(tmp_path, "sleep", "60")
    runtime.signal(container, signal.SIGTERM)
    assert (await finish(runtime, container)).exit_code == 143


async def test_a_missing_program_is_a_start_error(tmp_path: Path):
    with pytest.raises(StartError, match=r'exec: "no-such-program": executable file not found in \$PATH'):
        await start(tmp_path, "no-such-program")
    container = load(tmp_path)
    assert container is not None and container.exit is not None and container.exit.exit_code == 128


async def test_nothing_that_a_container_started_survives_it(tmp_path: Path):
    marker = f"{71}.{os.getpid()}"
    script = f"setsid sh -c 'sleep {marker} & sleep {marker}' & sleep 0.3"
    runtime, container = await start(tmp_path, "sh", "-c", script)
    await finish(runtime, container)
    assert not [pid for pid in _pids() if marker in _command(pid)]


async def test_a_container_outlives_its_agent_and_is_found_again(tmp_path: Path):
    code = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from fairlead.embedded.agent.runtime import ProcessRuntime\n"
        "asyncio.run(ProcessRuntime().start(Path(sys.argv[1]), json.loads(sys.argv[2])))\n"
        "import os; os.kill(os.getpid(), 9)\n"
    )
    wanted = config(tmp_path, "sh", "-c", "sleep 0.5; echo later; exit 3")
    agent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path), json.dumps(wanted))
    assert await agent.wait() == -9
    container = load(tmp_path)
    assert container is not None and container.is_running
    assert container.is_program_alive() and container.is_shim_alive()
    assert (await finish(ProcessRuntime(), container)).exit_code == 3
    assert await content(container) == b"later\n"


async def test_a_killed_shim_takes_the_container_with_it(tmp_path: Path):
    marker = f"{72}.{os.getpid()}"
    runtime, container = await start(tmp_path, "sh", "-c", f"(sleep {marker} &) ; sleep {marker}")
    os.kill(container.shim_pid, signal.SIGKILL)
    assert (await finish(runtime, container)).exit_code == 137
    assert not container.is_program_alive()
    await until(lambda: not [pid for pid in _pids() if marker in _command(pid)])


async def test_the_pid_of_another_process_is_never_signalled(tmp_path: Path):
    runtime, container = await start(tmp_path, "sleep", "60")
    # Start times count in ticks of 10 ms: a pid is not reused within one, but two processes may start in one.
    await asyncio.sleep(0.05)
    other = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    real = container.pid
    container.pid = other.pid
    runtime.kill(container)
    await asyncio.sleep(0.1)
    assert other.returncode is None
    other.kill()
    container.pid = real
    runtime.kill(container)
    await finish(runtime, container)


async def test_memory_beyond_the_limit_is_an_oom_kill(tmp_path: Path):
    grow = "x = b'x' * 200_000_000; import time; time.sleep(20)"
    runtime, container = await start(tmp_path, sys.executable, "-c", grow, memory_limit_bytes=60_000_000)
    ended = await finish(runtime, container)
    assert ended.oom_killed and ended.exit_code == 137


@pytest.mark.skipif(not MOUNTS, reason="this machine refuses private mount namespaces")
async def test_volumes_appear_where_the_container_wants_them(tmp_path: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("content")
    targets = ("/models/deep", "/etc/fairlead-test", "/var/run/secrets/test")
    mounts = [{"source": str(volume), "target": target, "read_only": target.startswith("/etc")} for target in targets]
    reads = "; ".join(f"cat {target}/file" for target in targets)
    script = f"{reads}; touch /etc/fairlead-test/x 2>&1 | grep -c Read-only; echo new > /models/deep/new; sleep 5"
    (tmp_path / "c").mkdir()
    runtime, container = await start(tmp_path / "c", "sh", "-c", script, mounts=mounts)
    await until(lambda: (volume / "new").exists())
    code, output = await execute(container, ["cat", "/models/deep/new"], 5)
    assert (code, output) == (0, "new\n")
    assert not any(os.path.exists(target) for target in targets)  # noqa: ASYNC240
    runtime.kill(container)
    await finish(runtime, container)
    assert await content(container) == b"contentcontentcontent1\n"


async def test_exec_reports_code_output_and_missing_programs(tmp_path: Path):
    runtime, container = await start(tmp_path, "sleep", "60")
    assert await execute(container, ["sh", "-c", "echo hi; exit 4"], 5) == (4, "hi\n")
    code, output = await execute(container, ["no-such-program"], 5)
    assert code == 127 and "executable file not found in $PATH" in output
    with pytest.raises(TimeoutError):
        await execute(container, ["sleep", "30"], 0.2)
    runtime.kill(container)
    await finish(runtime, container)


async def test_a_full_disk_does_not_stop_a_container(tmp_path: Path):
    """/dev/full refuses every write as a full disk does."""
    runtime, container = await start(tmp_path, "sh", "-c", "seq 1 200000; exit 5", log="/dev/full")
    assert (await finish(runtime, container)).exit_code == 5


async def test_starting_costs_little(tmp_path: Path):
    """CPU time of the shim, whatever else the machine has to do."""
    costs_s = []
    for number in range(3):
        before = os.times()
        runtime, container = await start(tmp_path / str(number), "true")
        await finish(runtime, container)
        after = os.times()
        costs_s.append(sum(after[:4]) - sum(before[:4]))
    assert 0 < min(costs_s) < 0.25


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_a_process_is_known_by_its_start_time():
    own = processes.start_ticks(os.getpid())
    assert own is not None and own == processes.start_ticks(os.getpid())
    assert processes.start_ticks(2**22 + 1) is None
