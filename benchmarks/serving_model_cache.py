"""Models from a server on loopback into a node's cache, by the command that pods run: the first start and the next.

The limit is what this machine can do without us: a plain copy of the same bytes from the same server over as many
connections (nothing hashed, nothing synced), and a plain write of them to the same disk with one fsync; the slower of
the two counts. A *next start* is `fairlead model fetch` of a model that is on the node, from process start to its end:
of a source with a commit, which is not asked, and of one that is asked what it means now.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.report import Figure, arguments, report

FETCH = [sys.executable, "-m", "fairlead.cli.main", "model", "fetch"]
CONNECTIONS = 8
FILES = 4


class _Ranges(SimpleHTTPRequestHandler):
    """Files with ranges, sent by the kernel: a server that is no bottleneck."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        with open(self.translate_path(self.path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start, end = 0, size
            wanted = self.headers.get("Range", "")
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end = int(first), int(last) + 1 if last else size
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(end - start))
            self.send_header("ETag", f'"{size}"')
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.end_headers()
            self.wfile.flush()
            while body and start < end:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, min(end - start, 8 << 20))


def _serve(folder: str, ready: socket.socket, handler: type[_Ranges] = _Ranges) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    ready.sendall(str(server.server_address[1]).encode())
    server.serve_forever()


def make_model(folder: Path, size: int) -> None:
    """Weights that cannot be compressed, and an index with their checksums."""
    folder.mkdir(parents=True)
    listed = []
    for number in range(FILES):
        path, digest, left = folder / f"model-{number}.safetensors", hashlib.sha256(), size // FILES
        with open(path, "wb") as file:
            while left:
                part = os.urandom(min(left, 8 << 20))
                digest.update(part)
                file.write(part)
                left -= len(part)
        listed.append({"name": path.name, "size": size // FILES, "sha256": digest.hexdigest()})
    (folder / "config.json").write_text("{}")
    listed.append({"name": "config.json", "size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()})
    (folder / "index.json").write_text(json.dumps({"files": listed}))


def raw_copy(port: int, size: int) -> float:
    """Seconds to receive everything over CONNECTIONS connections, into memory that is thrown away."""
    each = size // FILES
    step = each * FILES // CONNECTIONS
    jobs = [(n, start, min(start + step, each)) for n in range(FILES) for start in range(0, each, step)]

    def take(job: tuple[int, int, int]) -> None:
        number, start, end = job
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", f"/model-{number}.safetensors", headers={"Range": f"bytes={start}-{end - 1}"})
        answer, buffer = connection.getresponse(), bytearray(1 << 20)
        while answer.readinto(buffer):
            pass
        connection.close()

    began_s = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(take, jobs))
    return time.perf_counter() - began_s


def raw_write(folder: Path, size: int) -> float:
    """Seconds to write everything to one file and have it on the disk."""
    part = os.urandom(8 << 20)
    began_s = time.perf_counter()
    with open(folder / "raw", "wb", buffering=0) as file:
        for _ in range(size // len(part)):
            file.write(part)
        os.fsync(file.fileno())
    took_s = time.perf_counter() - began_s
    (folder / "raw").unlink()
    return took_s


def fetch(source: str, cache: Path) -> float:
    """Seconds of one run of the command."""
    began_s = time.perf_counter()
    subprocess.run([*FETCH, source, "--cache", str(cache), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began_s


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--gib", type=float, default=2.0, help="size of the model [default: %(default)s]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to measure [default: the temporary folder]")
    options = parser.parse_args()
    size = int(options.gib * (1 << 30)) // (FILES * (8 << 20)) * (FILES * (8 << 20))
    root = Path(tempfile.mkdtemp(prefix="fairlead-model-cache-", dir=options.folder))
    mine, theirs = socket.socketpair()
    try:
        make_model(root / "served", size)
        server = multiprocessing.Process(target=_serve, args=(str(root / "served"), theirs), daemon=True)
        server.start()
        port = int(mine.recv(16))
        url = f"http://127.0.0.1:{port}/"
        copies, writes, fetches = [], [], []
        for _ in range(options.rounds):
            copies.append(raw_copy(port, size))
            writes.append(raw_write(root, size))
            shutil.rmtree(root / "cache", ignore_errors=True)
            fetches.append(fetch(url, root / "cache"))
        sha256 = hashlib.sha256((root / "served" / "config.json").read_bytes()).hexdigest()
        exact = f"{url}config.json#sha256={sha256}"
        fetch(exact, root / "cache")
        asked = [fetch(url, root / "cache") for _ in range(10)]
        unasked = [fetch(exact, root / "cache") for _ in range(10)]
        server.kill()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    limit = min(size / statistics.median(copies), size / statistics.median(writes))
    rate = size / statistics.median(fetches)
    report(
        [
            Figure("loopback, nothing done with it", size / statistics.median(copies) / 1e6, "MB/s"),
            Figure("disk, one file and one sync", size / statistics.median(writes) / 1e6, "MB/s"),
            Figure("first start: fetched, verified, synced", rate / 1e6, "MB/s"),
            Figure("first start, of the limit", 100 * rate / limit, "%", goal=80, better="higher"),
            Figure("next start, the source is asked, slowest of 10", max(asked), "s", goal=1.0),
            Figure("next start, a source with a version, slowest of 10", max(unasked), "s", goal=1.0),
        ],
        options.json,
        f"{options.gib:g} GiB in {FILES} files, {CONNECTIONS} connections",
    )


if __name__ == "__main__":
    threading.stack_size(1 << 20)
    main()
