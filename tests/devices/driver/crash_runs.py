"""A driver that dies at each of its writes, one after the other, and what its successor finds. Run as a program:

    python crash_runs.py KUBECONFIG NAMESPACE FOLDER prepare|unprepare|again

For n = 1, 2, … a child process runs the driver and a kubelet's calls and kills itself at the n-th call of a function
that changes the disk or the hardware; a second child starts the driver again and looks. One line of JSON for each n;
ends when a child outlives its calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from devices.driver.driver_rig import DRIVER, Result, WidgetVendor, create_claim, kubelet_of
from fairlead.devices.cdi import ContainerEdits, SpecCache, read_spec
from fairlead.devices.driver.node_driver import DriverOptions, DriverSpec
from fairlead.devices.driver.run import run
from fairlead.devices.vendor import ClaimReference, Preparation
from fairlead.kube import Client

WRITES = ("replace", "link", "unlink", "fsync", "write", "ftruncate")
_REAL = {name: getattr(os, name) for name in WRITES}


class Fuse:
    """Kills the process at the n-th call, counted from when it is lit."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._is_lit = False
        self.burnt = 0

    def light(self) -> None:
        self._is_lit = True

    def step(self) -> None:
        if self._is_lit:
            self._left -= 1
            self.burnt += 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return function(*args, **kwargs)

        return wrapped


class DurableWidgets(WidgetVendor):
    """Hardware that remembers, as real hardware does, when the driver's process is gone."""

    def __init__(self, folder: Path, fuse: Fuse) -> None:
        super().__init__()
        self._file = folder / "hardware.json"
        self._fuse = fuse
        self.preparation = Preparation(device_edits={"widget-0": ContainerEdits(env=("MODE=exclusive",))})
        if self._file.exists():
            self.prepared = {uid: tuple(names) for uid, names in json.loads(self._file.read_text()).items()}

    def prepare(self, claim: ClaimReference, grants: Any) -> Preparation:
        self._fuse.step()
        made = super().prepare(claim, grants)
        self._file.write_text(json.dumps(self.prepared))
        self._fuse.step()
        return made

    def release(self, claim: ClaimReference, devices: Any) -> None:
        self._fuse.step()
        super().release(claim, devices)
        self._file.write_text(json.dumps(self.prepared))
        self._fuse.step()


class Stage:
    """Claims, a folder and a driver in this process."""

    def __init__(self, client: Client, folder: Path, node: str, fuse: Fuse) -> None:
        self.cdi = folder / "cdi"
        self.folder = folder
        self.vendor = DurableWidgets(folder, fuse)
        self._ready = asyncio.Event()
        spec = DriverSpec(self.vendor, node, folder, self.cdi)
        self._task = asyncio.ensure_future(run(client, [spec], DriverOptions(), on_ready=self._ready.set))
        self.registration = folder / "plugins_registry" / f"{DRIVER}-reg.sock"

    async def __aenter__(self) -> Stage:
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait((ready, self._task), timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def crash(client: Client, stage: Stage, fuse: Fuse, scenario: str, claim: ClaimReference) -> None:
    async with stage, kubelet_of(stage.registration) as kubelet:
        if scenario == "prepare":
            fuse.light()
        await kubelet.prepare(claim)
        if scenario != "prepare":
            fuse.light()
            await kubelet.unprepare(claim)


async def verify(
    client: Client, stage: Stage, scenario: str, claim: ClaimReference, rival: ClaimReference
) -> dict[str, Any]:
    """What the successor finds. Raises AssertionError for what must not be."""
    for file in stage.cdi.glob("*.json"):
        read_spec(file)
    async with stage, kubelet_of(stage.registration) as kubelet:
        first = (await kubelet.prepare(rival))[rival.uid]
        if scenario == "unprepare":
            assert (await kubelet.unprepare(claim))[claim.uid].error == ""
            second = (await kubelet.prepare(rival))[rival.uid]
            assert second.error == "", second.error
            assert stage.vendor.prepared.keys() == {rival.uid}
        else:
            second = (await kubelet.prepare(claim))[claim.uid]
            assert bool(first.error) != bool(second.error), (first.error, second.error)
            holder = claim if first.error else rival
            assert stage.vendor.prepared.keys() == {holder.uid}, stage.vendor.prepared
        answer = second if not second.error else first
        ids = [i for device in answer.devices for i in device.cdi_device_ids]
        assert len(ids) == 2
        assert "MODE=exclusive" in SpecCache([stage.cdi]).resolve(ids).env
        for each in (claim, rival):
            assert (await kubelet.unprepare(each))[each.uid].error == ""
        assert stage.vendor.prepared == {}
    left = sorted(f.name for f in stage.cdi.iterdir() if "claim" in f.name and not f.name.endswith(".tmp"))
    assert left == [], left
    record = json.loads((stage.folder / "plugins" / DRIVER / "checkpoint.json").read_text())
    assert record["data"]["claims"] == []
    return {"rival was refused": bool(first.error)}


def in_child(work: Callable[[], Coroutine[Any, Any, Any]], out: Path) -> int:
    """Run in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            found = asyncio.run(work())
            out.write_text(json.dumps(found if isinstance(found, dict) else {}))
            os._exit(0)
        except BaseException:
            out.write_text(json.dumps({"error": traceback.format_exc()[-3000:]}))
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value))


def main(kubeconfig: str, namespace: str, folder: str, scenario: str) -> None:
    for n in range(1, 200):
        root = Path(folder) / str(n)
        root.mkdir()
        out = root / "out.json"
        node = f"crash-{scenario}-{n}"
        claims = [root / "claims.json"]

        async def make(node: str = node, n: int = n, file: Path = claims[0]) -> None:
            async with Client.load(kubeconfig) as client:
                made = [
                    await create_claim(client, namespace, f"{scenario}-{n}-{who}", [Result("widget-0", pool=node)])
                    for who in ("a", "b")
                ]
            _write(file, [[c.namespace, c.name, c.uid] for c in made])

        assert in_child(make, out) == 0, out.read_text()
        claim, rival = (ClaimReference(*each) for each in json.loads(claims[0].read_text()))

        async def die(n: int = n, root: Path = root, node: str = node, claim: ClaimReference = claim) -> None:
            fuse = Fuse(n)
            for name, real in _REAL.items():
                setattr(os, name, fuse.wrap(real))
            async with Client.load(kubeconfig) as client:
                await crash(client, Stage(client, root, node, fuse), fuse, scenario, claim)

        async def look(
            root: Path = root, node: str = node, claim: ClaimReference = claim, rival: ClaimReference = rival
        ) -> Any:
            async with Client.load(kubeconfig) as client:
                return await verify(client, Stage(client, root, node, Fuse(0)), scenario, claim, rival)

        status = in_child(die, out)
        if os.WIFEXITED(status):
            print(json.dumps({"n": n, "lived": True, "status": os.WEXITSTATUS(status), **json.loads(out.read_text())}))
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        status = in_child(look, out)
        print(json.dumps({"n": n, "lived": False, "status": status, **json.loads(out.read_text())}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
