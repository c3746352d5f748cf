"""Work for a process of its own, when a run is over: what it takes in memory goes with it, and a person can end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from fairlead.bench.run.stop import Stop

STDERR_KEPT_BYTES = 4096
END_WITHIN_S = 5.0


async def aside(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], said: Callable[[str], None], stop: Stop
) -> str | None:
    """Run `python -m module arguments` until it ends, or until `stop` is asked for once more; `said` is told each line
    it prints. Returns None when it went well, else why not, in words. Nothing is left running, also when cancelled."""
    asked = stop.asked
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, **environment},
        )  # fmt: skip
    except OSError as error:
        return f"no process could be started for it: {error.strerror or error}"
    reading = asyncio.ensure_future(_read(process, said))
    stopping = asyncio.ensure_future(stop.wait(asked))
    try:
        await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return f"it was ended by {stop.why}"
        last, errors = await reading
        return None if process.returncode == 0 else _why(process.returncode or 0, last, errors)
    finally:
        stopping.cancel()
        await _ended(process)
        reading.cancel()


async def _read(process: asyncio.subprocess.Process, said: Callable[[str], None]) -> tuple[str, str]:
    """Its last line, and the end of what it complained of, when it has ended."""
    assert process.stdout is not None and process.stderr is not None
    complaining = asyncio.ensure_future(process.stderr.read())
    last = ""
    try:
        while line := (await process.stdout.readline()).decode(errors="replace").rstrip("\n"):
            last = line
            said(line)
        errors = await complaining
        await process.wait()
        return last, errors[-STDERR_KEPT_BYTES:].decode(errors="replace")
    finally:
        complaining.cancel()


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Asked to end, it takes away what it has half done; a process that does not end is killed."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_WITHIN_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _why(code: int, last: str, errors: str) -> str:
    if code < 0:
        return f"its process was ended by {_signal(-code)}"
    return last if code == 1 and not errors else (errors.strip().splitlines() or [f"exit status {code}"])[-1]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
