"""LeaderWorkerSets on a real API server: the test plays the kubelets."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from embedded.controllers.conftest import World, eventually
from embedded.controllers.lws_builders import LEADER_WORKER_SETS as LWS
from embedded.controllers.lws_builders import PREFIX, Object, definition, rolling, spec, template
from fairlead.embedded.controllers import access as a
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists, Invalid
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.kube.resources import Resource
from group_behaviour import Group, check_group

EVENTS = Resource.of("v1", "events", "Event")
pytestmark = pytest.mark.usefixtures("defined")


@pytest.fixture
async def defined(controlled_server: Path) -> None:
    async with Client.load(controlled_server) as client:
        with contextlib.suppress(AlreadyExists):
            await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())

        async def served() -> bool:
            found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, definition()["metadata"]["name"])
            conditions = (found.get("status") or {}).get("conditions") or ()
            return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

        await eventually(served)


async def pods(world: World, count: int, name: str = "engine") -> list[Object]:
    async def there() -> tuple[list[Object]] | None:
        found = [p for p in await world.all(a.PODS, f"{PREFIX}name={name}") if "deletionTimestamp" not in p["metadata"]]
        return (sorted(found, key=lambda p: p["metadata"]["name"]),) if len(found) == count else None

    (found,) = await eventually(there)
    return found


async def test_groups_are_made_named_and_labelled(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=2, size=3))
    made = await pods(world, 6)
    for index in range(2):
        of_group = [p for p in made if p["metadata"]["labels"][f"{PREFIX}group-index"] == str(index)]
        check_group(of_group, Group("engine", index, 3, world.namespace, "engine"))
    service = await world.get(a.SERVICES, "engine")
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {f"{PREFIX}name": "engine"}


async def test_groups_may_have_services_of_their_own(world: World) -> None:
    config = {"subdomainPolicy": "UniquePerReplica"}
    await world.create(LWS, "engine", spec=spec(replicas=2, size=2, networkConfig=config))
    made = await pods(world, 4)
    for index in range(2):
        of_group = [p for p in made if p["metadata"]["labels"][f"{PREFIX}group-index"] == str(index)]
        leader = next(p for p in of_group if p["metadata"]["name"] == f"engine-{index}")
        assert leader["metadata"]["annotations"].pop(f"{PREFIX}subdomainPolicy") == "UniquePerReplica"
        check_group(of_group, Group("engine", index, 2, world.namespace, f"engine-{index}"))

    async def services() -> bool:
        return {s["metadata"]["name"] for s in await world.all(a.SERVICES)} == {"engine-0", "engine-1"}

    await eventually(services)


async def test_a_set_whose_groups_are_ready_is_available_and_says_so(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=2, size=3))
    for pod in await pods(world, 6):
        await world.report(pod, "Running", ready=True)

    async def available() -> Object | None:
        found = await world.get(LWS, "engine")
        conditions = (found.get("status") or {}).get("conditions") or []
        return found if any(c["type"] == "Available" and c["status"] == "True" for c in conditions) else None

    status = (await eventually(available))["status"]
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Progressing": ("False", "GroupsProgressing"), "Available": ("True", "AllGroupsReady"),
    }  # fmt: skip
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 2)

    async def told() -> bool:
        said = {(e["reason"], e["message"]) for e in await world.all(EVENTS)}
        return said >= {
            ("GroupsProgressing", "Created leader statefulset engine"),
            ("GroupsProgressing", "Created worker statefulset for leader pod engine-1"),
            ("AllGroupsReady", "All replicas are ready, with 2 groups ready of total 2 groups"),
        }

    await eventually(told)


async def ready(world: World, count: int, name: str = "engine") -> dict[str, str]:
    """So many pods, all ready -> name: uid."""
    found = await pods(world, count, name)
    for pod in found:
        if not (pod.get("status") or {}).get("conditions"):
            await world.report(pod, "Running", ready=True)
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in found}


async def replaced(world: World, before: dict[str, str]) -> set[str]:
    """Names of the pods that are others now, once there are as many as before."""
    now = await ready(world, len(before))
    return {name for name, uid in now.items() if before.get(name) != uid}


@pytest.mark.parametrize(
    ("policy", "lost", "expected"),
    [
        ("RecreateGroupOnPodRestart", "engine-1-1", {"engine-1", "engine-1-1", "engine-1-2"}),
        ("RecreateGroupOnPodRestart", "engine-1", {"engine-1", "engine-1-1", "engine-1-2"}),
        ("None", "engine-1-1", {"engine-1-1"}),
    ],
)
async def test_what_a_restart_costs(world: World, policy: str, lost: str, expected: set[str]) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=2, size=3, restartPolicy=policy))
    before = await ready(world, 6)
    if policy == "None":
        await world.client.delete(a.PODS, lost, world.namespace)
    else:
        restarted = [{"name": "engine", "image": "pause", "imageID": "", "ready": True, "restartCount": 1}]
        await world.report(await world.get(a.PODS, lost), "Running", ready=True, containerStatuses=restarted)

    async def done() -> bool:
        return await replaced(world, before) == expected

    await eventually(done)
    if policy != "None":

        async def told() -> bool:
            message = f"Worker pod {lost} failed, deleted leader pod engine-1 to recreate group 1"
            return any(e["reason"] == "RecreateGroup" and e["message"] == message for e in await world.all(EVENTS))

        await eventually(told)


async def test_an_update_goes_from_the_highest_group_and_keeps_each_of_one_revision(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=3, size=2, rolloutStrategy=rolling(1)))
    before = await ready(world, 6)
    changed = template(env=[{"name": "NEW", "value": "1"}])
    await world.patch(LWS, "engine", {"spec": {"leaderWorkerTemplate": {"workerTemplate": changed}}})
    order: list[str] = []

    async def done() -> bool:
        found = [p for p in await world.all(a.PODS, f"{PREFIX}name=engine") if "deletionTimestamp" not in p["metadata"]]
        for pod in found:
            if before.get(pod["metadata"]["name"]) != pod["metadata"]["uid"]:
                group = pod["metadata"]["labels"][f"{PREFIX}group-index"]
                if group not in order:
                    order.append(group)
                # A group is not ready before the next one goes: at most one is away.
                await world.report(pod, "Running", ready=True)
        away = {str(i) for i in range(3)} - {
            p["metadata"]["labels"][f"{PREFIX}group-index"]
            for p in found
            if (p.get("status") or {}).get("conditions", [{}])[-1].get("status") == "True"
        }
        assert len(away) <= 1
        status = (await world.get(LWS, "engine")).get("status") or {}
        return order == ["2", "1", "0"] and status.get("updatedReplicas") == 3 and status.get("readyReplicas") == 3

    await eventually(done)
    made = await pods(world, 6)
    assert all(any(v["name"] == "NEW" for v in p["spec"]["containers"][0]["env"]) for p in made)
    for index in range(3):
        check_group(
            [p for p in made if p["metadata"]["labels"][f"{PREFIX}group-index"] == str(index)],
            Group("engine", index, 2, world.namespace, "engine"),
        )

    async def one_revision() -> bool:
        # Its StatefulSets have revisions of their own, with the same labels.
        found = await world.all(a.REVISIONS, f"{PREFIX}name=engine")
        return sum(r["metadata"]["ownerReferences"][0]["kind"] == "LeaderWorkerSet" for r in found) == 1

    await eventually(one_revision)


async def test_surge_comes_with_an_update_and_goes_with_its_end(world: World) -> None:
    strategy = rolling(0, 1)
    await world.create(LWS, "engine", spec=spec(replicas=2, size=1, rolloutStrategy=strategy))
    await ready(world, 2)
    await world.patch(
        LWS, "engine", {"spec": {"leaderWorkerTemplate": {"workerTemplate": template(args=["x"])}}}
    )  # fmt: skip
    seen: set[str] = set()

    async def done() -> bool:
        for pod in await world.all(a.PODS, f"{PREFIX}name=engine"):
            seen.add(pod["metadata"]["name"])
            if not (pod.get("status") or {}).get("conditions"):
                await world.report(pod, "Running", ready=True)
        found = await world.all(a.PODS, f"{PREFIX}name=engine")
        assert len(found) <= 3
        status = (await world.get(LWS, "engine")).get("status") or {}
        if status.get("observedGeneration") != 2:
            return False
        return len(found) == 2 and status.get("updatedReplicas") == 2 and status.get("readyReplicas") == 2

    await eventually(done)
    assert seen == {"engine-0", "engine-1", "engine-2"}


async def test_workers_wait_for_a_ready_leader_where_that_is_asked_for(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=1, size=2, startupPolicy="LeaderReady"))
    (leader,) = await pods(world, 1)
    assert not await world.all(a.STATEFUL_SETS, f"{PREFIX}group-index=0")
    await world.report(leader, "Running", ready=True)
    await pods(world, 2)


async def test_what_is_deleted_is_made_again(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=1, size=2))
    await ready(world, 2)
    for resource, name in ((a.SERVICES, "engine"), (a.STATEFUL_SETS, "engine-0"), (a.STATEFUL_SETS, "engine")):
        before = await world.get(resource, name)
        await world.client.delete(resource, name, world.namespace)

        async def again(resource: Any = resource, name: str = name, uid: str = before["metadata"]["uid"]) -> bool:
            return any(o["metadata"]["name"] == name and o["metadata"]["uid"] != uid for o in await world.all(resource))

        await eventually(again)


async def test_scaling_by_the_subresource(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=1, size=2))
    await pods(world, 2)
    await world.client.scale(LWS, "engine", world.namespace, 3)
    await pods(world, 6)
    await world.client.scale(LWS, "engine", world.namespace, 0)
    await pods(world, 0)


REFUSED: list[tuple[str, Object, str]] = [
    ("9lives", spec(), "metadata.name is the name of a Service too"),
    ("s", spec(replicas=-1), "should be greater than or equal to 0"),
    ("s", spec(size=0), "should be greater than or equal to 1"),
    ("s", spec(rolloutStrategy=rolling(0, 0)), "no update could move"),
    ("s", spec(rolloutStrategy=rolling("10%", "0%")), "no update could move"),
    ("s", spec(rolloutStrategy=rolling("101%")), "should match"),
    ("s", spec(size=5, subGroupPolicy={"subGroupSize": 3}), "must be divisible by subGroupPolicy.subGroupSize"),
    ("s", spec(size=2, subGroupPolicy={"subGroupSize": 4}), "cannot be larger than size"),
    (
        "s",
        spec(size=4, subGroupPolicy={"subGroupSize": 2, "subGroupPolicyType": "LeaderExcluded"}),
        "leader is excluded",
    ),
    ("s", spec(startupPolicy="Never"), "Unsupported value"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wanted", "why"), REFUSED)
async def test_what_cannot_work_is_refused(world: World, name: str, wanted: Object, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        await world.create(LWS, name, spec=wanted)


async def test_sub_groups_stay_as_they_are(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=0, size=4, subGroupPolicy={"subGroupSize": 2}))
    for policy in ({"subGroupSize": 4}, None):
        with pytest.raises(Invalid, match="make another set"):
            await world.patch(LWS, "engine", {"spec": {"leaderWorkerTemplate": {"subGroupPolicy": policy}}})
