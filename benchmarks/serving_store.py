"""`fairlead model pull` and `push` against what this machine can do without us, and what a changed model costs.

*Pull*: a model in a layout, served over loopback by a server that only hands files to the kernel, so that it is no
bottleneck. The limits, taken in the same round: the same bytes received by curl over as many connections and thrown
away; the same bytes written to the same disk with one sync; and, as server and client share the cores, curl into files,
hashed and synced, which is the pull's own work done by the plainest tools. *Push*: to docker-registry behind a relay
that counts every byte that the client sends, heads and manifests included, after 1 % of a model has changed in one
place, in 4 and in 8.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from harness.report import Figure, arguments, report
from serving_model_cache import _Ranges, _serve

MODEL = [sys.executable, "-m", "fairlead.cli.main", "model"]
CONNECTIONS = 8
TENSOR_BYTES = 24 << 20
REGIONS = (1, 4, 8)


class _Layout(_Ranges):
    """A layout as a registry that can be read."""

    def translate_path(self, path: str) -> str:
        found = re.fullmatch(r"/v2/m/(?:blobs|manifests)/sha256:([0-9a-f]{64})", path)
        if found:
            return os.path.join(self.directory, "blobs", "sha256", found.group(1))
        return (
            os.path.join(self.directory, "manifest") if path == "/v2/m/manifests/v1" else super().translate_path(path)
        )


def make_model(path: Path, size: int) -> None:
    """Safetensors of random tensors, written without holding them."""
    count = max(1, size // TENSOR_BYTES)
    header = {}
    for i in range(count):
        offsets = [i * TENSOR_BYTES, (i + 1) * TENSOR_BYTES]
        header[f"layer.{i}"] = {"dtype": "U8", "shape": [TENSOR_BYTES], "data_offsets": offsets}
    raw = json.dumps(header).encode()
    path.parent.mkdir(parents=True)
    (path.parent / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for _ in range(count):
            file.write(os.urandom(TENSOR_BYTES))


def run(*words: str | Path) -> dict[str, float]:
    """What a command of `fairlead model` says of itself, and `took`: seconds from process start to end."""
    began_s = time.perf_counter()
    done = subprocess.run([*MODEL, *map(str, words), "-o", "json", "-q"], check=True, stdout=subprocess.PIPE)
    return {**json.loads(done.stdout), "took": time.perf_counter() - began_s}


def serve(layout: Path) -> tuple[multiprocessing.Process, int]:
    """The layout's server, as a process, and its port."""
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    shutil.copy(layout / "blobs" / "sha256" / digest, layout / "manifest")
    mine, theirs = socket.socketpair()
    process = multiprocessing.Process(target=_serve, args=(str(layout), theirs, _Layout), daemon=True)
    process.start()
    return process, int(mine.recv(16))


def timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def curl(port: int, digests: list[str], into: Path | None) -> None:
    """All blobs over CONNECTIONS connections; into files that are hashed and synced, or nowhere."""
    shares = [digests[n::CONNECTIONS] for n in range(CONNECTIONS)]

    def take(share: list[str]) -> None:
        urls = [f"http://127.0.0.1:{port}/v2/m/blobs/sha256:{digest}" for digest in share]
        targets = [str(into / digest) if into else "/dev/null" for digest in share]
        pairs = [word for url, target in zip(urls, targets, strict=True) for word in ("-o", target, url)]
        subprocess.run(["curl", "-sf", *pairs], check=True)
        if into is not None and targets:
            subprocess.run(["sha256sum", *targets], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["sync", *targets], check=True)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(take, shares))


def write(target: Path, size: int) -> None:
    part = os.urandom(8 << 20)
    with open(target, "wb", buffering=0) as file:
        for _ in range(size // len(part)):
            file.write(part)
        os.fsync(file.fileno())


def pulls(root: Path, model: Path, rounds: int) -> list[Figure]:
    """The first part: medians of rates, and of the ratios within a round, as the machine is noisy."""
    layout = root / "layout"
    run("push", model.parent, f"layout://{layout}:v1")
    server, port = serve(layout)
    blobs = {path.name: path.stat().st_size for path in (layout / "blobs" / "sha256").iterdir()}
    size = sum(blobs.values())
    rates: dict[str, list[float]] = {name: [] for name in ("loopback", "disk", "plain", "pull")}
    for number in range(rounds):
        plain, target = root / f"plain{number}", root / f"out{number}"
        plain.mkdir()
        # Taken in turn, so that a busy minute of the machine does not meet the same one each time.
        measures: dict[str, Callable[[], object]] = {
            "loopback": partial(curl, port, list(blobs), None),
            "disk": partial(write, root / "raw", size),
            "plain": partial(curl, port, list(blobs), plain),
            "pull": partial(run, "pull", f"oci://127.0.0.1:{port}/m:v1", target),
        }
        names = list(measures)
        for name in names[number % 4 :] + names[: number % 4]:
            rates[name].append(size / timed(measures[name]) / 1e6)
        for folder in (plain, target):
            shutil.rmtree(folder)
        (root / "raw").unlink()
    server.kill()
    of_limit = [100 * p / min(a, b) for p, a, b in zip(rates["pull"], rates["loopback"], rates["disk"], strict=True)]
    of_plain = [100 * p / w for p, w in zip(rates["pull"], rates["plain"], strict=True)]
    median = {name: statistics.median(found) for name, found in rates.items()}
    binding = "loopback" if median["loopback"] < median["disk"] else "disk"
    return [
        Figure("loopback: curl, nothing done with it", median["loopback"], "MB/s"),
        Figure("disk: one file, one sync", median["disk"], "MB/s"),
        Figure("curl into files, hashed, synced", median["plain"], "MB/s"),
        Figure("fairlead model pull, start to end", median["pull"], "MB/s"),
        Figure(f"pull, of the limit (here the {binding})", statistics.median(of_limit), "%", goal=80, better="higher"),
        Figure("pull, of curl with the same work", statistics.median(of_plain), "%", goal=80, better="higher"),
    ]


class Relay:
    """Connections passed on to a port; `sent` counts what clients send."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self._to = port
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            far = socket.create_connection(("127.0.0.1", self._to))
            for origin, target, counted in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._copy, args=(origin, target, counted), daemon=True).start()

    def _copy(self, origin: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while part := origin.recv(256 << 10):
                if counted:
                    with self._lock:
                        self.sent += len(part)
                target.sendall(part)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def change(model: Path, regions: int, share: float, seed: int) -> None:
    """New random bytes in `regions` places, `share` of the file in all."""
    size = model.stat().st_size
    each = int(size * share / regions)
    chance = random.Random(seed)
    with open(model, "r+b") as file:
        for number in range(regions):
            slot = (size - (1 << 16)) // regions
            file.seek((1 << 16) + number * slot + chance.randrange(max(1, slot - each)))
            file.write(os.urandom(each))


def start_registry(program: str, root: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    (root / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root / 'registry'}}}}}\n"
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([program, "serve", str(root / "registry.yml")], **quiet)  # type: ignore[call-overload]
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process, port
        if process.poll() is not None:
            raise SystemExit(f"{program} does not start")
        time.sleep(0.05)


def pushes(root: Path, model: Path, program: str) -> list[Figure]:
    """The second part."""
    process, port = start_registry(program, root)
    relay = Relay(port)
    try:
        first = run("push", model.parent, f"oci://127.0.0.1:{relay.port}/m:v0")
        whole = relay.sent
        figures = [Figure("first push to docker-registry", whole / first["took"] / 1e6, "MB/s")]
        for regions in REGIONS:
            change(model, regions, 0.01, regions)
            before = relay.sent
            pushed = run("push", model.parent, f"oci://127.0.0.1:{relay.port}/m:v{regions}")
            share = 100 * (relay.sent - before) / model.stat().st_size
            where = "one place" if regions == 1 else f"{regions} places"
            figures.append(Figure(f"1 % changed in {where}: bytes sent", share, "%", goal=3.0))
            figures.append(Figure(f"1 % changed in {where}: the push", pushed["took"], "s"))
        return figures
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--gib", type=float, default=1.0, help="size of the model [default: %(default)s]")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="on the disk to measure [default: the temporary folder]")
    parser.add_argument(
        "--registry", default=shutil.which("docker-registry"), help="docker-registry [default: of PATH]"
    )
    options: argparse.Namespace = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="fairlead-store-", dir=options.folder))
    model = root / "m" / "model.safetensors"
    try:
        make_model(model, int(options.gib * (1 << 30)))
        figures = pulls(root, model, options.rounds)
        shutil.rmtree(root / "layout")
        if options.registry:
            figures += pushes(root, model, options.registry)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    pushed = "" if options.registry else "; pushes not measured: no docker-registry in PATH, and no --registry"
    report(figures, options.json, f"{options.gib:g} GiB, {CONNECTIONS} connections, {options.rounds} rounds{pushed}")


if __name__ == "__main__":
    main()
