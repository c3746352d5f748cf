"""The sidecar adapter-loader: fetches adapters for the engine beside it, from where that cannot read them itself.

It needs no rights and hears from nobody: what is wanted is an annotation of its own pod, which the kubelet keeps in a
file (downward API), and where it is, it answers to whoever asks its one page. Files come through the node's cache as
those of models do (`fairlead model fetch`).

    GET /adapters -> {"SLOT": {"state": "ready" | "fetching" | "failed", "path": …, "message": …, "config": …}}
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from aiohttp import web

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.backoff import Backoff
from fairlead.serving.adapters.adapter_config import FILE_NAME, MAX_BYTES
from fairlead.serving.adapters.loader_mount import PORT, SECRETS
from fairlead.serving.store.mount import VERIFICATION

_LOG = logging.getLogger("fairlead.serving.adapters.loader")

FETCH: Final = ("fairlead", "model", "fetch")
LOOK_S: Final = 0.5
_RETRY: Final = Backoff(first_s=2.0, max_s=120.0)
_MESSAGE_BYTES: Final = 2000


class Wanted(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is to be fetched, as the pod's annotation has it; a plain text there is the source alone."""

    source: str
    secret: str = ""
    """Name of the Secret with what the source asks for; one of those that are mounted."""
    verification: dict[str, Any] | None = None
    """`Verification` of the API: whose signature it must have."""


class Slot(msgspec.Struct):
    """How the fetch of one source stands."""

    source: str
    state: Literal["fetching", "ready", "failed"] = "fetching"
    path: str = ""
    message: str = ""
    config: str = ""
    """Its adapter_config.json."""
    times: int = 0
    """Attempts that failed."""


@dataclass(slots=True)
class Loader:
    """One of a pod. `wanted` is the file, `cache` the node's cache, `fetch` the program that fills it."""

    wanted: Path
    cache: Path
    pod_uid: str
    fetch: Sequence[str] = FETCH
    secrets: Path = Path(SECRETS)
    capacity: str = ""
    clock: Clock = SYSTEM
    slots: dict[str, Slot] = field(default_factory=dict)
    _begun: dict[str, Wanted] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Fetch what is wanted until cancelled."""
        try:
            while True:
                self.look()
                await self.clock.sleep(LOOK_S)
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def look(self) -> None:
        """Begin what is new, and give up what is not wanted any more."""
        wanted = read_wanted(self.wanted)
        if wanted is None:
            return
        for name in [n for n, begun in self._begun.items() if wanted.get(n) != begun]:
            del self.slots[name], self._begun[name]
            if (task := self._tasks.pop(name, None)) is not None:
                task.cancel()
        for name, each in wanted.items():
            if name not in self.slots:
                self.slots[name], self._begun[name] = Slot(each.source), each
                self._tasks[name] = asyncio.get_running_loop().create_task(self._bring(name, each, self.slots[name]))

    async def _bring(self, name: str, wanted: Wanted, slot: Slot) -> None:
        while True:
            said = await self._fetch(name, wanted)
            if not said:
                slot.path = str(self.cache / "pods" / self.pod_uid / name)
                slot.config = _config(Path(slot.path))
                slot.state, slot.message = "ready", ""
                _LOG.info("%s is there as %s", slot.source, slot.path)
                return
            slot.times += 1
            slot.state, slot.message = "failed", said
            _LOG.warning("%s was not fetched: %s", slot.source, said)
            await self.clock.sleep(_RETRY.delay_s(slot.times))

    async def _fetch(self, name: str, wanted: Wanted) -> str:
        """Why it was not fetched; empty when it was."""
        argv = [*self.fetch, wanted.source, "--cache", str(self.cache), "--slot", name, "--quiet"]
        if self.capacity:
            argv += ["--capacity", self.capacity]
        if wanted.secret:
            folder = self.secrets / wanted.secret
            if not folder.is_dir() or not any(folder.iterdir()):
                return f"the Secret {wanted.secret} is not there (yet)"
            argv += ["--credentials", str(folder)]
        environment = dict(os.environ)
        if wanted.verification is not None:
            environment[VERIFICATION] = msgspec.json.encode(wanted.verification).decode()
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
            )
        except OSError as error:
            return f"{argv[0]} cannot be started: {error}"
        try:
            said, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode == 0:
            return ""
        lines = said[-_MESSAGE_BYTES:].decode("utf-8", "replace").strip().splitlines()
        # The last one is the reason; what comes before it tells how far it was.
        text = lines[-1].removeprefix(f"{' '.join(FETCH)}: ") if lines else ""
        return text or f"{argv[0]} ended with status {process.returncode}"

    async def answer(self, _: web.Request) -> web.Response:
        """The page."""
        return web.Response(body=msgspec.json.encode(self.slots), content_type="application/json")


def read_wanted(path: Path) -> Mapping[str, Wanted] | None:
    """By slot; None where the file is not there or not whole, so that nothing is given up by mistake."""
    try:
        text = path.read_bytes()
        found = msgspec.json.decode(text, type=dict[str, str | Wanted]) if text.strip() else {}
    except (OSError, msgspec.MsgspecError):
        return None
    return {name: Wanted(each) if isinstance(each, str) else each for name, each in found.items()}


async def serve(loader: Loader, host: str, port: int = PORT) -> None:
    """Fetch and answer until cancelled."""
    app = web.Application()
    app.router.add_get("/adapters", loader.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await loader.run()
    finally:
        await runner.cleanup()


def _config(folder: Path) -> str:
    try:
        with (folder / FILE_NAME).open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
