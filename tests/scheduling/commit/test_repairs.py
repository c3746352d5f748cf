"""Losses of running pods on a real API server: the whole gang leaves at once, and is told why."""

from __future__ import annotations

import asyncio

from fairlead.kube.kinds import DEVICE_TAINT_RULES, EVENTS, JOBS, NODES, PODS
from scheduling.commit.cluster import Cluster, eventually


async def _bound(cluster: Cluster, count: int, **options: object) -> list[str]:
    names = [f"w{i}" for i in range(count)]
    for name in names:
        await cluster.pod(name, gang="g", size=count, **options)  # type: ignore[arg-type]
    await eventually(lambda: cluster.all_bound(names))
    return names


async def _leave(cluster: Cluster, names: list[str], within_s: float) -> None:
    async def are_gone() -> bool:
        pods = await cluster.pods()
        return not any(name in pods for name in names)

    await eventually(are_gone, within_s)


async def _messages(cluster: Cluster, reason: str) -> list[str]:
    return [e.message for e in (await cluster.client.list(EVENTS, cluster.namespace)).items if e.reason == reason]


async def test_a_tainted_device_costs_the_whole_gang_and_says_which(cluster: Cluster) -> None:
    await cluster.build(2, 2)
    async with cluster.scheduling():
        names = await _bound(cluster, 4)
        await cluster.offer(cluster.nodes[0], tainted=[1], generation=2)
        await _leave(cluster, names, 10.0)

        async def is_told() -> bool:
            told = await _messages(cluster, "DeviceTainted")
            wanted = f"device {cluster.driver}/{cluster.nodes[0]}/d1 has the taint fault=xid:NoExecute: gang"
            return len(told) == 4 and all(message.startswith(wanted) for message in told)

        await eventually(is_told)


async def test_a_gang_that_replaces_members_loses_only_the_one(cluster: Cluster) -> None:
    await cluster.build(1, 4)
    async with cluster.scheduling():
        names = await _bound(cluster, 4, recovery="member")
        claims = await cluster.claims()
        hit = next(
            name for name in names
            if claims[f"{name}-own"].status.allocation.devices.results[0].device == "d2"  # type: ignore[union-attr]
        )  # fmt: skip
        await cluster.offer(cluster.nodes[0], tainted=[2], generation=2)
        await _leave(cluster, [hit], 10.0)
        assert set(await cluster.pods()) == set(names) - {hit}


async def test_tolerations_in_seconds_are_waited_for(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    async with cluster.scheduling():
        patience = [{"key": "fault", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}]
        await cluster.pod("p", tolerations=patience)
        await eventually(lambda: cluster.all_bound(["p"]))
        await cluster.offer(cluster.nodes[0], tainted=[0], generation=2)
        await asyncio.sleep(0.7)
        assert "p" in await cluster.pods()
        await _leave(cluster, ["p"], 10.0)


async def test_a_rule_that_comes_later_taints_too(cluster: Cluster) -> None:
    await cluster.build(1, 2)
    rule = {"deviceSelector": {"driver": cluster.driver, "device": "d0"}, "taint": {"key": "r", "effect": "NoExecute"}}
    async with cluster.scheduling():
        names = await _bound(cluster, 2)
        rules = DEVICE_TAINT_RULES.as_unstructured()
        await cluster.client.create(rules, {"metadata": {"name": cluster.namespace}, "spec": rule})
        await _leave(cluster, names, 10.0)
        await cluster.client.delete(rules, cluster.namespace)


async def test_a_device_that_its_pool_no_longer_has_is_lost(cluster: Cluster) -> None:
    await cluster.build(1, 2)
    async with cluster.scheduling():
        names = await _bound(cluster, 2)
        await cluster.offer(cluster.nodes[0], without=[1], generation=2)
        await _leave(cluster, names, 10.0)


async def test_a_lost_member_or_node_costs_the_gang(cluster: Cluster) -> None:
    await cluster.build(2, 2)
    async with cluster.scheduling():
        names = await _bound(cluster, 4)
        await cluster.client.delete(PODS, "w0", cluster.namespace, grace_period_s=0)
        await _leave(cluster, names, 10.0)

        async def is_told() -> bool:
            return f"pod {cluster.namespace}/w0 was deleted" in " ".join(await _messages(cluster, "MemberGone"))

        await eventually(is_told)


async def test_a_job_recreates_its_gang_elsewhere(cluster: Cluster) -> None:
    await cluster.build(3, 2)
    container = {"name": "c", "image": "a", "resources": {"requests": {"cpu": "100m"}}}
    spec = {
        "completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 9,
        "template": {
            "metadata": {
                "labels": {"fairlead.dev/gang": "j"},
                "annotations": {"fairlead.dev/gang-spec": '{"min": 2}'},
            },
            "spec": {
                "schedulerName": cluster.scheduler, "nodeSelector": {"own": cluster.namespace},
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container],
            },
        },
    }  # fmt: skip
    async with cluster.scheduling():
        await cluster.client.create(
            JOBS.as_unstructured(), {"metadata": {"name": "j"}, "spec": spec}, cluster.namespace
        )

        async def two_on(avoided: str) -> list[str]:
            pods = [p for p in (await cluster.pods()).values() if not p.metadata.is_deleting]
            nodes = [p.spec.node_name for p in pods]
            return [p.metadata.uid for p in pods] if len(nodes) == 2 and all(nodes) and avoided not in nodes else []

        first = await eventually(lambda: two_on(""))
        lost = next(p.spec.node_name for p in (await cluster.pods()).values())
        taint = {"key": "gone", "effect": "NoExecute"}
        await cluster.client.patch(NODES, lost, {"spec": {"taints": [taint]}})
        second = await eventually(lambda: two_on(lost), 20.0)
        assert not set(first) & set(second)
