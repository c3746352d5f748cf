"""A real registry (Debian's docker-registry) for the tests of the store; one per worker."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.store.debian import find


@dataclass(frozen=True)
class LiveRegistry:
    """A running registry: its host, where it keeps its files, and the access log that it writes."""

    host: str
    storage: Path
    log: Path


def start_registry(folder: Path, extra: str = "") -> tuple[LiveRegistry, subprocess.Popen[bytes]]:
    """Run docker-registry on a free loopback port, with `extra` under the key `auth` or `http`."""
    program, environment = find("docker-registry", "docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        registry = LiveRegistry(f"127.0.0.1:{port}", folder / "data", folder / "log")
        config = folder / "config.yml"
        http = "http:\n  addr: " + registry.host + "\n"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {registry.storage}}}, delete: {{enabled: true}}}}\n"
            + (extra if extra.startswith("http:") else http + extra).replace("HOST", registry.host)
        )
        with open(registry.log, "ab") as log:
            process = subprocess.Popen(
                [program, "serve", str(config)], stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder
            )
        if _answers(port, process):
            return registry, process
    raise RuntimeError(f"docker-registry does not start: {registry.log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    live, process = start_registry(tmp_path_factory.mktemp("registry"))
    yield live
    stop(process)


@pytest.fixture(scope="session")
def skopeo() -> tuple[str, dict[str, str]]:
    return find("skopeo", "skopeo", "libgpgme11", "libassuan0", "libgpg-error0", "libdevmapper1.02.1")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder]).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    import time

    for _ in range(200):
        if process.poll() is not None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return True
        except OSError:
            time.sleep(0.05)
    stop(process)
    return False
