"""Real `fairlead model` processes, killed at random moments, and a registry that is: the next run completes, what was
moved is not moved again, and at no time is there half a model."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fairlead.serving.store import oci
from fairlead.serving.store.artifacts import open_repository
from fairlead.serving.store.check import check_layers
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import NotFound
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.pull import resolve
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel
from serving.store.conftest import LiveRegistry, start_registry, stop
from serving.store.models import contents, write_model
from serving.store.proxy import Fault, Proxy, proxying
from serving.store.pulling import pushed

pytestmark = pytest.mark.xdist_group("killed-transfers")
COMMAND = [sys.executable, "-m", "fairlead.cli.main", "model"]
TENSORS = (300_000,) * 20


@dataclass
class Run:
    """A process, and what to wait for before it is killed."""

    process: subprocess.Popen[bytes]

    def kill(self) -> bool:
        """Kill it, if it still runs; whether it did."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        return self.process.wait() != 0

    def done(self) -> bytes:
        out, said = self.process.communicate(timeout=100)
        assert self.process.returncode == 0, said.decode()
        return out


def start(cache: Path, *arguments: str | Path) -> Run:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    command = [*COMMAND, *map(str, arguments)]
    return Run(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment))


def wait_for_bytes(proxy: Proxy, run: Run, *, up: int = 0, down: int = 0) -> None:
    """Until so much has passed, or the process has ended."""
    deadline_s = time.monotonic() + 60
    while (proxy.up < up or proxy.down < down) and run.process.poll() is None:
        assert time.monotonic() < deadline_s, "nothing moves"
        time.sleep(0.002)


@pytest.fixture
def proxy(registry: LiveRegistry) -> Iterator[Proxy]:
    with proxying(registry.host, pause_s=0.002) as found:
        yield found


def is_whole(reference: str) -> bool:
    """Whether a tag is there; then all that it leads to must be, and right."""
    parsed = parse_reference(reference)
    try:
        repository = open_repository(parsed, Settings(), Cancel())
        manifest = resolve(repository, parsed.selector)[1]
    except NotFound:
        return False
    assert check_layers(repository, manifest, Settings(), 2, Silent(), Cancel()) == []
    repository.close()
    return True


def test_a_push_killed_at_random_moments(proxy: Proxy, registry: LiveRegistry, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", TENSORS)
    name, moments = "killed/push:v1", random.Random(11)
    total = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    kills = 0
    for _ in range(3):
        run = start(tmp_path / "cache", "push", model, f"oci://{proxy.host}/{name}", "-q", "-p", "2", "--chunk", "0.25")
        wait_for_bytes(proxy, run, up=proxy.up + moments.randrange(1, total // 4))
        killed = run.kill()
        kills += killed
        assert not (killed and is_whole(f"oci://{registry.host}/{name}")), "the tag comes last"
    start(tmp_path / "cache", "push", model, f"oci://{proxy.host}/{name}", "-q", "--chunk", "0.25").done()
    assert kills >= 2 and is_whole(f"oci://{registry.host}/{name}")
    # Each kill costs at most the parts that were under way: two of about 0.3 MB.
    assert proxy.up < total + kills * 2 * 450_000 + 100_000


def test_a_large_layer_is_pushed_on_from_where_it_was(proxy: Proxy, registry: LiveRegistry, tmp_path: Path) -> None:
    proxy.pause_s = 0
    model = tmp_path / "w.bin"
    content = os.urandom(8 << 20) * 12
    model.write_bytes(content)
    name = "killed/large:v1"
    push = ("push", model, f"oci://{proxy.host}/{name}", "-q", "--layout", "whole")
    # One piece of 64 MiB gets through, and the last never. (Had one come in half, docker-registry would refuse to go on
    # before its version 3: https://github.com/distribution/distribution/pull/3755.)
    proxy.faults = [Fault(f"PUT .*{oci.digest_of(content)[7:]}", times=1000, status=503)]
    run = start(tmp_path / "cache", *push)
    deadline_s = time.monotonic() + 100
    while proxy.faults[0].times == 1000:
        assert run.process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.01)
    assert run.kill()
    before, proxy.faults = proxy.up, []
    start(tmp_path / "cache", *push).done()
    assert proxy.up - before < 33 << 20
    assert is_whole(f"oci://{registry.host}/{name}")
    assert list((tmp_path / "cache" / "fairlead" / "uploads").iterdir()) == [], "nothing is remembered in vain"


@pytest.mark.parametrize("how", [["--as", "modelpack"], ["--as", "image"]], ids=["modelpack", "image"])
def test_a_pull_killed_at_random_moments(proxy: Proxy, registry: LiveRegistry, tmp_path: Path, how: list[str]) -> None:
    model = write_model(tmp_path / "m", TENSORS)
    name, moments = f"killed/pull{how[1]}:v1", random.Random(12)
    start(tmp_path / "cache", "push", model, f"oci://{registry.host}/{name}", "-q", "--chunk", "0.25", *how).done()
    pull = ("pull", f"oci://{proxy.host}/{name}", tmp_path / "out", "-q", "-p", "2")
    total = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    kills = 0
    for _ in range(3):
        run = start(tmp_path / "cache", *pull)
        wait_for_bytes(proxy, run, down=proxy.down + moments.randrange(1, total // 4))
        kills += run.kill()
        assert kills == 0 or not (tmp_path / "out").exists()
    said = json.loads(start(tmp_path / "cache", *pull, "-o", "json").done())
    assert kills >= 2 and contents(tmp_path / "out") == contents(model)
    assert {path.name for path in tmp_path.iterdir()} == {"m", "out"}
    if how[1] == "modelpack":
        # What was verified stays; what was under way is fetched once more.
        assert said["fetchedBytes"] < total - 300_000
        assert proxy.down < total + kills * 2 * 450_000 + 200_000


def test_a_prune_killed_at_random_moments(tmp_path: Path) -> None:
    model, layout, moments = write_model(tmp_path / "m", (200_000,)), tmp_path / "l", random.Random(13)
    for i in range(12):
        (model / "extra.bin").write_bytes(os.urandom(1000 + i))
        pushed(model, layout, f"v{i}")
    for keep in (9, 6, 3):
        run = start(tmp_path / "cache", "prune", f"layout://{layout}", "--keep", str(keep))
        time.sleep(moments.uniform(0.3, 1.0))
        run.kill()
        for tag in open_repository(parse_reference(f"layout://{layout}"), Settings(), Cancel()).tags():
            assert is_whole(f"layout://{layout}:{tag}"), "a tag that is there is whole"
    start(tmp_path / "cache", "prune", f"layout://{layout}", "--keep", "2").done()
    repository = open_repository(parse_reference(f"layout://{layout}"), Settings(), Cancel())
    assert repository.tags() == ["v10", "v11"]
    left = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
    wanted = set()
    for tag in repository.tags():
        digest, manifest = resolve(repository, tag)
        wanted |= {digest[7:], manifest.config.digest[7:], *(layer.digest[7:] for layer in manifest.layers)}
    assert left == wanted


def test_a_registry_killed_and_started_again(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", TENSORS)
    live, process = start_registry(tmp_path / "r")
    config = tmp_path / "r" / "config.yml"
    command = process.args
    try:
        with proxying(live.host, pause_s=0.002) as proxy:
            name = f"oci://{proxy.host}/m:v1"
            for arguments, moved in ((("push", model, name), "up"), (("pull", name, tmp_path / "out"), "down")):
                run = start(tmp_path / "cache", *arguments, "-q")
                wait_for_bytes(proxy, run, **{moved: 2_000_000})
                assert run.process.poll() is None
                stop(process)
                time.sleep(0.5)
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                run.done()
        assert contents(tmp_path / "out") == contents(model) and config.exists()
    finally:
        stop(process)


def test_two_processes_pull_the_same(proxy: Proxy, registry: LiveRegistry, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", TENSORS)
    start(tmp_path / "cache", "push", model, f"oci://{registry.host}/killed/two:v1", "-q").done()
    pull = ("pull", f"oci://{proxy.host}/killed/two:v1", tmp_path / "out", "-o", "json")
    both = [start(tmp_path / "cache", *pull) for _ in range(2)]
    said = [json.loads(run.done()) for run in both]
    assert sorted(answer["wasThere"] for answer in said) == [False, True]
    assert contents(tmp_path / "out") == contents(model)
    assert proxy.down < 1.1 * max(answer["totalBytes"] for answer in said) + 50_000


def test_a_tag_moves_only_when_all_is_there(proxy: Proxy, registry: LiveRegistry, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (300_000,))
    name = f"oci://{proxy.host}/killed/tag:v1"
    start(tmp_path / "cache", "push", model, name, "-q").done()
    before = open_repository(parse_reference(name), Settings(), Cancel()).manifest("v1")[0].digest
    write_model(model, (300_000,), seed=2)
    proxy.faults = [Fault("PUT .*/blobs/", times=1000, status=403)]
    failed = start(tmp_path / "cache", "push", model, name, "-q")
    _, said = failed.process.communicate(timeout=60)
    assert failed.process.returncode == 1 and b"403" in said and said.count(b"\n") == 1
    assert oci.is_digest(before)
    assert open_repository(parse_reference(name), Settings(), Cancel()).manifest("v1")[0].digest == before
