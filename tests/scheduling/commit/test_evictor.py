"""Pods that leave for others, on a real API server: conditions, budgets, and room that becomes theirs."""

from __future__ import annotations

from fairlead.kube.kinds import EVENTS, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from fairlead.kube.objects.meta import find_condition
from scheduling.commit.cluster import Cluster, eventually
from scheduling.commit.faulty_proxy import Seen


async def _running(cluster: Cluster, *names: str) -> None:
    """Say of pods what a kubelet would."""
    for name in names:
        conditions = [{"type": "Ready", "status": "True"}]
        body = {"status": {"phase": "Running", "conditions": conditions}}
        await cluster.client.patch(
            PODS, name, body, cluster.namespace, kind="strategic", subresource="status"
        )  # fmt: skip


async def _high(cluster: Cluster) -> str:
    name = f"{cluster.namespace}-high"
    await cluster.client.create(PRIORITY_CLASSES.as_unstructured(), {"metadata": {"name": name}, "value": 1000})
    return name


async def test_a_more_important_pod_gets_the_place_of_another(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    high = await _high(cluster)
    async with cluster.proxy() as proxy, cluster.scheduling(proxy.url):
        await cluster.pod("low")
        await eventually(lambda: cluster.all_bound(["low"]))
        await _running(cluster, "low")
        await cluster.pod("high", priority=high)
        await eventually(lambda: cluster.all_bound(["high"]), 20.0)
        assert "low" not in await cluster.pods()
        paths = [seen.path for seen in proxy.writes]
        marks = [seen.body for seen in proxy.writes if seen.path.endswith("/low/status")]
        assert any(path.endswith("/pods/low/eviction") for path in paths)
        assert any(b"PreemptionByScheduler" in body for body in marks)

        async def is_told() -> bool:
            events = (await cluster.client.list(EVENTS, cluster.namespace)).items
            return any(e.reason == "Preempted" and e.involved_object.name == "low" for e in events)

        await eventually(is_told)


async def test_a_budget_that_refuses_saves_the_pod_and_the_other_is_told(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    high = await _high(cluster)
    async with cluster.scheduling():
        await cluster.pod("low", labels={"app": "low"})
        await eventually(lambda: cluster.all_bound(["low"]))
        await _running(cluster, "low")
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "low"}}}
        budgets = POD_DISRUPTION_BUDGETS.as_unstructured()
        await cluster.client.create(budgets, {"metadata": {"name": "b"}, "spec": spec}, cluster.namespace)

        async def budget_is_known() -> bool:
            found = await cluster.client.get(budgets, "b", cluster.namespace)
            return bool((found.get("status") or {}).get("currentHealthy") == 1)

        await eventually(budget_is_known)
        await cluster.pod("high", priority=high)

        async def is_told() -> bool:
            condition = find_condition((await cluster.pods())["high"].status.conditions, "PodScheduled")
            return condition is not None and condition.reason == "Unschedulable"

        await eventually(is_told)
        pods = await cluster.pods()
        assert pods["low"].spec.node_name and not pods["low"].metadata.is_deleting
        assert not pods["high"].spec.node_name


async def test_a_budget_that_changes_its_mind_ends_the_plan_and_another_is_made(cluster: Cluster) -> None:
    await cluster.build(1, 1)
    high = await _high(cluster)
    refusals = 0
    async with cluster.proxy() as proxy, cluster.scheduling(proxy.url):
        await cluster.pod("low")
        await eventually(lambda: cluster.all_bound(["low"]))
        await _running(cluster, "low")

        async def refuse_twice(seen: Seen) -> str:
            nonlocal refusals
            if not seen.path.endswith("/eviction") or refusals == 2:
                return ""
            refusals += 1
            return "budget"

        proxy.fault = refuse_twice
        await cluster.pod("high", priority=high)
        await eventually(lambda: cluster.all_bound(["high"]), 30.0)
        assert refusals == 2
