"""Names in pods, as real programs resolve them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from agent_platform import PODS, SERVICE_ACCOUNTS, Cluster, Platform, phase, shell

from fairlead.clock import SYSTEM
from fairlead.embedded.agent.addresses import reserve_range
from fairlead.embedded.agent.dns_check import check_dns
from fairlead.embedded.agent.mount_check import check_mounts
from fairlead.embedded.controllers.access import Cluster as Copies
from fairlead.embedded.controllers.names import NamesInCopies
from fairlead.embedded.dns.server import NameServer
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.informer import Informers
from fairlead.kube.resources import Resource
from patience import PATIENCE_S

SERVICES = Resource.of("v1", "services", "Service")
RESOLVE = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])"


def _python(name: str) -> str:
    return f"{sys.executable} -c '{RESOLVE}' {name}"


@pytest.fixture(autouse=True)
def _mounts() -> None:
    can, why = check_mounts()
    if not can:
        pytest.skip(f"containers have no namespaces of their own here: {why}")


async def test_a_pod_knows_itself_and_its_aliases(cluster: Cluster) -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["one.example", "one"]}]
    script = f"getent hosts one.example; getent hosts aliased; {_python('one')}; {_python('localhost')}"
    await cluster.run("aliased", shell(script), restartPolicy="Never", hostAliases=aliases)
    pod = await cluster.until("aliased", lambda p: phase(p) == "Succeeded")
    lines = [line.split() for line in (await cluster.logs("aliased")).splitlines()]
    assert lines[0][:2] == ["10.1.2.3", "one.example"]
    assert lines[1] == [pod["status"]["podIP"], "aliased"]
    assert [lines[2], lines[3]] == [["10.1.2.3"], ["127.0.0.1"]]


async def test_a_volume_at_etc_hosts_is_the_pods_own(cluster: Cluster) -> None:
    init = shell("echo 10.7.7.7 mine > /own/hosts", volumeMounts=[{"name": "own", "mountPath": "/own"}])
    mount = {"name": "own", "mountPath": "/etc/hosts", "subPath": "hosts"}
    await cluster.run(
        "own-hosts", shell("getent hosts mine", volumeMounts=[mount]), restartPolicy="Never",
        initContainers=[{**init, "name": "write"}], volumes=[{"name": "own", "emptyDir": {}}],
    )  # fmt: skip
    await cluster.until("own-hosts", lambda p: phase(p) == "Succeeded")
    assert (await cluster.logs("own-hosts")).split() == ["10.7.7.7", "mine"]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, str]]:
    """A platform whose pods ask a name server of the test's, and that server's address."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "dns").mkdir()
    address = f"{reserve_range(folder / 'dns')}.10"
    why = check_dns(address)
    if why:
        pytest.skip(why)
    platform = Platform(folder, "--cluster-dns", address)
    try:
        platform.start()
        yield platform, address
    finally:
        platform.stop()


@contextlib.asynccontextmanager
async def _serving(client: Client, address: str) -> AsyncIterator[None]:
    informers = Informers(client)
    server = NameServer(NamesInCopies(Copies(client, informers, SYSTEM)), address)
    async with informers:
        task = asyncio.create_task(server.serve())
        try:
            await informers.wait_synced(PATIENCE_S)
            async with asyncio.timeout(PATIENCE_S):
                await server.started.wait()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_pods_find_each_other_by_the_names_of_a_headless_service(named: tuple[Platform, str]) -> None:
    platform, address = named
    async with Client.load(platform.kubeconfig) as client:
        cluster = Cluster(platform, client)
        with contextlib.suppress(AlreadyExists):
            await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        spec = {"clusterIP": "None", "selector": {"set": "pair"}, "publishNotReadyAddresses": True}
        await client.create(SERVICES, {"metadata": {"name": "pair"}, "spec": spec}, "default")
        labels = {"metadata": {"labels": {"set": "pair"}}, "subdomain": "pair"}
        await cluster.run("pair-0", shell("exec sleep 600"), hostname="pair-0", **labels)
        leader = await cluster.until("pair-0", lambda p: phase(p) == "Running")
        ip = leader["status"]["podIP"]
        async with _serving(client, address):
            # As upstream's LWS_LEADER_ADDRESS has it, and the other forms that a resolv.conf makes possible.
            names = ["pair-0.pair.default", "pair-0.pair", "pair-0.pair.default.svc.cluster.local"]
            script = "; ".join([*(f"getent ahostsv4 {n} | head -1" for n in names), *map(_python, names)])
            await cluster.run("pair-1", shell(script), hostname="pair-1", restartPolicy="Never", **labels)
            await cluster.until("pair-1", lambda p: phase(p) == "Succeeded")
            found = [line.split()[0] for line in (await cluster.logs("pair-1")).splitlines()]
            assert found == [ip] * 6
            # A pod that takes the leader's place is found in its place.
            await client.delete(PODS, "pair-0", "default", grace_period_s=0)
            await cluster.until_gone("pair-0")
            await cluster.run("pair-0", shell("exec sleep 600"), hostname="pair-0", **labels)
            again = (await cluster.until("pair-0", lambda p: phase(p) == "Running"))["status"]["podIP"]
            script = f'until [ "$({_python("pair-0.pair")})" = {again} ]; do sleep 0.2; done; echo found'
            await cluster.run("pair-2", shell(script), restartPolicy="Never", **labels)
            await cluster.until("pair-2", lambda p: phase(p) == "Succeeded")


def test_who_may_not_listen_is_told_what_to_do() -> None:
    if os.geteuid() == 0:
        # Root is told of what stands in its way.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.98.7.6", 53))
            assert "another program listens on port 53" in check_dns("127.98.7.6")
    else:
        assert check_dns("127.98.7.6") == "" or "ip_unprivileged_port_start" in check_dns("127.98.7.6")
