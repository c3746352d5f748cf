"""The same pods as a Deployment or a LeaderWorkerSet keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.serving.render import foreign_workloads, pools
from fairlead.serving.resolve import resolve_service
from fairlead.serving.resolved import Unservable
from serving.resolve.services import FACTS, VLLM, service

SPREAD: dict[str, Any] = {"parallelism": {"tensor": 4, "hosts": 2}}


def made(desired: dict[Any, int] | None = None, **spec: Any) -> list[dict[str, Any]]:
    one = service(**spec)
    return foreign_workloads(one, resolve_service(one, (), FACTS), desired or {"unified": 3})


def test_fairleads_own_replicas_need_none() -> None:
    assert made() == []


def test_a_deployment_for_each_role() -> None:
    roles = [{"name": "prefill"}, {"name": "decode"}]
    prefill, decode = made({"prefill": 1, "decode": 2}, workload="Deployment", roles=roles, rollout={"maxSurge": "25%"})
    assert (prefill["metadata"]["name"], decode["spec"]["replicas"]) == ("chat-prefill", 2)
    assert prefill["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    assert (
        prefill["spec"]["selector"]["matchLabels"].items() <= prefill["spec"]["template"]["metadata"]["labels"].items()
    )


@pytest.mark.parametrize("spec", [{"workload": "Deployment"}, {"workload": "LeaderWorkerSet", **VLLM, **SPREAD}])
def test_their_pods_are_in_the_pool(spec: dict[str, Any]) -> None:
    one = service(**spec)
    resolved = resolve_service(one, (), FACTS)
    (workload,) = foreign_workloads(one, resolved, {"unified": 1})
    (pool,) = pools(one, resolved)
    template = workload["spec"].get("template") or workload["spec"]["leaderWorkerTemplate"]["leaderTemplate"]
    assert pool["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    container = template["spec"]["containers"][0]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == 1
    assert template["spec"]["terminationGracePeriodSeconds"] == 31


@pytest.mark.parametrize(
    ("policy", "restarts"), [("Gang", "RecreateGroupOnPodRestart"), ("Member", "None"), ("None", "None")]
)
def test_a_leader_worker_set_of_groups(policy: str, restarts: str) -> None:
    (one,) = made(**VLLM, **SPREAD, workload="LeaderWorkerSet", recovery={"policy": policy})
    template = one["spec"]["leaderWorkerTemplate"]
    assert (one["spec"]["replicas"], template["size"], template["restartPolicy"]) == (3, 2, restarts)
    assert "fairlead.dev/member" not in template["workerTemplate"]["metadata"]["labels"]
    assert "--headless" in template["workerTemplate"]["spec"]["containers"][0]["command"]
    names = {e["name"] for e in template["leaderTemplate"]["spec"]["containers"][0]["env"]}
    assert not any(name.startswith("LWS_") for name in names), "its own controller gives them"


def test_a_leader_worker_set_of_single_pods_has_one_template() -> None:
    (one,) = made(workload="LeaderWorkerSet")
    template = one["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 1 and "leaderTemplate" not in template
    assert template["workerTemplate"]["metadata"]["labels"]["fairlead.dev/member"] == "0"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"workload": "Deployment", **VLLM, **SPREAD}, "take LeaderWorkerSet"),
        ({"workload": "LeaderWorkerSet", **VLLM, "parallelism": {"data": 6, "hosts": 3}}, "its workers are all alike"),
    ],
)
def test_what_they_cannot_keep_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(Unservable, match=said):
        made(**spec)
