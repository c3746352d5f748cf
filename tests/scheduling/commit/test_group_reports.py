"""What PodGroups are told on a real API server."""

from __future__ import annotations

from typing import Any

from fairlead.kube.kinds import POD_GROUP_VERSIONS, PODS
from fairlead.kube.objects.meta import find_condition
from scheduling.commit.cluster import Cluster, eventually

_GROUPS = POD_GROUP_VERSIONS[-1]


async def _group(cluster: Cluster, name: str, least: int) -> None:
    body = {"metadata": {"name": name}, "spec": {"schedulingPolicy": {"gang": {"minCount": least}}}}
    await cluster.client.create(_GROUPS.as_unstructured(), body, cluster.namespace)


async def _pod(cluster: Cluster, name: str, group: str, cpu: str = "1") -> None:
    spec: dict[str, Any] = {
        "schedulerName": cluster.scheduler,
        "schedulingGroup": {"podGroupName": group},
        "nodeSelector": {"own": cluster.namespace},
        "containers": [{"name": "c", "image": "a", "resources": {"requests": {"cpu": cpu}}}],
    }
    await cluster.client.create(PODS.as_unstructured(), {"metadata": {"name": name}, "spec": spec}, cluster.namespace)


async def _told(cluster: Cluster, name: str) -> tuple[str, str]:
    group = await cluster.client.get(_GROUPS, name, cluster.namespace)
    condition = find_condition(group.status.conditions, "PodGroupScheduled")
    return ("", "") if condition is None else (condition.status, condition.reason)


async def test_a_group_is_told_why_it_waits_and_then_that_it_is_placed(cluster: Cluster) -> None:
    await cluster.build(nodes=1, devices=0, cpu="4")
    await _group(cluster, "g", 2)
    async with cluster.scheduling():
        await _pod(cluster, "a", "g")
        assert await eventually(lambda: _is(cluster, "g", ("False", "Unschedulable")))
        await _pod(cluster, "b", "g")
        assert await eventually(lambda: _is(cluster, "g", ("True", "Scheduled")))


async def test_a_pod_beyond_what_a_group_must_have_does_not_take_its_place_away(cluster: Cluster) -> None:
    await cluster.build(nodes=1, devices=0, cpu="4")
    await _group(cluster, "g", 1)
    async with cluster.scheduling():
        await _pod(cluster, "a", "g")
        assert await eventually(lambda: _is(cluster, "g", ("True", "Scheduled")))
        await _pod(cluster, "large", "g", cpu="99")

        async def is_told() -> bool:
            return find_condition((await cluster.pods())["large"].status.conditions, "PodScheduled") is not None

        await eventually(is_told)
        # News of a pod and of its group are written at the same time: another group's come after both.
        await _group(cluster, "later", 2)
        await _pod(cluster, "c", "later")
        assert await eventually(lambda: _is(cluster, "later", ("False", "Unschedulable")))
        assert await _told(cluster, "g") == ("True", "Scheduled")


async def _is(cluster: Cluster, name: str, told: tuple[str, str]) -> bool:
    return await _told(cluster, name) == told
