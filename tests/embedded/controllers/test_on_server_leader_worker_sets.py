"""LeaderWorkerSets on a real API server: the test plays the kubelets."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from embedded.controllers.conftest import World, eventually
from embedded.controllers.lws_builders import LEADER_WORKER_SETS as LWS
from embedded.controllers.lws_builders import PREFIX, Object, definition, spec
from fairlead.embedded.controllers import access as a
from fairlead.kube.client import Client
from fairlead.kube.errors import AlreadyExists
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.kube.resources import Resource

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
    async def there() -> list[Object]:
        found = [p for p in await world.all(a.PODS, f"{PREFIX}name={name}") if "deletionTimestamp" not in p["metadata"]]
        return sorted(found, key=lambda p: p["metadata"]["name"]) if len(found) == count else []

    found: list[Object] = await eventually(there)
    return found


async def test_groups_are_made_named_and_labelled(world: World) -> None:
    await world.create(LWS, "engine", spec=spec(replicas=2, size=3))
    made = await pods(world, 6)
    assert [p["metadata"]["name"] for p in made] == [
        "engine-0", "engine-0-1", "engine-0-2", "engine-1", "engine-1-1", "engine-1-2",
    ]  # fmt: skip
    for pod in made:
        group, index = (pod["metadata"]["name"].split("-") + ["0"])[1:3]
        labels = pod["metadata"]["labels"]
        assert labels[f"{PREFIX}group-index"] == group and labels[f"{PREFIX}worker-index"] == index
        variables = {v["name"]: v["value"] for v in pod["spec"]["containers"][0]["env"]}
        assert variables == {
            "LWS_LEADER_ADDRESS": f"engine-{group}.engine.{world.namespace}",
            "LWS_GROUP_SIZE": "3",
            "LWS_WORKER_INDEX": index,
        }


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
