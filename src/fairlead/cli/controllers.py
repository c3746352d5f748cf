"""`fairlead controllers`: every controller of the platform in one process, on one client and one set of copies."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from fairlead.api import all_crds, is_outdated
from fairlead.clock import SYSTEM
from fairlead.embedded.controllers.access import Cluster
from fairlead.embedded.controllers.run import cluster_controllers
from fairlead.embedded.controllers.tenancy import root_ca_of
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller
from fairlead.kube.election import LeaderElection
from fairlead.kube.errors import Forbidden, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.informer import Informers
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.kube.run import run_controllers, run_elected, run_until_signal

if TYPE_CHECKING:
    from fairlead.serving.resolved import ClusterFacts

LEASE = ("fairlead-controllers", "kube-system")
LEASES = {
    "scheduling": ("fairlead-scheduler", "kube-system"),
    "serving": ("fairlead-serving", "kube-system"),
    "bench": ("fairlead-bench", "kube-system"),
}
"""Of processes that do one of these only: they stand beside others, not in for them."""


def cluster_facts(cache: str, capacity: str, *, fetch_image: str, image_volumes: bool, embedded: bool) -> ClusterFacts:
    """What serving is to know of the cluster. `embedded`: pods are processes of this machine and share its network."""
    from fairlead.serving.resolved import ClusterFacts
    from fairlead.serving.store.mount import StoreFacts

    store = StoreFacts(
        image_volumes=image_volumes, cache_path=cache, cache_capacity=capacity, fetch_image=fetch_image,
        fetch_as_root=not embedded or os.geteuid() == 0,
    )  # fmt: skip
    return ClusterFacts(store=store, kv_events=not embedded, own_paths=embedded)


async def run(
    kubeconfig: str | None,
    facts: Callable[[], ClusterFacts],
    *,
    only: str | None = None,
    scheduler_names: frozenset[str],
    image: str = "fairlead",
    elect: bool = False,
    cluster_dns: str = "",
) -> None:
    """Run until SIGTERM; with `elect`, wait for the Lease first.

    `only` is "cluster", "platform" (serving, scheduling and bench), "serving", "scheduling", "bench" or None for all;
    `image` is what pods of benchmarks run; `cluster_dns` is the address to serve cluster DNS on, beside the cluster's
    controllers.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    async with Client.load(kubeconfig) as client:
        root_ca = root_ca_of(client.credentials)

        async def term() -> None:
            await _run_all(client, facts, only, scheduler_names, root_ca, cluster_dns, image or "fairlead")

        election = LeaderElection(client, *LEASES.get(only or "", LEASE)) if elect else None
        await run_until_signal(run_elected(election, term))


async def _install_definitions(client: Client) -> None:
    """Create the CRDs that are missing and renew outdated ones; without the right to, say so and go on."""
    for crd in all_crds():
        name = crd["metadata"]["name"]
        try:
            try:
                stored = await client.get(CUSTOM_RESOURCE_DEFINITIONS, name)
            except NotFound:
                stored = None
            if stored is None or is_outdated(stored, crd):
                await client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True)
        except Forbidden as error:
            logging.getLogger("fairlead.controllers").warning("the definition %s is not installed: %s", name, error)


async def _run_all(
    client: Client,
    facts: Callable[[], ClusterFacts],
    only: str | None,
    scheduler_names: frozenset[str],
    root_ca: str,
    cluster_dns: str,
    image: str,
) -> None:
    informers = Informers(client)
    controllers: list[Controller] = []
    loops: list[Callable[[], Coroutine[Any, Any, None]]] = []
    async with (
        EventRecorder(client, "fairlead-serving") as serving,
        EventRecorder(client, "fairlead-scheduler") as places,
        EventRecorder(client, "fairlead-bench") as runs,
        contextlib.AsyncExitStack() as stack,
    ):
        if only in (None, "cluster"):
            made, beside = cluster_controllers(Cluster(client, informers, SYSTEM), root_ca, cluster_dns)
            controllers += made
            loops += beside
        if only != "cluster":
            await _install_definitions(client)
            if only in (None, "platform", "serving"):
                # As long: the cluster's own controllers do not wait for it.
                controllers += await _serving(client, informers, serving, facts(), stack, loops)
            if only in (None, "platform", "bench"):
                from fairlead.bench.cluster.controller import Benchmarks

                controllers.append(Benchmarks(client, informers, runs, image).controller)
            if only in (None, "platform", "scheduling"):
                # A third of a second to import: not for those who do not schedule.
                from fairlead.scheduling.controller import Scheduler
                from fairlead.scheduling.settings import Settings

                loops.append(Scheduler(client, informers, Settings(scheduler_names), places).run)
        await run_controllers(informers, controllers, beside=loops)


async def _serving(
    client: Client,
    informers: Informers,
    events: EventRecorder,
    facts: ClusterFacts,
    stack: contextlib.AsyncExitStack,
    loops: list[Callable[[], Coroutine[Any, Any, None]]],
) -> list[Controller]:
    """The controllers of services, adapters and foreign workloads; what runs beside them is added to `loops`."""
    from fairlead.serving.adapters.controller import adapter_controller
    from fairlead.serving.adoption import Adoption
    from fairlead.serving.controller import ModelServices
    from fairlead.serving.runtimes import install_runtimes

    await install_runtimes(client)
    services = ModelServices(client, informers, events, facts=facts)
    adapters, reconciler = adapter_controller(client, informers, events)
    adoption = Adoption(client, informers, events)
    stack.push_async_callback(reconciler.close)
    stack.push_async_callback(services.warm_ups.close)
    loops += [services.watch.run, partial(services.surroundings.look_for_rules, client), adoption.sweep]
    return [services.controller, adapters, adoption.controller]
