"""Workload controllers on a real API server: what their decisions alone cannot show."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from embedded.controllers.conftest import Controllers, World, eventually, start_controllers
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.job_pods import FINALIZER
from fairlead.kube.resources import Resource
from patience import PATIENCE_S

EVENTS = Resource.of("v1", "events", "Event")
LEASES = Resource.of("coordination.k8s.io/v1", "leases", "Lease")
Object = dict[str, Any]

AT_WORK = "started"
"""What the controllers' log says when they begin to reconcile."""
FIRST_LIFE_S, LONGER, GIVE_UP_S = 0.05, 1.5, 200.0


def owner_of(obj: Object) -> str | None:
    return next((r["name"] for r in obj["metadata"].get("ownerReferences") or () if r.get("controller")), None)


async def test_pods_are_released_and_adopted_as_their_labels_change(world: World) -> None:
    await world.workload(a.REPLICA_SETS, "rs", 2)

    async def two() -> list[Object]:
        pods = [p for p in await world.all(a.PODS, "app=rs") if owner_of(p) == "rs"]
        return pods if len(pods) == 2 else []

    first, second = await eventually(two)
    stray = first["metadata"]["name"]
    await world.patch(a.PODS, stray, {"metadata": {"labels": {"app": "debug"}}})

    async def released() -> bool:
        return owner_of(await world.get(a.PODS, stray)) is None

    await eventually(released)
    replaced = await eventually(two)
    assert stray not in {p["metadata"]["name"] for p in replaced}
    # Back among the others there is one too many: it is adopted, and one of the three goes.
    await world.patch(a.PODS, stray, {"metadata": {"labels": {"app": "rs"}}})

    async def settled() -> bool:
        pods = await world.all(a.PODS, "app=rs")
        return len(pods) == 2 and all(owner_of(p) == "rs" for p in pods)

    await eventually(settled)
    assert second["metadata"]["name"]


async def test_a_deployment_takes_over_a_replica_set_of_its_template_and_releases_strays(world: World) -> None:
    await world.workload(a.DEPLOYMENTS, "web", 1)

    async def sets() -> list[Object]:
        return await world.all(a.REPLICA_SETS, "app=web")

    (rs,) = await eventually(sets)
    name = rs["metadata"]["name"]
    await world.client.delete(a.DEPLOYMENTS, "web", world.namespace, propagation="Orphan")

    async def orphaned() -> bool:
        return owner_of(await world.get(a.REPLICA_SETS, name)) is None

    async def deployment_is_gone() -> bool:
        return not await world.all(a.DEPLOYMENTS)

    await eventually(orphaned)
    await eventually(deployment_is_gone)
    await world.workload(a.DEPLOYMENTS, "web", 1)

    async def adopted() -> bool:
        return owner_of(await world.get(a.REPLICA_SETS, name)) == "web"

    await eventually(adopted)
    assert len(await sets()) == 1

    async def revision() -> str:
        annotations = (await world.get(a.DEPLOYMENTS, "web"))["metadata"].get("annotations") or {}
        return str(annotations.get("deployment.kubernetes.io/revision", ""))

    assert await eventually(revision) == "1"


async def test_a_rollout_reports_as_a_controller_manager_does(world: World) -> None:
    await world.workload(a.DEPLOYMENTS, "web", 2)

    async def pods() -> list[Object]:
        found = await world.all(a.PODS, "app=web")
        return found if len(found) == 2 else []

    for pod in await eventually(pods):
        await world.report(pod, "Running", ready=True)

    async def complete() -> Object | None:
        found = await world.get(a.DEPLOYMENTS, "web")
        conditions = (found.get("status") or {}).get("conditions") or [{}]
        return found if conditions[-1].get("reason") == "NewReplicaSetAvailable" else None

    done = await eventually(complete)
    assert [(c["type"], c["status"]) for c in done["status"]["conditions"]] == [
        ("Available", "True"), ("Progressing", "True"),
    ]  # fmt: skip
    writers = {(m["manager"], m.get("subresource")) for m in done["metadata"]["managedFields"]}
    assert ("kube-controller-manager", "status") in writers

    async def events() -> list[tuple[str, str, str]]:
        found = [(e["source"]["component"], e["reason"], e["message"]) for e in await world.all(EVENTS)]
        return found if len(found) >= 3 else []

    told = await eventually(events)
    (rs,) = await world.all(a.REPLICA_SETS)
    name = rs["metadata"]["name"]
    assert ("deployment-controller", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to 2") in told
    assert sum(t[:2] == ("replicaset-controller", "SuccessfulCreate") for t in told) == 2


async def test_creations_that_are_refused_are_told(world: World) -> None:
    container = {"name": "c", "image": "a"}
    spec = {"containers": [container], "serviceAccountName": "missing"}
    await world.workload(
        a.REPLICA_SETS, "rs", 1, template={"metadata": {"labels": {"app": "rs"}}, "spec": spec}
    )  # fmt: skip

    async def failure() -> Object | None:
        conditions = ((await world.get(a.REPLICA_SETS, "rs")).get("status") or {}).get("conditions") or []
        return next((c for c in conditions if c["type"] == "ReplicaFailure"), None)

    told = await eventually(failure)
    assert (told["status"], told["reason"]) == ("True", "FailedCreate") and "missing" in told["message"]


async def test_a_deleted_job_lets_its_pods_go_however_it_is_deleted(world: World) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}}
    for name in ("background", "orphan"):
        await world.create(a.JOBS, name, spec={"parallelism": 2, "template": template})

    async def started() -> bool:
        return len([p for p in await world.all(a.PODS) if FINALIZER in p["metadata"].get("finalizers", ())]) == 4

    await eventually(started)
    await world.client.delete(a.JOBS, "background", world.namespace, propagation="Background")
    await world.client.delete(a.JOBS, "orphan", world.namespace, propagation="Orphan")

    async def released() -> bool:
        pods = await world.all(a.PODS)
        return len(pods) == 2 and not any(FINALIZER in p["metadata"].get("finalizers", ()) for p in pods)

    async def orphaned() -> bool:
        return all(owner_of(p) is None for p in await world.all(a.PODS))

    await eventually(released)
    await eventually(orphaned)


async def test_pods_of_a_job_are_counted_once_though_the_controllers_are_killed_all_the_time(
    bare_world: World, bare_server: Path, tmp_path: Path
) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}}
    spec = {"completions": 6, "parallelism": 3, "backoffLimit": 100, "template": template}
    await bare_world.create(a.JOBS, "j", spec=spec)
    ended: dict[str, str] = {}

    async def done() -> Object | None:
        for pod in await bare_world.all(a.PODS, "job-name=j"):
            if pod["status"]["phase"] == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                phase = "Failed" if len(ended) == 2 else "Succeeded"
                ended[pod["metadata"]["uid"]] = phase
                old = "2020-01-01T00:00:00Z"
                state = {"terminated": {"exitCode": 0, "finishedAt": old, "startedAt": old}}
                status = {"name": "c", "image": "a", "imageID": "", "ready": False, "restartCount": 0, "state": state}
                await bare_world.report(pod, phase, containerStatuses=[status])
        found = await bare_world.get(a.JOBS, "j")
        kinds = [c["type"] for c in (found.get("status") or {}).get("conditions") or ()]
        return found if "Complete" in kinds else None

    result = await _through_kills(bare_server, tmp_path, done)
    assert result is not None, (tmp_path / "log").read_text()[-2000:]
    assert result["status"]["succeeded"] == 6
    assert result["status"].get("failed", 0) == sum(p == "Failed" for p in ended.values())
    assert len(ended) == 6 + result["status"].get("failed", 0)


async def _through_kills(kubeconfig: Path, folder: Path, check: Callable[[], Awaitable[Any]]) -> Any:
    """The first true result of `check` while the controllers are killed and started anew; None when there is none.

    A life is counted from the moment at which the controllers are at work, not from the start of their process, and
    each may be longer than the one before: the first end amid their first writes, and however slow the machine is,
    there comes one that is long enough.
    """
    log, dice, longest_s = folder / "log", random.Random(0), FIRST_LIFE_S
    give_up_s = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up_s:
        before = log.read_text().count(AT_WORK) if log.exists() else 0
        controllers = start_controllers(kubeconfig, log)
        try:
            await eventually(partial(_has_begun, controllers, before))
            end_s = time.monotonic() + dice.uniform(0, longest_s)
            while True:
                if result := await check():
                    return result
                if time.monotonic() > end_s:
                    break
                await asyncio.sleep(0.02)
        finally:
            controllers.kill()
        longest_s *= LONGER
    return None


async def _has_begun(controllers: Controllers, before: int) -> bool:
    return controllers.log.read_text().count(AT_WORK) > before


async def test_a_rollout_survives_kills_within_its_bounds(bare_world: World, bare_server: Path, tmp_path: Path) -> None:
    replicas, surge, spare = 12, 3, 3
    await bare_world.workload(a.DEPLOYMENTS, "web", replicas)
    image, peak = "a", 0

    async def rolled() -> bool:
        nonlocal peak
        pods = [p for p in await bare_world.all(a.PODS, "app=web") if "deletionTimestamp" not in p["metadata"]]
        for pod in pods:
            if pod["status"]["phase"] == "Pending":
                await bare_world.report(pod, "Running", ready=True)
        peak = max(peak, len(pods))
        ready = [p for p in pods if p["status"]["phase"] == "Running"]
        assert image == "a" or len(ready) >= replicas - spare
        new = [p for p in ready if p["spec"]["containers"][0]["image"] == image]
        return len(new) == len(pods) == replicas

    assert await _through_kills(bare_server, tmp_path, rolled), (tmp_path / "log").read_text()[-2000:]
    image = "b"
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "b"}]}}
    await bare_world.patch(a.DEPLOYMENTS, "web", {"spec": {"template": template}})
    assert await _through_kills(bare_server, tmp_path, rolled), (tmp_path / "log").read_text()[-2000:]
    assert peak <= replicas + surge and len(await bare_world.all(a.REPLICA_SETS)) == 2


async def test_two_processes_elect_one_and_a_killed_leader_is_followed(
    bare_world: World, bare_server: Path, tmp_path: Path
) -> None:
    first = start_controllers(bare_server, tmp_path / "first", "--leader-elect")
    second = start_controllers(bare_server, tmp_path / "second", "--leader-elect")
    try:
        await bare_world.workload(a.DEPLOYMENTS, "web", 2)

        async def pods() -> list[Object]:
            found = await bare_world.all(a.PODS, "app=web")
            return found if len(found) >= 2 else []

        await eventually(pods)
        await asyncio.sleep(0.5)
        assert len(await bare_world.all(a.PODS)) == 2 and len(await bare_world.all(a.REPLICA_SETS)) == 1
        leaders = [c for c in (first, second) if "started" in c.log.read_text()]
        assert len(leaders) == 1
        leaders[0].process.terminate()
        leaders[0].process.wait(PATIENCE_S)
        await bare_world.patch(a.DEPLOYMENTS, "web", {"spec": {"replicas": 3}})

        async def three() -> bool:
            return len(await bare_world.all(a.PODS, "app=web")) == 3

        await eventually(three)
    finally:
        first.kill()
        second.kill()
