"""When the platform counts as ready: what is asked of the API, and what of the answers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.supervisor.component import Ports
from fairlead.embedded.supervisor.readiness import check, complete_pools
from fairlead.kube.client import Client
from fairlead.kube.resources import Resource
from patience import PATIENCE_S

NODES = Resource.of("v1", "nodes", "Node", namespaced=False)
SERVICE_ACCOUNTS = Resource.of("v1", "serviceaccounts", "ServiceAccount")


@pytest.fixture
def bare_api(tmp_path: Path) -> Iterator[Path]:
    """The data folder of an API server beside which nothing runs."""
    log, ready = tmp_path / "log", "ready: https://"
    command = [sys.executable, "-m", "fairlead.embedded.apiserver", "--data", str(tmp_path), "--api-port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while ready not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)
        yield tmp_path
    finally:
        process.kill()
        process.wait(PATIENCE_S)


async def test_a_platform_that_would_refuse_the_first_pod_is_not_ready(bare_api: Path) -> None:
    ports = Ports(1, 1)
    assert check(bare_api, ports).waiting_for == "nodes to register"
    async with Client.load(bare_api / "kubeconfig") as client:
        node = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.create(NODES, node)
        await client.patch(NODES, "n", {"status": node["status"]}, subresource="status")
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "other"}}, "default")
        assert check(bare_api, ports).waiting_for == "service account default in namespace default"
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        assert check(bare_api, ports).waiting_for.startswith("the gateway (")


def piece(pool: str, generation: int, count: int, driver: str = "d") -> dict[str, Any]:
    return {"spec": {"driver": driver, "pool": {"name": pool, "generation": generation, "resourceSliceCount": count}}}


def test_half_a_pool_is_none() -> None:
    assert complete_pools([piece("a", 1, 2)]) == set()
    assert complete_pools([piece("a", 1, 2), piece("a", 1, 2)]) == {("d", "a")}


def test_old_slices_do_not_complete_a_new_generation() -> None:
    assert complete_pools([piece("a", 1, 2), piece("a", 2, 2)]) == set()
    assert complete_pools([piece("a", 2, 1), piece("a", 1, 2)]) == {("d", "a")}


def test_pools_of_two_drivers_are_two() -> None:
    assert complete_pools([piece("a", 1, 1), piece("a", 1, 2, "e")]) == {("d", "a")}


@given(st.permutations([piece("a", 3, 2), piece("a", 3, 2), piece("a", 2, 1), piece("b", 1, 2), piece("b", 4, 1)]))
def test_the_order_of_slices_does_not_matter(slices: list[dict[str, Any]]) -> None:
    assert complete_pools(slices) == {("d", "a"), ("d", "b")}
