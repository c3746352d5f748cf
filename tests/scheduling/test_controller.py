"""The scheduler as a process and in one: killed at a binding, told of kinds that come later, patient with news."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from fairlead.api.queue import QUEUES
from fairlead.kube.kinds import PODS
from fairlead.kube.objects.meta import find_condition
from fairlead.scheduling.commit.queue_reports import EVERY_S
from patience import PATIENCE_S
from scheduling.commit.cluster import Cluster, eventually
from scheduling.commit.conftest import cluster, kubeconfig  # noqa: F401 (fixtures)
from scheduling.commit.faulty_proxy import Seen


def _start(cluster: Cluster, url: str, folder: Path) -> subprocess.Popen[bytes]:  # noqa: F811
    """`fairlead controllers` with the scheduler, through a proxy."""
    found = folder / "kubeconfig"
    found.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    command = [sys.executable, "-m", "fairlead.cli.main", "controllers", "--kubeconfig", str(found)]
    command += ["--only", "platform", "--scheduler-names", cluster.scheduler]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


async def test_a_process_that_is_killed_between_bindings_is_made_up_for_by_the_next(
    cluster: Cluster,  # noqa: F811
    tmp_path: Path,
) -> None:
    await cluster.build(2, 2)
    names = [f"w{i}" for i in range(4)]
    for name in names:
        await cluster.pod(name, gang="g", size=4)
    async with cluster.proxy() as proxy:
        killed = asyncio.Event()
        bindings = 0
        process = _start(cluster, proxy.url, tmp_path)

        async def kill(seen: Seen) -> str:
            nonlocal bindings
            if killed.is_set():
                return "refused"
            bindings += seen.step == "binding"
            if bindings == 3:
                os.kill(process.pid, signal.SIGKILL)
                killed.set()
                return "refused"
            return ""

        proxy.fault = kill

        async def it_is_killed() -> bool:
            said = (tmp_path / "log").read_text()[-2000:]
            assert killed.is_set() or process.poll() is None, f"it ended by itself: {said}"
            return killed.is_set()

        try:
            await eventually(it_is_killed)
        finally:
            process.kill()
            process.wait(PATIENCE_S)
        async with cluster.scheduling():
            await eventually(lambda: cluster.all_bound(names))
            await cluster.check()


async def test_a_queue_is_told_what_it_holds(cluster: Cluster) -> None:  # noqa: F811
    await cluster.build(1, 2)
    queue = cluster.namespace
    spec = {"resources": {"cpu": {"quota": 4}}}
    await cluster.client.create(QUEUES, {"metadata": {"name": queue}, "spec": spec})
    async with cluster.proxy() as proxy, cluster.scheduling(proxy.url):
        await cluster.pod("p", labels={"fairlead.dev/queue": queue})
        await eventually(lambda: cluster.all_bound(["p"]))

        async def is_told() -> bool:
            status = (await cluster.client.get(QUEUES, queue)).get("status") or {}
            ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
            return ready.get("status") == "True" and (status.get("allocated") or {}).get("cpu") == "100m"

        await eventually(is_told)
        written = [seen for seen in proxy.writes if seen.path.endswith(f"/queues/{queue}/status")]
        await asyncio.sleep(EVERY_S + 1.0)
        assert [seen for seen in proxy.writes if seen.path.endswith(f"/queues/{queue}/status")] == written
    await cluster.client.delete(QUEUES, queue)


async def test_a_pod_that_waits_for_its_claim_is_not_told_at_once(cluster: Cluster) -> None:  # noqa: F811
    await cluster.build(1, 1)
    async with cluster.proxy() as proxy, cluster.scheduling(proxy.url):
        await cluster.pod("p", devices=0, claims=["later"])
        await asyncio.sleep(0.5)
        await cluster.claim("later", {"deviceClassName": cluster.driver})
        await eventually(lambda: cluster.all_bound(["p"]))
        assert not [seen for seen in proxy.writes if seen.path.endswith("/pods/p/status")]


async def test_pods_without_room_are_told_once_and_placed_when_there_is(cluster: Cluster) -> None:  # noqa: F811
    await cluster.build(1, 1)
    async with cluster.proxy() as proxy, cluster.scheduling(proxy.url):
        for name in ("a", "b"):
            await cluster.pod(name)

        async def told() -> str:
            for pod in (await cluster.pods()).values():
                condition = find_condition(pod.status.conditions, "PodScheduled")
                if condition is not None and condition.status == "False":
                    return str(pod.metadata.name)
            return ""

        waiting = await eventually(told)
        await asyncio.sleep(2.5)
        assert len([seen for seen in proxy.writes if seen.path.endswith(f"/pods/{waiting}/status")]) == 1
        other = "a" if waiting == "b" else "b"
        await cluster.client.delete(PODS, other, cluster.namespace, grace_period_s=0)
        await eventually(lambda: cluster.all_bound([waiting]), 20.0)
