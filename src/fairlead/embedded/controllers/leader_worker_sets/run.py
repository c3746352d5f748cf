"""When the controllers of LeaderWorkerSets run: from the moment that the API server serves the kind."""

from __future__ import annotations

import asyncio

from fairlead.embedded import leader_worker_set as names
from fairlead.embedded.controllers.access import Cluster
from fairlead.kube.informer import Handler
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.kube.resources import Unstructured


async def run_leader_worker_sets(cluster: Cluster) -> None:
    """Wait for the kind, then work until cancelled."""
    await _is_served(cluster)
    # Not before: other controllers need not wait for what few platforms use.
    from fairlead.embedded.controllers.leader_worker_sets.groups import Groups
    from fairlead.embedded.controllers.leader_worker_sets.sets import LeaderWorkerSets
    from fairlead.embedded.controllers.run import wire

    controllers = [wire(cluster, reconciler) for reconciler in (LeaderWorkerSets(cluster), Groups(cluster))]
    async with asyncio.TaskGroup() as group:
        for controller in controllers:
            group.create_task(controller.run(), name=f"controller {controller.name}")


async def _is_served(cluster: Cluster) -> None:
    established = asyncio.Event()

    def look(definition: Unstructured) -> None:
        conditions = (definition.get("status") or {}).get("conditions") or ()
        if definition["metadata"]["name"] == names.DEFINITION and any(
            c["type"] == "Established" and c["status"] == "True" for c in conditions
        ):
            established.set()

    handler = Handler(look, lambda _, new: look(new))
    definitions = cluster.informers.informer(CUSTOM_RESOURCE_DEFINITIONS)
    definitions.add_handler(handler)
    try:
        await established.wait()
    finally:
        definitions.remove_handler(handler)
