"""Every cluster controller, wired to shared copies and ready to run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster
from fairlead.embedded.controllers.access import Controller as Reconciler
from fairlead.embedded.controllers.budgets import Budgets, ClaimUsers, PodClaims
from fairlead.embedded.controllers.children import is_namespace_going
from fairlead.embedded.controllers.deployments import Deployments
from fairlead.embedded.controllers.garbage_collector import GarbageCollector
from fairlead.embedded.controllers.jobs import JobOrphans, Jobs
from fairlead.embedded.controllers.leader_worker_sets.run import run_leader_worker_sets
from fairlead.embedded.controllers.nodes import Nodes
from fairlead.embedded.controllers.replica_sets import ReplicaSets
from fairlead.embedded.controllers.services import Services
from fairlead.embedded.controllers.stateful_sets import StatefulSets
from fairlead.embedded.controllers.tenancy import Accounts, Namespaces
from fairlead.embedded.controllers.volumes import ClaimProtection
from fairlead.kube.controller import Controller, Result
from fairlead.kube.errors import ApiError
from fairlead.kube.informer import Handler
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.kube.resources import ObjectKey

CONCURRENCY = 8
Loop = Callable[[], Coroutine[Any, Any, None]]


def cluster_controllers(cluster: Cluster, root_ca: str, cluster_dns: str = "") -> tuple[list[Controller], list[Loop]]:
    """What kube-controller-manager does for the kinds that Fairlead serves: controllers, and loops beside them.

    `root_ca` is the PEM text of the API server's CA, empty where it is not known; `cluster_dns` is the address to serve
    cluster DNS on, empty where nobody asks for it.
    """
    reconcilers: list[Reconciler] = [
        Deployments(cluster),
        ReplicaSets(cluster),
        StatefulSets(cluster),
        Jobs(cluster),
        JobOrphans(cluster),
        Nodes(cluster),
        Services(cluster),
        Namespaces(cluster),
        Accounts(cluster, root_ca),
        Budgets(cluster),
        PodClaims(cluster),
        ClaimUsers(cluster),
        ClaimProtection(cluster),
    ]
    collector = GarbageCollector(cluster)
    definitions = cluster.informers.informer(CUSTOM_RESOURCE_DEFINITIONS)
    definitions.add_handler(Handler.every(lambda _: collector.definitions_changed.set()))
    # Made before anybody speaks: only voices that exist then are heard.
    cluster.voice("leaderworkerset")
    loops: list[Loop] = [collector.run, lambda: speak(cluster), lambda: run_leader_worker_sets(cluster)]
    if cluster_dns:
        from fairlead.embedded.controllers.names import NamesInCopies
        from fairlead.embedded.dns.server import NameServer

        loops.append(NameServer(NamesInCopies(cluster), cluster_dns, clock=cluster.clock).serve)
    return [wire(cluster, r) for r in reconcilers], loops


async def speak(cluster: Cluster) -> None:
    """Write the events of every controller until cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        for voice in cluster.voices.values():
            await stack.enter_async_context(voice)
        await asyncio.Event().wait()


def wire(cluster: Cluster, reconciler: Reconciler) -> Controller:
    """A reconciler as a control loop on the cluster's shared copies."""

    async def reconcile(key: ObjectKey) -> Result | None:
        try:
            again_s = await reconciler.reconcile(key)
        except ApiError as error:
            if not is_namespace_going(error):
                raise
            return None
        return None if again_s is None else Result(again_s)

    controller = Controller(reconciler.name, reconcile, concurrency=CONCURRENCY, clock=cluster.clock)
    for watch in reconciler.watches:
        controller.watch(cluster.copy(watch.resource), watch.keys)
    for resource in (a.CLAIM_TEMPLATES, a.RESOURCE_CLAIMS, a.REVISIONS, a.NODES):
        # Looked up by several controllers without being watched by all of them.
        cluster.copy(resource)
    return controller
