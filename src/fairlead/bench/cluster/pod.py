"""The coordinator's pod of a benchmark: reads what the Job tells it, runs the load with the workers that call, says how
it goes in its log, and how it ended in its termination message.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fairlead.bench.cluster import lines, names
from fairlead.bench.cluster.calling import TOKEN, WITHIN
from fairlead.bench.cluster.outcome import Outcome, encode, outcome_of
from fairlead.bench.cluster.planning import config_of
from fairlead.bench.cluster.rendezvous import Rendezvous
from fairlead.bench.config import Benchmark
from fairlead.bench.config.read import read_config
from fairlead.bench.results.upload import CannotUpload, upload
from fairlead.bench.run import Progress, RunFailed, Stop, run
from fairlead.bench.run.checking import checked
from fairlead.bench.run.coordinator import new_id
from fairlead.bench.run.ending import reported
from fairlead.bench.summary import RunSummary
from fairlead.clock import SYSTEM

LOOK_EVERY_S, LATER_EVERY_S, LATER_S = 1.0, 10.0, 600.0
"""How often progress is said, at first and later on: a log is kept to 10 MiB or so."""
TERMINATION_LOG = "/dev/termination-log"


class Told(msgspec.Struct, frozen=True):
    """What the Job tells its pods. Raises KeyError and ValueError for what is missing or makes no sense."""

    token: bytes
    config: str
    workers: int
    job: str
    address: str
    within_s: float
    results: str

    @classmethod
    def by(cls, env: Mapping[str, str]) -> Told:
        return cls(
            env[TOKEN].encode(), env[names.CONFIG_ENV], int(env[names.WORKERS_ENV]), env[names.JOB_ENV],
            env.get(names.POD_IP_ENV, ""), float(env[WITHIN]), env.get(names.RESULTS_ENV, ""),
        )  # fmt: skip


class Speaker:
    """Lines for whoever follows the log."""

    def __init__(self) -> None:
        self._looked_s = -LATER_EVERY_S

    def say(self, line: lines.Line) -> None:
        print(lines.write(line), flush=True)

    def look(self, progress: Progress) -> None:
        """Not more often than a log bears."""
        now_s = SYSTEM.monotonic_s()
        every_s = LOOK_EVERY_S if progress.elapsed_s < LATER_S else LATER_EVERY_S
        if now_s - self._looked_s >= every_s:
            self._looked_s = now_s
            self.say(lines.Look(progress))


async def coordinate(told: Told, stop: Stop, speaker: Speaker, port: int = names.PORT) -> tuple[Outcome, bool]:
    """Carry the benchmark out. Returns how it ended, and whether there is a summary."""
    try:
        config = read_config(config_of(msgspec.json.decode(told.config), told.workers))
        folder = _folder(told.results)
        crew = Rendezvous(told.token, told.workers, told.within_s, stop, lambda number: _pod(told.job, number + 1))
        await crew.listen(told.address, port)
        try:
            summary = await _run(config, folder, crew, stop, speaker)
        finally:
            await crew.close()
    except (RunFailed, ValueError) as error:
        return Outcome("interrupted" if stop.asked else "failed", _words(error)), False
    except OSError as error:
        return Outcome("failed", f"{error.filename or ''} {error.strerror or error}".strip()), False
    for part in lines.parts(summary):
        speaker.say(part)
    where, problem = await _keep(folder, told.results, stop, speaker)
    return outcome_of(summary, where, problem), True


async def _run(config: Benchmark, folder: Path | None, crew: Rendezvous, stop: Stop, speaker: Speaker) -> RunSummary:
    speaker.say(lines.Said("asking the targets once"))
    known = await checked(config, stop)
    speaker.say(lines.Said(f"waiting for workers ({config.workers})"))
    return await run(config, folder, speaker.look, stop, known, crew=crew)


def _pod(job: str, index: int) -> str:
    return f"pod {names.pod_host(job, index)}"


def _folder(results: str) -> Path | None:
    """Where the run's folder is made: on a mounted volume, or somewhere to be sent from."""
    if not results:
        return None
    base = tempfile.mkdtemp(prefix="fairlead-bench-") if "://" in results else results
    return Path(base) / new_id()


async def _keep(folder: Path | None, results: str, stop: Stop, speaker: Speaker) -> tuple[str, str]:
    """Reports are written, and all is sent where it is to be. Returns where it is, and what was wrong."""
    if folder is None:
        return "", ""
    speaker.say(lines.Said("writing reports"))
    problem = await reported(folder, stop) or ""
    if "://" not in results:
        return str(folder), problem
    speaker.say(lines.Said(f"sending results to {results}"))
    to = f"{results.rstrip('/')}/{folder.name}"
    try:
        await asyncio.to_thread(_send, folder, to)
    except (CannotUpload, OSError) as error:
        return "", f"results were not sent: {error}"
    return to, problem


def _send(folder: Path, to: str) -> None:
    """The folder, and those in it."""
    for each in (folder, *(inner for inner in folder.iterdir() if inner.is_dir())):
        files = sorted(file for file in each.iterdir() if file.is_file())
        upload(files, to if each == folder else f"{to}/{each.name}")


def _words(error: Exception) -> str:
    return "; ".join(str(error).splitlines()) or type(error).__name__


def main() -> int:
    """Exit status 0: there is a summary, whatever it says."""
    import uvloop

    outcome, has_summary = uvloop.run(_main())
    if outcome.problem or not has_summary:
        print(lines.write(lines.Said(outcome.problem or f"failed: {outcome.why}")), flush=True)
    try:
        Path(os.environ.get("FAIRLEAD_TERMINATION_LOG", TERMINATION_LOG)).write_bytes(encode(outcome))
    except OSError as error:
        print(f"the end cannot be told to the node: {error}", file=sys.stderr)
    return 0 if has_summary else 1


async def _main() -> tuple[Outcome, bool]:
    stop, loop = Stop(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.ask, signal.Signals(number).name)
    try:
        return await coordinate(Told.by(os.environ), stop, Speaker())
    except Exception as error:
        # Whoever waits for the benchmark is told, whatever went wrong.
        traceback.print_exc()
        return Outcome("failed", f"{type(error).__name__}: {error}"), False
