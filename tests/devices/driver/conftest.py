"""A real API server, and folders with paths short enough for sockets."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairlead.kube import AlreadyExists, Client
from fairlead.kube.kinds import NAMESPACES
from fairlead.kube.objects import Namespace, ObjectMeta
from patience import PATIENCE_S


def _start(data: Path) -> tuple[subprocess.Popen[bytes], Path]:
    with (data / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(data / "api"), "--api-port", "0"],
            stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert process.stdout is not None
    timer = threading.Timer(PATIENCE_S, process.kill)
    timer.start()
    line = process.stdout.readline().decode()
    timer.cancel()
    match = re.search(r"\(kubeconfig (.+)\)", line)
    assert match is not None, f"no address in {line!r}; log: {(data / 'log').read_text()[-2000:]}"
    return process, Path(match[1])


@pytest.fixture(scope="session")
def dra_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of an embedded API server that tests share; use a namespace and node names of your own."""
    process, kubeconfig = _start(tmp_path_factory.mktemp("dra-api"))
    yield kubeconfig
    process.kill()
    process.wait(PATIENCE_S)


@pytest.fixture
async def dra_client(dra_kubeconfig: Path) -> AsyncIterator[Client]:
    async with Client.load(dra_kubeconfig) as client:
        yield client


@pytest.fixture
async def dra_namespace(dra_client: Client) -> str:
    name = f"dra-{uuid.uuid4().hex[:8]}"
    labels = {"resource.kubernetes.io/admin-access": "true"}
    with contextlib.suppress(AlreadyExists):
        await dra_client.create(NAMESPACES, Namespace(metadata=ObjectMeta(name=name, labels=labels)))
    return name


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder of the test's own whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="dra-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
