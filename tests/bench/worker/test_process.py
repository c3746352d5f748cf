"""The worker as a process: it imports little, says what it cannot do, and does not outlive its coordinator."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

from bench.worker.servers import Coordinator, job
from bench.worker.test_reading import peer
from fairlead.bench.wire import Jobs, Settings


async def started() -> tuple[Coordinator, asyncio.subprocess.Process]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead.bench.worker", str(theirs.fileno()), pass_fds=[theirs.fileno()]
        )
    return Coordinator(*await asyncio.open_connection(sock=ours)), process


async def test_it_ends_when_its_coordinator_is_gone_whatever_it_still_has_to_do() -> None:
    told, process = await started()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told.say(Settings(0, [peer(port=silent.getsockname()[1])], False))
        await told.hear(lambda told: told.ready is not None)
        told.start()
        told.say(Jobs([job(0, 0.0), job(1, 3600.0)]))
        await told.hear(lambda told: bool(told.pulses) and told.pulses[-1].sent == 1)
        told.hang_up()
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_host_that_there_is_not_is_named() -> None:
    told, process = await started()
    told.say(Settings(0, [peer(host="there-is-none.invalid")], False))
    await told.hear(lambda told: told.ready is not None)
    assert told.ready is not None and "there-is-none.invalid cannot be looked up" in told.ready.problem
    told.hang_up()
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_certificate_authority_that_is_not_there_is_named() -> None:
    told, process = await started()
    told.say(Settings(0, [peer(tls=True, ca_file="/nowhere/ca.pem")], False))
    await told.hear(lambda told: told.ready is not None)
    assert told.ready is not None and "/nowhere/ca.pem" in told.ready.problem
    told.hang_up()
    await asyncio.wait_for(process.wait(), 30)


def test_a_worker_imports_nothing_that_is_heavy() -> None:
    heavy = {"numpy", "pyarrow", "tokenizers", "rich", "typer", "yaml", "fairlead.kube", "fairlead.bench.run"}
    code = "import sys, fairlead.bench.worker.process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)
